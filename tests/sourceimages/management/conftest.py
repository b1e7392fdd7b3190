"""Fixtures for commands that process all images: terminals, images, interruptions."""

import io
import re
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.models import Job, Organization
from organizations.operations import create_organization_with_admin
from organizations.usage import counters
from sourceimages import jobs
from sourceimages.jobs import restore_deletion
from sourceimages.management import job_command
from sourceimages.models import SourceImage, Tombstone
from tests.conftest import consistency_errors
from tests.support import images

committing = pytest.mark.django_db(transaction=True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def default_sigint_handler() -> Iterator[None]:
    """Restore the default handler: shells ignore SIGINT in background processes."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command and return its output; with `typed`, standard input is a terminal."""

    def call(*arguments: str, typed: str | None = None) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO() if typed is None else Terminal(typed))
        call_command(*arguments)
        return capsys.readouterr().out

    return call


@pytest.fixture
def refused(run, capsys):
    """Run a command that must fail with the exit status; return its output and its error."""

    def call(*arguments: str, typed: str | None = None, status: int = 1) -> str:
        with pytest.raises(CommandError) as error:
            run(*arguments, typed=typed)
        assert error.value.returncode == status
        return f"{capsys.readouterr().out}{error.value}"

    return call


@pytest.fixture
def other(db) -> Organization:
    return create_organization_with_admin("other", email="charlie@example.org", actor=COMMAND).organization


@pytest.fixture
def six(acme, alice) -> list[SourceImage]:
    """Six images of acme, processed in batches of two."""
    for number in range(6):
        alice.upload(acme, images.png(seed=number), name=f"{number}.png")
    return list(acme.images.order_by("id"))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr("sourceimages.jobs.batches.COPY_BATCH", 2)
    monkeypatch.setattr(restore_deletion, "BATCH", 2)


@pytest.fixture
def at_batch(monkeypatch):
    """Call a function before the batch with this number."""

    def plan(kind: str, number: int, callback: Callable[[], object]) -> None:
        step, count = jobs.KINDS[kind].run_batch, 0

        def stepping(job_id):
            nonlocal count
            count += 1
            if count == number:
                callback()
            return step(job_id)

        monkeypatch.setattr(jobs.KINDS[kind], "run_batch", stepping)

    return plan


def raising(error: BaseException) -> Callable[..., None]:
    def call(*arguments: object, **options: object) -> None:
        raise error

    return call


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def state(organization: Organization) -> list[dict[str, object]]:
    """All columns of its images."""
    return list(organization.images.order_by("id").values())


def size_of(rows: list[SourceImage]) -> str:
    return filesizeformat(sum(image.size for image in rows)).replace("\xa0", " ")


def active_hashes(organization: Organization) -> set[str]:
    hashes = list(organization.images.active().values_list("hash", flat=True))
    assert counters.totals(organization).images == len(hashes) == len(set(hashes))
    return set(hashes)


def nothing_happened() -> bool:
    return not Job.objects.exists() and not Tombstone.objects.exists() and not consistency_errors()


def age(job: Job) -> None:
    """Let the last heartbeat of the job be too old."""
    Job.objects.filter(pk=job.pk).update(heartbeat=timezone.now() - timedelta(seconds=job_command.STALE_SECONDS + 1))


def facts(printed: str) -> dict[str, int]:
    """The lines `name: number`."""
    lines = (re.match(r"([a-z_ ]+?):? +(\d+)$", line) for line in printed.splitlines())
    return {line[1].replace(" ", "_"): int(line[2]) for line in lines if line}
