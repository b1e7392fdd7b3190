"""The cost of storing previous versions of metadata, and the speed of undoing jobs.

Each change is measured with and without history, alternately, in a subprocess without its startup time: overwriting
rows in batches as a copy does, whole jobs, and undoing them. Images are rows without files, because none is read. Uses
PostgreSQL, or SQLite with --database-url= (empty).
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import django
from django.db import connection, transaction

from benchmarks import jobs as job_benchmark
from benchmarks.common import (
    MEGABYTE,
    ORGANIZATION,
    Comparison,
    installation,
    options,
    print_comparisons,
    print_table,
    settle,
)
from benchmarks.jobs import DESTINATION, OFFSET, POSTGRESQL, in_sql, manage, organization

# Models are imported inside functions: only subprocesses set up Django, each with its own database.

CHILD = "from benchmarks import history; history.do()"
BATCH = 2000  # rows per transaction, as in a copy job
FIELDS = {"title": "Another title", "int:year": 1999}


def main(arguments: argparse.Namespace) -> None:
    comparisons, rows = [], []
    for size in arguments.sizes:
        with installation(arguments) as installed:
            manage(installed, "create_organization", DESTINATION, "--email", "bob@example.org")
            in_child(installed, "fill", count=size)
            jobs = {} if arguments.rows else JOBS
            for task, name in (("overwrite", f"rows overwritten, {size:,}"), *jobs.items()):
                comparison = Comparison(name, "images/s", "without history", bound=True)
                for _ in range(arguments.runs):
                    for keeping in (False, True):
                        in_child(installed, "make_different")
                        settle()
                        done = in_child(installed, task, keeping=keeping, count=size)
                        (comparison.ours if keeping else comparison.theirs).append(done["count"] / done["seconds"])
                comparisons.append(comparison)
                if task == "overwrite":
                    rows.append([f"{size:,}", *in_child(installed, "measure")["cells"]])
                else:
                    settle()
                    done = in_child(installed, "undo")
                    comparisons.append(
                        Comparison(f"{name}, undone", "images/s", ours=[done["count"] / done["seconds"]])
                    )
    print_comparisons(comparisons)
    print()
    print_table(["images changed once", "MB of history", "bytes per version", "versions removed per second"], rows)


JOBS = {"copy_job": "copy-all with overwrite", "metadata_job": "set_metadata"}


in_child = partial(job_benchmark.in_child, child=CHILD)


def do() -> None:
    """Run in a subprocess: execute the task from standard input."""
    django.setup()
    order = json.load(sys.stdin)
    connection.ensure_connection()
    json.dump(TASKS[order["task"]](**order["params"]) or {}, sys.stdout)


def fill(count: int) -> None:
    """Create images, and images with the same hashes in the destination."""
    from sourceimages.models import SourceImage, StoredFile
    from tests.support import bulk_data

    bulk_data.make(organization(ORGANIZATION), count)
    other = {"id": f"id + {OFFSET}", "file_id": f"file_id + {OFFSET}", "organization_id": "%s", "key": "'to-' || key"}
    with connection.cursor() as cursor:
        for model in (StoredFile, SourceImage):
            columns = [str(field.column) for field in model._meta.concrete_fields]
            values = ", ".join(other.get(column, column) for column in columns)
            table = model._meta.db_table
            cursor.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table}",
                [in_sql(organization(DESTINATION))],
            )
    bulk_data.analyze()


def make_different() -> None:
    """Change all images, so that there is something to overwrite, and delete the history."""
    from sourceimages.models import ImageVersion, SourceImage

    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {ImageVersion._meta.db_table}")
        cursor.execute(
            f"UPDATE {SourceImage._meta.db_table} SET name = 'other-' || id, user_metadata = %s "
            "WHERE organization_id = %s",
            ['{"title": "What it was before"}', in_sql(organization(DESTINATION))],
        )
        if connection.vendor == "postgresql":
            cursor.execute(f"VACUUM (FULL, ANALYZE) {ImageVersion._meta.db_table}")
            cursor.execute(f"VACUUM (FULL, ANALYZE) {SourceImage._meta.db_table}")
            cursor.execute("CHECKPOINT")


def keep_nothing() -> None:
    """Disable the history in this process."""
    from sourceimages import bulk_sql, versions

    bulk_sql._insert_overwritten_versions = lambda actor: (  # type: ignore[assignment]
        f"SELECT 1 FROM {bulk_sql._pairs('bigint', 'bigint')} WHERE 1 = 0",
        [],
    )
    versions.keep = lambda *arguments, **options: None  # type: ignore[assignment]


def overwrite(keeping: bool, count: int) -> dict[str, Any]:
    """Run only the statement, in as many transactions as a job has batches."""
    from organizations.audit import COMMAND
    from sourceimages import bulk_sql
    from sourceimages.models import ImageVersion

    if not keeping:
        keep_nothing()
    destination, done = organization(DESTINATION), 0
    began = time.monotonic()
    for start in range(1, count + 1, BATCH):
        pairs = [(number, number + OFFSET) for number in range(start, min(start + BATCH, count + 1))]
        with transaction.atomic():
            done += bulk_sql.overwrite_image_rows(pairs, destination, COMMAND)
    seconds = time.monotonic() - began
    kept = ImageVersion.objects.count()
    if (done, kept) != (count, count if keeping else 0):
        raise SystemExit(f"{done} images and {kept} versions instead of {count}.")
    return {"count": done, "seconds": seconds}


def copy_job(keeping: bool, count: int) -> dict[str, Any]:
    from organizations.audit import COMMAND
    from sourceimages import jobs

    return run_job(
        keeping,
        lambda: jobs.start_copy_all(
            organization(ORGANIZATION), organization(DESTINATION), overwrite=True, actor=COMMAND
        ),
    )


def metadata_job(keeping: bool, count: int) -> dict[str, Any]:
    from organizations.audit import COMMAND
    from sourceimages import jobs
    from sourceimages.jobs.selection import Selection

    every = Selection(organization(DESTINATION), in_trash=False)
    return run_job(keeping, lambda: jobs.start_bulk_action("set_metadata", every, actor=COMMAND, changes=FIELDS))


def undo() -> dict[str, Any]:
    """The last job with history."""
    from organizations.audit import COMMAND
    from organizations.models import Job
    from sourceimages import jobs

    last = Job.objects.exclude(kind=jobs.UNDO).latest("created")
    return run_job(True, lambda: jobs.start_undo(last, actor=COMMAND))


def run_job(keeping: bool, start: Callable[[], Any]) -> dict[str, Any]:
    """Run a job from its creation to its end, or for SECONDS."""
    from sourceimages import jobs
    from sourceimages.jobs.progress import actor_of

    if not keeping:
        keep_nothing()
    began = time.monotonic()
    job = jobs.run(start().pk, seconds=SECONDS)
    seconds = time.monotonic() - began
    if job.unfinished:
        jobs.stop(job, job.State.CANCELLED, actor=actor_of(job))
    return {"count": job.processed, "seconds": seconds}


SECONDS = 60  # limit per job: its speed does not depend on the number of images


def measure() -> dict[str, Any]:
    """Measure the size of the history, and the speed of removing expired versions."""
    from sourceimages.maintenance import versions
    from sourceimages.models import ImageVersion

    count, size = ImageVersion.objects.count(), size_of(ImageVersion._meta.db_table)
    ImageVersion.objects.update(created="2020-01-01T00:00:00Z")
    versions.TIME_SLICE = SECONDS
    began = time.monotonic()
    removed = versions.remove_old_versions()
    speed = removed / (time.monotonic() - began)
    return {"cells": [f"{size / MEGABYTE:.0f}", f"{size / count:.0f}", f"{speed:,.0f}"]}


def size_of(table: str) -> int:
    """Size of the table and its indexes in bytes."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_total_relation_size(%s)", [table])
        else:
            cursor.execute(
                "SELECT SUM(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_master WHERE tbl_name = %s)",
                [table],
            )
        return int(cursor.fetchone()[0])


TASKS: dict[str, Callable[..., Any]] = {
    task.__name__: task for task in (fill, make_different, overwrite, copy_job, metadata_job, undo, measure)
}


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000], help="numbers of images (default 10000)")
    parser.add_argument("--rows", action="store_true", help="skip the jobs, for example with a million images")
    parser.set_defaults(database_url=POSTGRESQL)
    main(parser.parse_args())
