"""Content of the dashboard: statistics, pending items and health checks."""

import os
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.core.cache import cache
from django.db.models import Count, OuterRef, Subquery, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from organizations.auth.staff import StaffAccess
from organizations.models import DailyStats, Job, Organization, UsageCounter
from organizations.operations import recent_admin_changes
from organizations.permissions import Permission
from organizations.usage import daily_stats
from rokka import health
from rokka.core import charts
from rokka.core.clock import database_now
from rokka.core.errors import DomainError
from sourceimages import ownership, task_state
from sourceimages.maintenance import garbage_collection
from sourceimages.models import SourceImage, Tombstone

DAYS = 30
EXPIRY_WINDOW = timedelta(days=7)
LIST_LIMIT = 8
CACHE_SECONDS = 300  # of statistics
WORKER_PING_TIMEOUT = 1  # seconds


def pending_items(staff: StaffAccess) -> dict[str, Any]:
    """Return what may need attention in the organizations that the user can view."""
    now = database_now()
    jobs, tombstones = Job.objects.all(), Tombstone.objects.all()
    if not staff.superuser:
        # Without organizations of strangers, who could fill the lists.
        visible = staff.organization_ids_with(Permission.IMAGES_READ, accepted=True)
        jobs, tombstones = jobs.filter(organization__in=visible), tombstones.filter(organization__in=visible)
    expiring = tombstones.filter(expires_at__gt=now, expires_at__lt=now + EXPIRY_WINDOW).non_empty()
    return {
        "mismatch": mismatch() if staff.superuser else "",
        "running": list(jobs.unfinished().select_related("organization").order_by("-created")[:LIST_LIMIT]),
        "failing": list(
            jobs.filter(state__in=Job.WITH_ERRORS, finished__gt=now - EXPIRY_WINDOW)
            .select_related("organization")
            .order_by("-created")[:LIST_LIMIT]
        ),
        "expiring": list(expiring.select_related("organization", "deleted_by").order_by("expires_at")[:LIST_LIMIT]),
        "admin_changes": recent_admin_changes(staff),
        "organizations": staff.organizations(Permission.IMAGES_READ).order_by("name")[:LIST_LIMIT],
        "held_tasks": task_state.held() if staff.superuser else (),
        "storage": task_state.progress_of(garbage_collection.TASK).get("last") if staff.superuser else None,
        "upload_organizations": ()
        if staff.superuser
        else staff.organizations(Permission.IMAGES_UPLOAD).order_by("name")[:LIST_LIMIT],
    }


def mismatch() -> str:
    """Return why all writes are refused, if the database and the storage don't match; else ""."""
    try:
        problem = ownership.current(fresh=True).problem
    except DomainError:
        return ""  # the storage is unavailable, which the health checks report
    return problem.error.message if problem else ""


def statistics(staff: StaffAccess) -> dict[str, Any]:
    """Return totals and charts of the organizations whose statistics the user can view. Cached for 5 minutes."""
    ids = None if staff.superuser else sorted(staff.organization_ids_with(Permission.STATS_READ, accepted=True))
    scope = "all" if ids is None else sha256(",".join(map(str, ids)).encode()).hexdigest()
    key = f"admin.statistics.{scope}"
    if (cached := cache.get(key)) is None:
        cache.set(key, cached := _statistics(ids), CACHE_SECONDS)
    return cached  # type: ignore[no-any-return]


def _statistics(ids: list[Any] | None) -> dict[str, Any]:
    def in_scope(rows: Any) -> Any:
        return rows if ids is None else rows.filter(organization__in=ids)

    today = daily_stats.today()
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    totals = in_scope(UsageCounter.objects).aggregate(images=Sum("images"), bytes=Sum("bytes"))
    created = in_scope(SourceImage.objects.active()).filter(created__gte=timezone.now() - timedelta(days=DAYS))
    if ids is None:  # the index starts with the organization; 0.6 s for a million uploads
        created = created.filter(organization__in=Organization.objects.values("pk"))
    uploads = dict(created.order_by().annotate(day=TruncDate("created")).values_list("day").annotate(count=Count("pk")))
    storage = storage_by_day(ids, days[:-1]) | {today: totals["bytes"] or 0}
    return {
        "images": totals["images"] or 0,
        "bytes": totals["bytes"] or 0,
        "charts": [
            charts.line_chart("Storage used", [(f"{day}", size) for day, size in storage.items()], charts.size),
            charts.bar_chart("Uploads per day", [(f"{day}", uploads.get(day, 0)) for day in days]),
        ],
    }


def storage_by_day(ids: list[UUID] | None, days: Sequence[date]) -> dict[date, int]:
    """Return the storage used by all the organizations together, in bytes, per day, from the first day with a snapshot.

    An organization without a snapshot of a day counts with its latest earlier one.
    """
    organizations, snapshots = Organization.objects.all(), DailyStats.objects.filter(bytes__isnull=False)
    if ids is not None:
        organizations, snapshots = organizations.filter(pk__in=ids), snapshots.filter(organization__in=ids)
    before = DailyStats.objects.filter(organization=OuterRef("pk"), day__lt=days[0], bytes__isnull=False)
    last = Subquery(before.order_by("-day").values("bytes")[:1])
    current = {key: size for key, size in organizations.values_list("pk", last) if size is not None}
    changes: dict[date, list[tuple[UUID, int]]] = defaultdict(list)
    rows = snapshots.filter(day__range=(days[0], days[-1])).values_list("day", "organization", "bytes")
    for day, organization, size in rows:
        changes[day].append((organization, size or 0))
    totals = {}
    for day in days:
        current.update(changes[day])
        if current:
            totals[day] = sum(current.values())
    return totals


class Check(NamedTuple):
    """The result of a health check."""

    name: str
    ok: bool
    detail: str


def checks() -> list[Check]:
    """Run all health checks, one after the other. This can take seconds; the dashboard loads it separately."""
    results = []
    for name, check, detail in (
        ("Database", health.check_database, "reachable"),
        ("Tables", health.check_migrations, "up to date"),
        ("Owner mark", health.check_owner, "the same in database and storage"),
        ("Storage", health.check_storage, "reachable"),
        ("Redis", health.check_cache, "reachable"),
    ):
        try:
            check()
            results.append(Check(name, True, detail))
        except Exception as error:  # noqa: BLE001, any error means that the check failed
            results.append(Check(name, False, health.public_message(error)))
    if not settings.REDIS_URL:
        results[-1] = Check("Redis", True, "not configured (in-process cache)")
        return [*results, Check("Workers", True, f"not configured (tasks run in process {os.getpid()})")]
    if not results[-1].ok:  # Redis is the queue, too: pinging workers would only wait for the timeout
        return [*results, Check("Workers", False, "unknown (Redis down)")]
    return [*results, workers()]


def workers() -> Check:
    from rokka.celery import app

    try:
        replies = app.control.inspect(timeout=WORKER_PING_TIMEOUT).ping() or {}
    except Exception as error:  # noqa: BLE001
        return Check("Workers", False, type(error).__name__)
    return Check("Workers", bool(replies), ", ".join(sorted(replies)) or "no workers online")
