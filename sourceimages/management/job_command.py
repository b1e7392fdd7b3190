"""What commands share that take long: they count, ask, show how far they are, stop in peace and go on later."""

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any, Protocol

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import OperationalError, connection
from django.db.models import Count, Max, Q, Sum
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from tqdm import tqdm

from organizations.audit import COMMAND
from organizations.management.base import OperationCommand
from organizations.models import Job, Organization
from rokka.core.errors import DomainError
from sourceimages import jobs
from sourceimages.errors import InvalidName, SelectionChanged
from sourceimages.jobs import snapshot
from sourceimages.jobs.selection import fingerprint
from sourceimages.management.ownership import ImageCommand
from sourceimages.models import JobImage, SourceImage, SourceImageQuerySet
from sourceimages.search.periods import period
from sourceimages.tasks import STALE_SECONDS, enqueue_job
from sourceimages.uploads.filename import clean_filename

NAME_LIMIT = 20  # pictures that are named at most
EXIT_INTERRUPTED = 130  # exit status after Ctrl-C, as of shells
EXIT_WITH_ERRORS = 3  # all is done that could be, some images were skipped or failed
POLL_SECONDS = 0.5  # seconds, at a job that workers do
REPORT_EVERY = Q()
RESUME_HINT = "Run the same command again to go on."
FAILURE_REASONS = {
    "not_found": "their bytes are missing, or they were removed meanwhile",
    "hash_collision": "other bytes with the same sha1 are kept at the destination",
}


# --- Filters ----------------------------------------------------------------------------------------------------------


def add_filters(parser: CommandParser) -> None:
    only = parser.add_argument_group("only some of the pictures")
    only.add_argument("--format", help="such as png or jpg")
    only.add_argument(
        "--created-before", metavar="TIME", help="2024, 2024-06, 2024-06-01 or a time; in UTC unless it names a zone"
    )
    only.add_argument("--created-after", metavar="TIME", help="likewise; after the whole day, month or year")
    only.add_argument("--name", metavar="PREFIX", help="how their names begin")


def parse_filters(options: Mapping[str, Any]) -> dict[str, str]:
    """The filters that were given, each in one form only, so that the same ones are found again."""
    found = {}
    for name, read in FILTERS.items():
        text = options[name]
        if text is not None:
            try:
                found[name] = read(text)
            except (ValueError, OverflowError, InvalidName) as error:
                raise CommandError(f"--{name.replace('_', '-')}={text!r} is not understood: {error}") from error
    return found


def _format(text: str) -> str:
    if text not in settings.FORMATS:
        raise ValueError(f"it must be one of {', '.join(settings.FORMATS)}.")
    return text


def _start(text: str) -> str:
    return period(text).start.isoformat()


def _last(text: str) -> str:
    """The last microsecond of a day, a month or a year, or of a second."""
    return (period(text).end - timedelta(microseconds=1)).isoformat()


FILTERS = {"format": _format, "created_before": _start, "created_after": _last, "name": clean_filename}


# --- A job, from the question to the summary --------------------------------------------------------------------------


class StartJob(Protocol):
    """Creates the job: of `only` some images, or of all; if `expected` is given, all have to have this fingerprint."""

    def __call__(self, *, only: SourceImageQuerySet | None = None, expected: str | None = None) -> Job: ...


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What a command is about to do."""

    kind: str
    organization: Organization
    params: Mapping[str, Any]  # of the job; just the same ones go on with a job of a command that was interrupted
    images: SourceImageQuerySet  # those that the job would write down
    description: str  # what will be done to {}
    start: StartJob
    affected: Q = REPORT_EVERY  # of the images, those that something will be done to
    remaining: SourceImageQuerySet | None = None  # of the images, those that are not as they should be yet

    def is_counted(self, images: SourceImageQuerySet) -> str:
        """The sentence, with the number of these images and their size."""
        found = images.filter(self.affected).aggregate(count=Count("id"), size=Sum("size"))
        size = filesizeformat(found["size"] or 0).replace("\xa0", " ")
        return self.description.format(f"{count_label(found['count'])} ({size})")

    def since(self, job: Job) -> SourceImageQuerySet:
        """The images that are to be done and that the job of an earlier run does not cover, as of now."""
        if self.remaining is None:
            return SourceImage.objects.none()
        last = self.images.aggregate(last=Max("id"))["last"] or 0
        return self.remaining.filter(id__lte=last).exclude(pk__in=job.images.values("image_id"))


class JobCommand(ImageCommand, OperationCommand):
    """The interface of a job. Exits with 0 only if all of it was done, with 3 if images were skipped or failed."""

    outcomes: tuple[str, ...] = ()  # of the job's report, in the order of the summary

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--yes", action="store_true", help="do not ask, for scripts")
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
        parser.add_argument("--background", action="store_true", help="leave it to the workers, and watch them")

    def execute_plan(self, work: JobPlan, *, yes: bool, dry_run: bool, background: bool, **options: Any) -> None:
        job = find_existing_job(work, background=background)
        if job is not None:
            self._resume(job, work, yes=yes, dry_run=dry_run, background=background)
        elif dry_run:
            self.stdout.write(f"This would {work.is_counted(work.images)}. Nothing was changed.")
        elif not work.images.filter(work.affected).exists():
            self.stdout.write(f"There is nothing to do: this would {work.is_counted(work.images)}.")
        else:
            self._finish(work.start() if yes else self._confirmed(work), background=background)

    def _confirmed(self, work: JobPlan) -> Job:
        """The job, once somebody agreed to the images that it is about. Asks again where these are others by then."""
        while True:
            ids = work.images.order_by().aggregate(count=Count("id"), last=Max("id"), sum=Sum("id"))
            confirm(work.is_counted(work.images))
            try:
                return work.start(expected=fingerprint(ids["count"], ids["last"], ids["sum"]))
            except SelectionChanged as changed:
                self.stdout.write(changed.message)

    def _resume(self, job: Job, work: JobPlan, *, yes: bool, dry_run: bool, background: bool) -> None:
        """Finish what an earlier run began, then begin a job of its own for what came since."""
        since = work.since(job)
        count = since.count()
        self.stdout.write(
            f"An earlier run began {job.created:%Y-%m-%d %H:%M} UTC and has come to {job.processed} of {job.total}: "
            "this one goes on with it."
        )
        what = work.is_counted(snapshot.remaining(job))
        if count:
            what += f", then {count_label(count)} more that came since"
        if dry_run:
            self.stdout.write(f"This would {what}. Nothing was changed.")
            return
        if not yes:
            confirm(what)
        only = SourceImage.objects.filter(pk__in=since.values("pk"))
        if job.state in jobs.RESUMABLE:
            job = jobs.resume(job, actor=COMMAND)
        trouble = self._end(job, background=background)
        if count and (trouble is None or trouble.returncode == EXIT_WITH_ERRORS):
            self.stdout.write("What came since:")
            trouble = self._end(work.start(only=only), background=background) or trouble
        if trouble is not None:
            raise trouble

    def _finish(self, job: Job, *, background: bool) -> None:
        if trouble := self._end(job, background=background):
            raise trouble

    def _end(self, job: Job, *, background: bool) -> CommandError | None:
        """Do the job, say what was done, and answer what is wrong, if anything is."""
        job, trouble = self._done(job, background=background)
        self.summarize(job)
        return self._error(job, trouble)

    def _done(self, job: Job, *, background: bool) -> tuple[Job, str]:
        """The job as it is in the end, and what kept it from being finished."""
        if not background:
            return run_inline(job)
        if settings.CELERY_TASK_ALWAYS_EAGER:
            self.stdout.write("Without REDIS_URL there are no workers: it is done here.")
            return run_inline(job)
        enqueue_job(job.pk)
        return follow(job), ""

    def summarize(self, job: Job) -> None:
        facts = {name: job.counts.get(name, 0) for name in self.outcomes}
        self.print_fields(facts | {"failed": job.failed}, as_json=False)
        for name, why in FAILURE_REASONS.items():
            if job.counts.get(name):
                self.stdout.write(f"{count_label(job.counts[name])} failed: {why}.")
        self._list_skipped(job)
        if remark := self.summary_note(job):
            self.stdout.write(remark)

    def _error(self, job: Job, trouble: str) -> CommandError | None:
        so_far = f"{job.processed} of {job.total} are dealt with"
        match job.state:
            case Job.State.PAUSED if trouble:
                return CommandError(f"{trouble}. {so_far}. {RESUME_HINT}")
            case Job.State.PAUSED:
                return CommandError(f"Stopped: {so_far}. {RESUME_HINT}", returncode=EXIT_INTERRUPTED)
            case Job.State.CANCELLED:
                return CommandError(f"Somebody has stopped it: {so_far}.")
            case Job.State.FAILED:
                return CommandError(f"{job.error} {so_far}.")
            case Job.State.SUCCEEDED_WITH_ERRORS:
                return CommandError(
                    f"{count_label(job.failed + job.skipped)} skipped or failed. "
                    f"manage.py retry_job {job.pk} does it again for just these.",
                    returncode=EXIT_WITH_ERRORS,
                )
        return None

    def _list_skipped(self, job: Job) -> None:
        """The images that were skipped or failed, and why."""
        rows = JobImage.objects.filter(job=job).exclude(message="").order_by("image_id")[: NAME_LIMIT + 1]
        found = {row.image_id: row.message for row in rows}
        names = {image.pk: f"{image.hash} {image.name}" for image in SourceImage.objects.filter(pk__in=found)}
        if found:
            self.stdout.write("Skipped or failed:")
        for pk, message in list(found.items())[:NAME_LIMIT]:
            self.stdout.write(f"  {names.get(pk, f'image {pk}')}: {message}")
        if len(found) > NAME_LIMIT:
            self.stdout.write("  … and others")

    def summary_note(self, job: Job) -> str:
        """What else there is to know."""
        return ""


def find_existing_job(work: JobPlan, *, background: bool) -> Job | None:
    """The job of the same command that this run goes on with: it was interrupted, or killed, or is to be watched.

    Jobs of others, from the API or the back-office, are never joined, whatever they do. Raises CommandError if the same
    command is running at this moment.
    """
    job = jobs.find_interrupted(work.kind, work.organization, work.params, COMMAND.source)
    if job is not None and not _is_obsolete(job):
        return job
    unfinished = work.organization.jobs.unfinished().filter(kind=work.kind, source=COMMAND.source)
    job = next((job for job in unfinished.order_by("-created") if jobs.find_equal(job, work.params)), None)
    if job is not None and not background and job.pk not in jobs.stalled(seconds=STALE_SECONDS):
        raise CommandError(
            f"Somebody is doing this, or was until a moment ago. --background watches it; "
            f"after {STALE_SECONDS} seconds of silence the same command goes on with it; {how_to_stop(job)}"
        )
    return job


def _is_obsolete(job: Job) -> bool:
    """Whether what it did was undone, or could not be undone any more: then another one has to begin at the start."""
    if job.kind != jobs.DELETE_ALL:
        return False
    tombstone = job.params["deletion_id"]
    undone = job.organization.jobs.filter(kind=jobs.RESTORE_DELETION, params__deletion_id=tombstone).exists()
    return undone or not job.organization.tombstones.restorable().filter(pk=tombstone).exists()


def run_inline(job: Job) -> tuple[Job, str]:
    """Do the job in this process. Whoever interrupts it, or a storage that fails, leaves it to be gone on with."""
    trouble = ""
    try:
        with graceful_interrupt() as check, progress_bar(job.total, job.processed) as shown:

            def watch(job: Job) -> None:
                shown.update(job.processed - shown.n)
                if job.unfinished:
                    check()

            return jobs.run(job.pk, watch=watch), ""
    except KeyboardInterrupt:
        pass
    except (DomainError, OperationalError) as error:
        trouble = " ".join(str(error).split()).rstrip(".")
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()  # so that the database is asked on a new one
    return jobs.stop(job, Job.State.PAUSED, actor=COMMAND), trouble


def follow(job: Job) -> Job:
    """Wait until workers have done the job. Ctrl-C ends only the waiting."""
    since, warned = timezone.now(), False
    try:
        with progress_bar(job.total, job.processed) as shown:
            while job.unfinished:
                time.sleep(POLL_SECONDS)
                job.refresh_from_db()
                shown.update(job.processed - shown.n)
                silent = (timezone.now() - max(since, job.heartbeat or since)).total_seconds()
                if job.unfinished and silent > STALE_SECONDS and not warned:
                    shown.write("Nothing has been heard of it for a while. Is a worker running?", file=sys.stderr)
                    warned = True
    except KeyboardInterrupt:
        raise CommandError(
            f"It goes on without you: {job.processed} of {job.total} are dealt with. "
            f"Run the same command with --background to watch it again; {how_to_stop(job)}",
            returncode=EXIT_INTERRUPTED,
        ) from None
    return job


def how_to_stop(job: Job) -> str:
    return f"DELETE /jobs/{job.organization.name}/{job.pk} stops it."


# --- At the terminal --------------------------------------------------------------------------------------------------


def count_label(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"


def confirm(what: str) -> None:
    """Raises CommandError unless a person at the terminal says yes."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise CommandError(f"Nobody is there to be asked whether to {what}: use --yes.")
    try:
        answer = input(f"This will {what}. Go on? [y/N] ")
    except (EOFError, KeyboardInterrupt):
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("Nothing was changed.")


def progress_bar(total: int | None, done: int = 0) -> "tqdm[Any]":
    """Progress, with rate and time left; silent where nobody looks."""
    # Some terminals say that they have no columns and no lines: tqdm believes it, and would show nothing there.
    columns, lines = shutil.get_terminal_size()
    return tqdm(total=total, initial=done, unit=" pictures", ncols=columns - 1, nrows=lines, disable=None)


@contextmanager
def graceful_interrupt() -> Iterator[Callable[[], None]]:
    """Within, the first Ctrl-C or SIGTERM waits for the call of what this yields; the second one waits for nothing.

    So a batch is done as a whole, and leaves no bytes behind that had yet to get their row.
    """
    asked = False

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        with suppress(OSError):  # written past sys.stderr, which may be in the middle of writing
            os.write(2, b"\nStopping after this batch. Once more stops at once.\n")

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, ask_to_stop)
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
