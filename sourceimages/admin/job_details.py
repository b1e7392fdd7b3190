"""What the admin shows of a job: labels instead of keys, links to what an id or a name means, and names of images."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.template.defaultfilters import pluralize
from django.urls import reverse

from organizations.auth.staff import StaffAccess
from organizations.models import Job
from organizations.permissions import Permission
from sourceimages import jobs
from sourceimages.models import Tombstone
from sourceimages.templatetags.sourceimages_admin import humanize_query


@dataclass(frozen=True, slots=True)
class Detail:
    """A row of the details; `url` is the page of what it names, or empty."""

    label: str
    text: str
    url: str = ""


def job_details(job: Job, staff: StaffAccess) -> list[Detail]:
    """Return the parameters of the job, and the jobs that undo or retry it.

    Links lead only to organizations that the user has access to.
    """
    details = [detail for name, value in job.params.items() for detail in _detail(job, name, value, staff)]
    return details + list(_later_jobs(job, staff))


def _later_jobs(job: Job, staff: StaffAccess) -> Iterator[Detail]:
    later = Job.objects.filter(created__gte=job.created).select_related("organization").order_by("created", "id")
    for label, kind, param in ("Undone by", jobs.UNDO, "job"), ("Retried by", job.kind, "retry_of"):
        for other in later.filter(kind=kind, **{f"params__{param}": str(job.pk)}):
            yield _job_detail(label, other, staff)


def _detail(job: Job, name: str, value: Any, staff: StaffAccess) -> Iterator[Detail]:
    if name == "undone" and "job" in job.params:
        return  # the kind of the job that the row before links to
    if show := DETAILS.get(name):
        yield from show(job, value, staff)
    else:
        yield Detail(name.replace("_", " ").capitalize(), str(value))


def _selection(job: Job, value: dict[str, Any], staff: StaffAccess) -> Iterator[Detail]:
    if ids := value.get("ids"):
        yield Detail("Selection", f"{len(ids)} image{pluralize(ids)}")
    elif search := value.get("search"):
        yield Detail("Selection", f"query: {humanize_query(search)}")
    else:
        yield Detail("Selection", "all images")


def _filters(job: Job, value: dict[str, str], staff: StaffAccess) -> Iterator[Detail]:
    if value:
        yield Detail("Filters", ", ".join(f"{name}: {text}" for name, text in value.items()))


def _destination(job: Job, value: str, staff: StaffAccess) -> Iterator[Detail]:
    organization = staff.organizations(Permission.ORGANIZATION_READ_BASIC).filter(name=value).first()
    url = reverse("admin:organizations_organization_change", args=[organization.pk]) if organization else ""
    yield Detail("Destination", value, url)


def _overwrite(job: Job, value: bool, staff: StaffAccess) -> Iterator[Detail]:
    yield Detail("Overwrite existing images", "yes" if value else "no")


def _changes(job: Job, value: dict[str, Any], staff: StaffAccess) -> Iterator[Detail]:
    for field, new in value.items():
        yield Detail("Field removed" if new is None else "Field set", field if new is None else f"{field} = {new}")


def _deletion(job: Job, value: str, staff: StaffAccess) -> Iterator[Detail]:
    tombstone = Tombstone.objects.filter(pk=UUID(value), organization=job.organization).first()
    if tombstone is None:
        yield Detail("Deletion", "no longer in the trash")
    else:
        url = reverse("admin:sourceimages_tombstone_change", args=[tombstone.pk])
        yield Detail("Deletion", f"{tombstone.deleted_at:%Y-%m-%d %H:%M}", url)


def _undoes(job: Job, value: dict[str, Any], staff: StaffAccess) -> Iterator[Detail]:
    count, reason, when = (
        value["images"],
        value["reason"].replace("_", " "),
        datetime.fromisoformat(value["deleted_at"]),
    )
    yield Detail("Deleted", f"{count} image{pluralize(count)} on {when:%Y-%m-%d %H:%M} ({reason})")


def _other_job(label: str) -> Callable[[Job, str, StaffAccess], Iterator[Detail]]:
    def show(job: Job, value: str, staff: StaffAccess) -> Iterator[Detail]:
        other = Job.objects.filter(pk=UUID(value)).select_related("organization").first()
        if other is None:
            yield Detail(label, jobs.label_of(job.params.get("undone", job.kind)))
            return
        yield _job_detail(label, other, staff)

    return show


def _job_detail(label: str, job: Job, staff: StaffAccess) -> Detail:
    visible = staff.has_permission(Permission.IMAGES_READ, job.organization)
    url = reverse("admin:organizations_job_change", args=[job.pk]) if visible else ""
    return Detail(label, f"{jobs.title(job)}, {job.created:%Y-%m-%d %H:%M}, {job.get_state_display().lower()}", url)


def _index(job: Job, value: str, staff: StaffAccess) -> Iterator[Detail]:
    yield Detail("Search language", value.partition(":")[2] or value)


DETAILS: dict[str, Callable[[Job, Any, StaffAccess], Iterator[Detail]]] = {
    "selection": _selection,
    "filters": _filters,
    "destination": _destination,
    "overwrite": _overwrite,
    "changes": _changes,
    "deletion_id": _deletion,
    "undoes": _undoes,
    "job": _other_job("Undoes"),
    "retry_of": _other_job("Retry of"),
    "index": _index,
}


def failures(job: Job) -> list[dict[str, str]]:
    """Hash, name and message of the images that were skipped or failed; without a name if the image was removed."""
    hashes = [failure["hash"] for failure in job.errors]
    names = dict(job.organization.images.filter(hash__in=hashes).values_list("hash", "name")) if hashes else {}
    return [{"name": names.get(failure["hash"], "")} | failure for failure in job.errors]
