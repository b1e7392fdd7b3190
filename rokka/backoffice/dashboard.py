"""The page where the back-office starts: what is kept, what comes in, what needs somebody to look."""

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
from organizations.permissions import Permission
from organizations.usage import daily_stats
from rokka import celery_app, health
from rokka.core import charts
from rokka.core.clock import database_now
from rokka.core.errors import DomainError
from sourceimages import ownership, task_state
from sourceimages.maintenance import garbage_collection
from sourceimages.models import SourceImage, Tombstone

DAYS = 30
EXPIRY_WINDOW = timedelta(days=7)
LIST_LIMIT = 8
CACHE_SECONDS = 300  # seconds, for which charts are true enough
WORKER_PING_TIMEOUT = 1  # second, for workers to answer


def pending_items(staff: StaffAccess) -> dict[str, Any]:
    """What somebody may have to look at now; of the organizations of this person."""
    now = database_now()
    jobs, tombstones = Job.objects.all(), Tombstone.objects.all()
    if not staff.superuser:
        jobs = jobs.filter(organization__in=staff.organization_ids_with(Permission.IMAGES_READ))
        tombstones = tombstones.filter(organization__in=staff.organization_ids_with(Permission.IMAGES_READ))
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
        "organizations": staff.organizations(Permission.IMAGES_READ).order_by("name")[:LIST_LIMIT],
        "held": task_state.held() if staff.superuser else (),
        "storage": task_state.progress_of(garbage_collection.TASK).get("last") if staff.superuser else None,
        "uploads": ()
        if staff.superuser
        else staff.organizations(Permission.IMAGES_UPLOAD).order_by("name")[:LIST_LIMIT],
    }


def mismatch() -> str:
    """Why nothing is written now, if database and storage do not belong together."""
    try:
        problem = ownership.current(fresh=True).problem
    except DomainError:
        return ""  # the storage does not answer, which the health says
    return problem.error.message if problem else ""


def statistics(staff: StaffAccess) -> dict[str, Any]:
    """Totals and charts of all that this person may see numbers of; remembered for a few minutes."""
    ids = None if staff.superuser else sorted(staff.organization_ids_with(Permission.STATS_READ))
    seen = "all" if ids is None else sha256(",".join(map(str, ids)).encode()).hexdigest()  # other roles, other numbers
    key = f"backoffice.start.{seen}"
    if (known := cache.get(key)) is None:
        cache.set(key, known := _statistics(ids), CACHE_SECONDS)
    return known  # type: ignore[no-any-return]


def _statistics(ids: list[Any] | None) -> dict[str, Any]:
    def of(rows: Any) -> Any:
        return rows if ids is None else rows.filter(organization__in=ids)

    today = daily_stats.today()
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    totals = of(UsageCounter.objects).aggregate(images=Sum("images"), bytes=Sum("bytes"))
    created = of(SourceImage.objects.active()).filter(created__gte=timezone.now() - timedelta(days=DAYS))
    if ids is None:  # the index begins with the organization; it takes 0.6 s if a million came in these days
        created = created.filter(organization__in=Organization.objects.values("pk"))
    uploads = dict(created.order_by().annotate(day=TruncDate("created")).values_list("day").annotate(count=Count("pk")))
    kept = storage_by_day(ids, days[:-1]) | {today: totals["bytes"] or 0}
    return {
        "images": totals["images"] or 0,
        "bytes": totals["bytes"] or 0,
        "charts": [
            charts.line_chart("Bytes kept", [(f"{day}", sum) for day, sum in kept.items()], charts.size),
            charts.bar_chart("Pictures that came a day", [(f"{day}", uploads.get(day, 0)) for day in days]),
        ],
    }


def storage_by_day(ids: list[UUID] | None, days: Sequence[date]) -> dict[date, int]:
    """Of all these organizations together, on each of the days from the first on of which anything is known.

    An organization without a snapshot of a day has what it had before.
    """
    organizations, snapshots = Organization.objects.all(), DailyStats.objects.filter(bytes__isnull=False)
    if ids is not None:
        organizations, snapshots = organizations.filter(pk__in=ids), snapshots.filter(organization__in=ids)
    before = DailyStats.objects.filter(organization=OuterRef("pk"), day__lt=days[0], bytes__isnull=False)
    last = Subquery(before.order_by("-day").values("bytes")[:1])
    known = {key: held for key, held in organizations.values_list("pk", last) if held is not None}
    changes: dict[date, list[tuple[UUID, int]]] = defaultdict(list)
    rows = snapshots.filter(day__range=(days[0], days[-1])).values_list("day", "organization", "bytes")
    for day, organization, held in rows:
        changes[day].append((organization, held or 0))
    found = {}
    for day in days:
        known.update(changes[day])
        if known:
            found[day] = sum(known.values())
    return found


class Check(NamedTuple):
    """Something that rokka depends on, and how it is."""

    name: str
    ok: bool
    detail: str


def checks() -> list[Check]:
    """Each asked in turn; whoever waits for this is no page that somebody wants to see."""
    found = []
    for name, check in {
        "Database": health.check_database,
        "Tables": health.check_migrations,
        "Owner mark": health.check_owner,
        "Storage": health.check_storage,
        "Redis": health.check_cache,
    }.items():
        try:
            check()
            found.append(Check(name, True, "answers"))
        except Exception as error:  # noqa: BLE001, whatever it is, it does not answer
            found.append(Check(name, False, health.response(error)))
    if not settings.REDIS_URL:
        found[-1] = Check("Redis", True, "not used: what is remembered is remembered by each process")
        return [*found, Check("Workers", True, f"not used: tasks run in process {os.getpid()}")]
    if not found[-1].ok:  # it holds the queue as well: whoever asks waits for nothing
        return [*found, Check("Workers", False, "cannot be asked without Redis")]
    return [*found, workers()]


def workers() -> Check:
    try:
        answers = celery_app.control.inspect(timeout=WORKER_PING_TIMEOUT).ping() or {}
    except Exception as error:  # noqa: BLE001
        return Check("Workers", False, type(error).__name__)
    return Check("Workers", bool(answers), ", ".join(sorted(answers)) or "none answers")
