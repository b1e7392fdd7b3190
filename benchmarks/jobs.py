"""Speed of the jobs that copy, delete and restore all images, compared with plain SQL and file operations.

Each measurement runs in a subprocess, without its startup time of about a second. Beside the elapsed time, the CPU time
of the process and its connection to PostgreSQL is measured, on which other load on the machine has little effect. Uses
PostgreSQL, or SQLite with --database-url= (empty).
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha1, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
from django.db import connection, transaction
from django.db.models import Model

from benchmarks.client import Connection
from benchmarks.common import (
    MEGABYTE,
    ORGANIZATION,
    ROOT,
    Comparison,
    Installation,
    Server,
    baseline,
    installation,
    options,
    print_comparisons,
    print_table,
    settle,
)

if TYPE_CHECKING:
    from organizations.models import Job, Organization

# Models are imported inside functions: only subprocesses set up Django, each with its own database.

DESTINATION = "destination"
SIZE = 1000  # bytes per image
BATCH = 2000  # rows and files created at once
FEW = 10_000  # up to this number of images, do all runs and check consistency after each
OFFSET = 1_000_000_000  # between the ID of a file and that of its baseline copy
REQUESTS = 500  # images that are deleted and restored one by one
POSTGRESQL = "postgres://postgres@127.0.0.1:5432/benchmark"
CHILD = "from benchmarks import jobs; jobs.do()"


def main(arguments: argparse.Namespace) -> None:
    comparisons: list[Comparison] = []
    details: list[list[str]] = []
    for size in arguments.sizes:
        with installation(arguments) as installed:
            prepare(installed, size)
            runs = arguments.runs if size <= FEW else max(1, arguments.runs // 3)
            before = in_child(installed, "sizes")
            comparisons += all_at_once(installed, size, runs, details)
            print_sizes({"uploaded": before, **growth(installed)}, size)
        print()
    comparisons += [] if arguments.jobs_only else one_by_one(arguments)
    print_comparisons(comparisons)
    print()
    print_table(["first run", "seconds", "first half", "second half", "cleanup", "peak memory, MB"], details)


def prepare(installed: Installation, size: int) -> None:
    manage(installed, "create_organization", DESTINATION, "--email", "bob@example.org")
    in_child(installed, "fill", count=size)


def check(installed: Installation) -> None:
    """Check consistency: a measurement only counts if its result is correct."""
    manage(installed, "check_consistency")


def manage(installed: Installation, *command: str) -> None:
    python = [sys.executable, "manage.py", *command]
    ran = subprocess.run(python, check=False, cwd=ROOT, env=installed.environment, text=True, stdout=subprocess.PIPE)
    if ran.returncode:
        raise SystemExit(f"{command[0]} failed. See the error above.\n{ran.stdout[-3000:]}")


def in_child(installed: Installation, task: str, *, child: str = CHILD, **arguments: Any) -> dict[str, Any]:
    """Run a task of this or another module in a subprocess and return its result."""
    ran = subprocess.run(
        [sys.executable, "-c", child],
        check=False,
        cwd=installed.root,
        env=installed.environment | {"DJANGO_SETTINGS_MODULE": "rokka.settings"},
        input=json.dumps({"task": task, "params": arguments}),
        text=True,
        stdout=subprocess.PIPE,
    )
    if ran.returncode:
        raise SystemExit(f"{task} failed. See the error above.")
    result: dict[str, Any] = json.loads(ran.stdout)
    return result


# --- Jobs -------------------------------------------------------------------------------------------------------------


Sizes = dict[str, int]  # bytes by name of a table or index


def growth(installed: Installation) -> dict[str, Sizes]:
    """Sizes of tables and indexes before and after all images are deleted and restored, without VACUUM in between."""
    stages = {}
    for name, task in ("packed", "make_even"), ("deleted", "delete"), ("restored", "restore"):
        in_child(installed, task)
        stages[name] = in_child(installed, "sizes")
    return stages


def all_at_once(installed: Installation, size: int, runs: int, details: list[list[str]]) -> list[Comparison]:
    beside = {
        "copy": ("copy_all", "6 × INSERT … SELECT, link", 0.5),
        "delete": ("delete_all", "UPDATE", 0.5),
        "restore": ("restore", "UPDATE", 0.6),
    }
    comparisons = {
        (task, unit): Comparison(f"{name}, {size:,}", unit, what, aim, bound=True)
        for task, (name, what, aim) in beside.items()
        for unit in ("images/s", "images/CPU s")
    }
    for run in range(runs):
        # Copies are removed before the next run; each run that deletes also restores.
        turns = [("copy",), ("bare_copy",), ("delete", "restore"), ("bare_delete", "bare_restore")]
        if run % 2:
            turns.reverse()
        for task in itertools.chain(*turns):
            in_child(installed, "make_even")
            settle()
            done = in_child(installed, task)
            bare = task.startswith("bare_")
            for unit, taken in ("images/s", done["seconds"]), ("images/CPU s", done["cpu"]):
                comparison = comparisons[task.removeprefix("bare_"), unit]
                (comparison.theirs if bare else comparison.ours).append(size / taken)
            if done["count"] != size:
                raise SystemExit(f"{task}: {done['count']} images, expected {size}.")
            if not bare and size <= FEW:
                check(installed)
            if run == 0 and not bare:
                parts = [f"{done[part]:.2f}" for part in ("seconds", "first", "second", "cleaning")]
                details.append([comparison.name, *parts, f"{done['peak'] / MEGABYTE:.0f}"])
            if task.endswith("copy"):
                in_child(installed, "empty_destination")
    return list(comparisons.values())


def do() -> None:
    """Run in a subprocess: execute the task from standard input."""
    django.setup()
    order = json.load(sys.stdin)
    connection.ensure_connection()
    before = computed()
    answer = TASKS[order["task"]](**order["params"])
    if order["task"] in {task.__name__ for task in MEASURED}:
        answer["cpu"] = computed() - before
    json.dump(answer or {}, sys.stdout)


def computed() -> float:
    """CPU seconds of this process and of its connection to PostgreSQL, if that is on this machine."""
    seconds = time.process_time()
    if connection.vendor == "postgresql":
        seconds += int(Path(f"/proc/{connection.connection.info.backend_pid}/schedstat").read_text().split()[0]) / 1e9
    return seconds


def sizes() -> dict[str, int]:
    """Bytes of all tables with a row per image, and of their indexes; empty on SQLite."""
    if connection.vendor != "postgresql":
        return {}
    found = {}
    with connection.cursor() as cursor:
        for model in [*tables(), *index_tables()]:
            table = model._meta.db_table
            cursor.execute("SELECT pg_table_size(%s::regclass)", [table])
            found[table] = cursor.fetchone()[0]
            cursor.execute(
                "SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) FROM pg_index "
                "WHERE indrelid = %s::regclass ORDER BY 1",
                [table],
            )
            found |= {f"– {name}": size for name, size in cursor.fetchall()}
    return found


def print_sizes(stages: dict[str, Sizes], count: int) -> None:
    names = next(iter(stages.values()))
    rows = [[name, *(f"{found[name] / count:.0f}" for found in stages.values())] for name in names]
    if rows:
        rows.append(["all", *(f"{sum(found.values()) / count:.0f}" for found in stages.values())])
        print_table([f"bytes per image, {count:,} images", *stages], rows)


def organization(name: str) -> "Organization":
    from organizations.models import Organization

    return Organization.objects.get(name=name)


def files() -> Path:
    from sourceimages import storage

    return Path(storage.originals().location)  # type: ignore[attr-defined]


def tables() -> list[type[Model]]:
    from sourceimages.models import ShortHash, SourceImage, StoredFile

    return [StoredFile, ShortHash, SourceImage]


def index_tables() -> list[Any]:
    from sourceimages.models import MetadataNumber, MetadataString, MetadataToken

    return [MetadataString, MetadataToken, MetadataNumber]


def fill(count: int) -> None:
    """Create images as if uploaded. Each has its own file, because a file can't have 100,000 hard links."""
    from organizations.usage import counters

    content = os.urandom(SIZE)
    for start in range(0, count, BATCH):
        upload(range(start, min(start + BATCH, count)), content)
    counters.add(organization(ORGANIZATION), images=count, bytes=count * len(content))


def upload(numbers: range, content: bytes) -> None:
    from sourceimages import hashes, storage
    from sourceimages.models import SourceImage, StoredFile
    from sourceimages.operations.short_hashes import assign_short_hashes
    from sourceimages.search import indexing

    source, sha256_of_content = organization(ORGANIZATION), sha256(content).hexdigest()
    same = {"organization": source, "size": SIZE, "format": "jpg", "mimetype": "image/jpeg", "width": 35, "height": 35}
    stored, images = [], []
    for number in numbers:
        sha1_of_number = sha1(b"%d" % number).hexdigest()
        hash = hashes.identity(sha1_of_number, {}, protected=False)
        file = StoredFile(
            binary_hash=sha1_of_number,
            uploaded_size=SIZE,
            uploaded_sha256=sha256_of_content,
            key=storage.new_key(source.pk, sha1_of_number),
            content_hash=sha256_of_content,
            opaque=True,
            animated=False,
            **same,
        )
        path = files() / file.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        stored.append(file)
        images.append(
            SourceImage(
                file=file,
                hash=hash,
                identity=hash,
                name=f"image-{number}.jpg",
                user_metadata={"title": f"Image {number}", "int:year": 1900 + number % 100},  # ten index entries
                binary_hash=sha1_of_number,
                **same,
            )
        )
    StoredFile.objects.bulk_create(stored)
    names = assign_short_hashes(source, [image.hash for image in images])
    for image in images:
        image.short_hash, image.file_id = names[image.hash], image.file.pk
    SourceImage.objects.bulk_create(images)
    indexing.add(images)


def make_even() -> None:
    """Bring tables and indexes to the same state before each measurement, and flush pending writes.

    ANALYZE is skipped on SQLite, where rokka doesn't run it either.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for model in [*tables(), *index_tables()]:
                cursor.execute(f"VACUUM (FULL, ANALYZE) {model._meta.db_table}")
            cursor.execute("CHECKPOINT")
        else:
            cursor.execute("VACUUM")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def empty_destination() -> None:
    """Remove all copies."""
    from sourceimages.models import ImageVersion

    destination = organization(DESTINATION)
    with transaction.atomic(), connection.cursor() as cursor:
        ImageVersion.objects.filter(organization=destination).delete()
        for table in index_tables():
            table.objects.filter(image__organization=destination).delete()
        for model in reversed(tables()):
            cursor.execute(f"DELETE FROM {model._meta.db_table} WHERE organization_id = %s", [in_sql(destination)])
        destination.counters.update(images=0, bytes=0)
    shutil.rmtree(files() / destination.pk.hex)


def in_sql(organization: "Organization") -> Any:
    return organization._meta.pk.get_db_prep_value(organization.pk, connection)


# rokka's jobs


def run_job(begin: Callable[[], "Job"]) -> dict[str, Any]:
    """Run a job from its creation to its end. Time after the last batch counts as cleanup."""
    from organizations.models import Job
    from sourceimages import jobs

    connection.ensure_connection()
    progress: list[tuple[float, int]] = []
    began = time.monotonic()
    job = jobs.run(begin().pk, on_progress=lambda job: progress.append((time.monotonic(), job.processed)))
    ended = time.monotonic()
    if job.state != Job.State.SUCCEEDED:
        raise SystemExit(f"Job {job} ended with {job.counts} {job.error}.")
    half = next(moment for moment, done in progress if done >= job.processed / 2)
    last = progress[-1][0]
    return {
        "count": sum(job.counts.get(name, 0) for name in ("created", "deleted", "restored")),
        "seconds": ended - began,
        "first": half - began,
        "second": last - half,
        "cleaning": ended - last,
        "peak": peak_memory(),
    }


def peak_memory() -> int:
    """Peak memory of this process in bytes. getrusage would include that of the process it was forked from."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def copy() -> dict[str, Any]:
    from organizations.audit import COMMAND
    from sourceimages import jobs

    source, destination = organization(ORGANIZATION), organization(DESTINATION)
    return run_job(lambda: jobs.start_copy_all(source, destination, overwrite=False, actor=COMMAND))


def delete() -> dict[str, Any]:
    from organizations.audit import COMMAND
    from sourceimages import jobs

    source = organization(ORGANIZATION)
    return run_job(lambda: jobs.start_delete_all(source, actor=COMMAND))


def restore() -> dict[str, Any]:
    from organizations.audit import COMMAND
    from sourceimages import jobs

    source = organization(ORGANIZATION)
    return run_job(lambda: jobs.start_restore(source, actor=COMMAND))


# The baseline: the minimal work for the same rows and files.


def bare_copy() -> dict[str, Any]:
    """Hard-link all files, and copy the rows with one statement per table, in one transaction."""
    from sourceimages.models import StoredFile

    source, destination, folder = organization(ORGANIZATION), organization(DESTINATION), files()
    pairs = [
        (f"{folder}/{key}", f"{folder}/{key.replace(source.pk.hex, destination.pk.hex)}")
        for key in source.files.order_by("id").values_list("key", flat=True)
    ]
    for parent in {os.path.dirname(to) for _, to in pairs}:
        os.makedirs(parent)
    other = {"id": f"id + {OFFSET}", "file_id": f"file_id + {OFFSET}", "organization_id": "%s"}
    other["key"] = f"replace(key, '{source.pk.hex}', '{destination.pk.hex}')"
    statements = []
    for model in tables():
        columns = [str(field.column) for field in model._meta.concrete_fields]
        if model is not StoredFile:
            columns.remove("id")
        values = [other.get(column, column) for column in columns]
        statements.append(
            f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) "
            f"SELECT {', '.join(values)} FROM {model._meta.db_table} WHERE organization_id = %s"
        )
    names = [table._meta.db_table for table in index_tables()]
    searched = [  # with the fields of the source, which doesn't matter here
        f"INSERT INTO {name} (field_id, value, image_id) SELECT m.field_id, m.value, i.id FROM {name} m "
        "JOIN sourceimages_sourceimage o ON o.id = m.image_id JOIN sourceimages_sourceimage i "
        "ON i.hash = o.hash AND i.organization_id = %s WHERE o.organization_id = %s"
        for name in names
    ]
    began = time.monotonic()
    for path, to in pairs:
        os.link(path, to)
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement, [in_sql(destination), in_sql(source)])
            count = cursor.rowcount
        for statement in searched:
            cursor.execute(statement, [in_sql(destination), in_sql(source)])
    return {"count": count, "seconds": time.monotonic() - began}


def bare_delete() -> dict[str, Any]:
    from organizations.audit import COMMAND
    from sourceimages.models import Tombstone
    from sourceimages.operations.delete import create_tombstone

    source = organization(ORGANIZATION)
    tombstone = create_tombstone(source, Tombstone.Reason.DELETE_ALL, COMMAND)
    began = time.monotonic()
    count = source.images.active().update(tombstone=tombstone)
    return {"count": count, "seconds": time.monotonic() - began}


def bare_restore() -> dict[str, Any]:
    source = organization(ORGANIZATION)
    tombstone = source.tombstones.latest("deleted_at")
    began = time.monotonic()
    count = tombstone.images.update(tombstone=None)
    return {"count": count, "seconds": time.monotonic() - began}


PREPARATIONS = fill, make_even, empty_destination, sizes
MEASURED = copy, delete, restore, bare_copy, bare_delete, bare_restore
TASKS: dict[str, Callable[..., Any]] = {task.__name__: task for task in (*PREPARATIONS, *MEASURED)}


# --- One by one, over HTTP --------------------------------------------------------------------------------------------


def one_by_one(arguments: argparse.Namespace) -> list[Comparison]:
    numbers = 1, 8
    comparisons = [
        Comparison(f"delete one, restore it, {clients} client{'s'[: clients - 1]}", "requests/s", "trivial Django view")
        for clients in numbers
    ]
    with ExitStack() as stack:
        installed = stack.enter_context(installation(arguments))
        prepare(installed, REQUESTS)
        ours = stack.enter_context(installed.server(RATE_LIMIT_ENABLED="false"))
        theirs = stack.enter_context(baseline(arguments))
        images = [item["link"] for item in ours.get(f"/sourceimages/{ORGANIZATION}?limit={REQUESTS}")["items"]]
        delete_and_restore(ours, images, clients=8, seconds=1)
        theirs.load("/trivial", clients=8, seconds=1)
        rows = list(zip(numbers, comparisons, strict=True))
        for run, (clients, comparison) in itertools.product(range(arguments.runs), rows):
            turns: list[tuple[list[float], Callable[[int], float]]] = [
                (comparison.ours, lambda number: delete_and_restore(ours, images, number, arguments.seconds)),
                (comparison.theirs, lambda number: theirs.load("/trivial", clients=number, seconds=arguments.seconds)),
            ]
            for results, measure in turns if run % 2 else reversed(turns):
                settle()
                results.append(measure(clients))
        check(installed)
    return comparisons


def delete_and_restore(server: Server, images: list[str], clients: int, seconds: float) -> float:
    """Requests per second. Every client uses different images."""
    headers = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "127.0.0.1", **server.headers}.items())

    def work(number: int) -> int:
        connection = Connection(server.port)
        for count, path in enumerate(itertools.cycle(images[number::clients])):
            if time.monotonic() > deadline:
                return 2 * count
            ask_without_content(connection, f"DELETE {path} HTTP/1.1\r\n{headers}\r\n".encode())
            connection.ask(f"POST {path}/restore HTTP/1.1\r\n{headers}Content-Length: 0\r\n\r\n".encode())
        raise SystemExit("There are fewer images than clients.")

    began = time.monotonic()
    deadline = began + seconds
    with ThreadPoolExecutor(clients) as pool:
        requests = sum(pool.map(work, range(clients)))
    return requests / (time.monotonic() - began)


def ask_without_content(connection: Connection, request: bytes) -> None:
    """Send a request. Raises RuntimeError unless the status is 204, which has no body."""
    connection.socket.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        received = connection.socket.recv(4096)
        if not received:
            raise RuntimeError("the server closed the connection")
        answer += received
    if b" 204 " not in answer[:13]:
        raise RuntimeError(f"unexpected response {answer!r}")


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.set_defaults(database_url=POSTGRESQL)
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[10_000, 100_000],
        help="numbers of images; above 10,000, a third of the runs (default 10000 100000)",
    )
    parser.add_argument("--jobs-only", action="store_true", help="do not measure requests")
    main(parser.parse_args())
