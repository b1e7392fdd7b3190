"""The images of a job, recorded when it is created: a job processes exactly the images that were confirmed.

There is one row per image. The transaction that processes the image deletes the row, unless the image was skipped or
failed: then the row stays with the reason, for a retry. An image that no longer matches the search is processed all the
same, because it was confirmed; one that matches only later is not.
"""

# ruff: noqa: S608 (only names of our own tables are interpolated)

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Max, Sum
from django.utils import timezone

from organizations.models import Job
from sourceimages.errors import SelectionChanged
from sourceimages.jobs.selection import fingerprint
from sourceimages.models import JobImage, SourceImage, SourceImageQuerySet

RETENTION = timedelta(days=30)  # after its end, in which a job can be resumed or retried
CLEANUP_LIMIT = 50_000  # rows deleted per call
TABLE = JobImage._meta.db_table


def freeze(job: Job, images: SourceImageQuerySet, *, expected: str | None = None) -> None:
    """Record the images, and set `total` and `last_id`. Raises SelectionChanged if `expected` is of other images.

    The database copies the ids with one statement: a million takes five seconds on PostgreSQL.
    """
    count = _copy_ids(job, images)
    found = JobImage.objects.filter(job=job).aggregate(last=Max("image_id"), sum=Sum("image_id"))
    if expected is not None and expected != fingerprint(count, found["last"], found["sum"]):
        raise SelectionChanged(count)
    job.frozen, job.total, job.last_id = True, count, found["last"] or 0
    job.save(update_fields=["frozen", "total", "last_id"])


def _copy_ids(job: Job, images: SourceImageQuerySet) -> int:
    try:
        selected, parameters = images.order_by().values("id").query.sql_with_params()
    except EmptyResultSet:  # the query can match nothing
        return 0
    job_id = JobImage._meta.get_field("job").get_db_prep_value(job.pk, connection)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {TABLE} (job_id, image_id, message) SELECT %s, selected.id, '' FROM ({selected}) selected",
            [job_id, *parameters],
        )
        return int(cursor.rowcount)


def next_ids(job: Job, limit: int) -> list[int]:
    """Return the ids of the next pending images, ascending."""
    rows = JobImage.objects.filter(job=job, message="", image_id__gt=job.processed_id, image_id__lte=job.last_id)
    return list(rows.order_by("image_id").values_list("image_id", flat=True)[:limit])


def settle(job: Job, start: int, end: int, skipped: Mapping[int, str]) -> None:
    """Delete the rows after the id `start`, up to `end`, except for those in `skipped`, which get this message."""
    JobImage.objects.filter(job=job, image_id__gt=start, image_id__lte=end).delete()
    JobImage.objects.bulk_create(JobImage(job=job, image_id=pk, message=message) for pk, message in skipped.items())


def remaining(job: Job) -> SourceImageQuerySet:
    """Return the images that the job has not processed yet."""
    rows = JobImage.objects.filter(job=job, message="")
    return SourceImage.objects.filter(organization=job.organization_id, pk__in=rows.values("image_id"))


def skipped_images(job: Job) -> SourceImageQuerySet:
    """Return the images that the job skipped or that failed, except those whose row was deleted since."""
    rows = JobImage.objects.filter(job=job).exclude(message="")
    return SourceImage.objects.filter(organization=job.organization_id, pk__in=rows.values("image_id"))


def is_retained(job: Job) -> bool:
    """Return whether the pending and skipped images are still recorded, so that the job can be resumed or retried."""
    return job.finished is None or job.finished > timezone.now() - RETENTION


def delete_old() -> int:
    """Delete up to CLEANUP_LIMIT rows of jobs that ended more than RETENTION ago. Return the number of deleted rows."""
    # A job that is being resumed right now was just within RETENTION.
    cutoff = timezone.now() - RETENTION - timedelta(days=1)
    rows = JobImage.objects.filter(job__finished__lt=cutoff)
    by_job: dict[UUID, list[int]] = {}
    for job_id, image_id in rows.values_list("job_id", "image_id")[:CLEANUP_LIMIT]:
        by_job.setdefault(job_id, []).append(image_id)
    return sum(
        JobImage.objects.filter(job=job_id, image_id__range=(min(ids), max(ids))).delete()[0]
        for job_id, ids in by_job.items()
    )
