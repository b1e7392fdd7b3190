"""The images that a job is about, written down when it is created: what was confirmed is what is touched.

There is a row for each image. It is removed in the transaction that deals with the image, unless the image was skipped
or failed: then it stays and says why, which is what a retry begins with. An image that does not match any more when its
turn comes is touched all the same, as it was confirmed; one that matches only later is not.
"""

# ruff: noqa: S608 (what is put into the statements are the names of our own tables)

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

RETENTION = timedelta(days=30)  # after its end a job can be resumed, or run again for what it skipped, for so long
CLEANUP_LIMIT = 50_000  # rows removed in one round
TABLE = JobImage._meta.db_table


def freeze(job: Job, images: SourceImageQuerySet, *, expected: str | None = None) -> None:
    """Write down the images, set `total` and `upto`. Raises SelectionChanged if they are not the ones of `expected`.

    The database copies the ids by itself: a million takes five seconds on PostgreSQL.
    """
    count = _copy_ids(job, images)
    found = JobImage.objects.filter(job=job).aggregate(last=Max("image_id"), sum=Sum("image_id"))
    if expected is not None and expected != fingerprint(count, found["last"], found["sum"]):
        raise SelectionChanged(count)
    job.frozen, job.total, job.last_id = True, count, found["last"] or 0
    job.save(update_fields=["frozen", "total", "last_id"])


def _copy_ids(job: Job, images: SourceImageQuerySet) -> int:
    try:
        chosen, parameters = images.order_by().values("id").query.sql_with_params()
    except EmptyResultSet:  # no ids at all
        return 0
    job_id = JobImage._meta.get_field("job").get_db_prep_value(job.pk, connection)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {TABLE} (job_id, image_id, message) SELECT %s, chosen.id, '' FROM ({chosen}) chosen",
            [job_id, *parameters],
        )
        return int(cursor.rowcount)


def next_ids(job: Job, most: int) -> list[int]:
    """The images whose turn it is, by ascending id."""
    rows = JobImage.objects.filter(job=job, message="", image_id__gt=job.processed_id, image_id__lte=job.last_id)
    return list(rows.order_by("image_id").values_list("image_id", flat=True)[:most])


def settle(job: Job, start: int, end: int, left: Mapping[int, str]) -> None:
    """The images behind `start`, up to `end`, are dealt with; those in `left` were skipped or failed, and why."""
    JobImage.objects.filter(job=job, image_id__gt=start, image_id__lte=end).delete()
    JobImage.objects.bulk_create(JobImage(job=job, image_id=pk, message=message) for pk, message in left.items())


def remaining(job: Job) -> SourceImageQuerySet:
    """The images that the job has yet to deal with."""
    rows = JobImage.objects.filter(job=job, message="")
    return SourceImage.objects.filter(organization=job.organization_id, pk__in=rows.values("image_id"))


def skipped_images(job: Job) -> SourceImageQuerySet:
    """The images that the job skipped or failed with, as far as they still exist."""
    rows = JobImage.objects.filter(job=job).exclude(message="")
    return SourceImage.objects.filter(organization=job.organization_id, pk__in=rows.values("image_id"))


def is_retained(job: Job) -> bool:
    """Whether what the job has yet to do, and what it skipped, is still known."""
    return job.finished is None or job.finished > timezone.now() - RETENTION


def delete_old() -> int:
    """Remove what was written down for jobs that ended long ago; how many rows that were."""
    long_ago = (
        timezone.now() - RETENTION - timedelta(days=1)
    )  # a day more, for a job that is being resumed at this moment
    rows = JobImage.objects.filter(job__finished__lt=long_ago)
    by_job: dict[UUID, list[int]] = {}
    for job_id, image_id in rows.values_list("job_id", "image_id")[:CLEANUP_LIMIT]:
        by_job.setdefault(job_id, []).append(image_id)
    return sum(
        JobImage.objects.filter(job=job_id, image_id__range=(min(ids), max(ids))).delete()[0]
        for job_id, ids in by_job.items()
    )
