"""Base class of commands that run a job: they count, confirm, show progress, and can be paused and resumed."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import OperationalError, connection
from django.db.models import Count, Max, Q, Sum
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.management.base import ChangeCommand
from organizations.models import Job, Organization
from rokka.core.errors import DomainError
from sourceimages import jobs, queue
from sourceimages.errors import InvalidName, SelectionChanged
from sourceimages.jobs import snapshot
from sourceimages.jobs.selection import fingerprint
from sourceimages.management.ownership import ImageCommand
from sourceimages.management.terminal import (
    EXIT_INTERRUPTED,
    add_yes_option,
    confirm,
    count_label,
    graceful_interrupt,
    progress_bar,
    size_label,
)
from sourceimages.models import JobImage, SourceImage, SourceImageQuerySet
from sourceimages.outcomes import Outcome
from sourceimages.queue import STALE_SECONDS, enqueue_job
from sourceimages.search.periods import period
from sourceimages.uploads.filename import clean_filename

NAME_LIMIT = 20  # skipped or failed images that are listed
EXIT_WITH_ERRORS = 3  # exit status of a job that completed, but skipped images or failed for some
POLL_SECONDS = 0.5  # between two looks at a job in the background
ALL_IMAGES = Q()
RESUME_HINT = "Run the same command again to resume."
FAILURE_REASONS = {
    Outcome.NOT_FOUND.value: "the image or its file no longer exists",
    Outcome.HASH_COLLISION.value: "a different file with the same SHA-1 exists at the destination",
}


# --- Filters ----------------------------------------------------------------------------------------------------------


def add_filters(parser: CommandParser) -> None:
    group = parser.add_argument_group("filters")
    group.add_argument("--format", help="only images of this format, for example png or jpg")
    group.add_argument(
        "--created-before",
        metavar="TIME",
        help="only images created before: 2024, 2024-06, 2024-06-01 or an ISO 8601 time (UTC without a time zone)",
    )
    group.add_argument(
        "--created-after", metavar="TIME", help="only images created after the end of this year, month, day or time"
    )
    group.add_argument("--name", metavar="PREFIX", help="only images whose name starts with this (case-sensitive)")


def parse_filters(options: Mapping[str, Any]) -> dict[str, str]:
    """The given filters in canonical form, so that equal filters are recognized when a command is run again.

    Raises CommandError.
    """
    filters = {}
    for name, parse in FILTERS.items():
        text = options[name]
        if text is not None:
            try:
                filters[name] = parse(text)
            except (ValueError, OverflowError, InvalidName) as error:
                raise CommandError(f"--{name.replace('_', '-')}={text!r} is invalid: {error}") from error
    return filters


def _format(text: str) -> str:
    if text not in settings.FORMATS:
        raise ValueError(f"must be one of {', '.join(settings.FORMATS)}.")
    return text


def _start(text: str) -> str:
    return period(text).start.isoformat()


def _last(text: str) -> str:
    """The last microsecond of a year, month, day or second."""
    return (period(text).end - timedelta(microseconds=1)).isoformat()


FILTERS = {"format": _format, "created_before": _start, "created_after": _last, "name": clean_filename}


# --- A job, from the confirmation to the summary ----------------------------------------------------------------------


class StartJob(Protocol):
    """Creates the job, for the images of the plan or only for some of them.

    Raises SelectionChanged if the images no longer match the `expected` fingerprint.
    """

    def __call__(self, *, only: SourceImageQuerySet | None = None, expected: str | None = None) -> Job: ...


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What a command is about to do."""

    kind: str
    organization: Organization
    params: Mapping[str, Any]  # of the job; an interrupted job is resumed only by a plan with equal params
    images: SourceImageQuerySet  # that the job would process
    description: str  # of the action, with {} for the images, such as "copy {} to acme"
    start: StartJob
    affected: Q = ALL_IMAGES  # condition for the images that would change; the others would be skipped
    remaining: SourceImageQuerySet | None = None  # of the images, those still to be processed

    def describe(self, images: SourceImageQuerySet) -> str:
        """The description, with number and size of these images."""
        totals = self.totals(images)
        return self.description.format(f"{count_label(totals['images'])} ({size_label(totals['bytes'])})")

    def totals(self, images: SourceImageQuerySet) -> dict[str, int]:
        """Number and size of those of these images that would change."""
        totals = images.filter(self.affected).aggregate(images=Count("id"), bytes=Sum("size"))
        return {"images": totals["images"], "bytes": totals["bytes"] or 0}

    def added_since(self, job: Job) -> SourceImageQuerySet:
        """Images still to be processed that are not part of an earlier run's job, as of now."""
        if self.remaining is None:
            return SourceImage.objects.none()
        last = self.images.aggregate(last=Max("id"))["last"] or 0
        return self.remaining.filter(id__lte=last).exclude(pk__in=job.images.values("image_id"))


class JobCommand(ImageCommand, ChangeCommand):
    """A command that runs one job. Exits with 0 if it succeeded, with 3 if images were skipped or failed."""

    outcomes: tuple[str, ...] = ()  # keys of the job's counts, in the order of the summary

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_yes_option(parser)
        parser.add_argument(
            "--background", action="store_true", help="run the job in the workers and show its progress"
        )

    def execute_plan(self, plan: JobPlan, *, yes: bool, dry_run: bool, background: bool, **options: Any) -> None:
        """Resume the job of an earlier run, or confirm and start one. Raises CommandError unless it succeeds."""
        job = find_existing_job(plan, background=background)
        self.report |= plan.totals(plan.images)
        if job is not None:
            self._resume(job, plan, yes=yes, dry_run=dry_run, background=background)
        elif dry_run:
            self.stdout.write(f"[dry run] Would {plan.describe(plan.images)}.")
        elif not plan.images.filter(plan.affected).exists():
            self.stdout.write(f"Nothing to do: would {plan.describe(plan.images)}.")
        else:
            error = self._run(plan.start() if yes else self._start_confirmed(plan), background=background)
            if error is not None:
                raise error

    def _start_confirmed(self, plan: JobPlan) -> Job:
        """Start the job once the user has confirmed. Asks again if the images changed while the question was open."""
        while True:
            ids = plan.images.order_by().aggregate(count=Count("id"), last=Max("id"), sum=Sum("id"))
            confirm(plan.describe(plan.images))
            try:
                return plan.start(expected=fingerprint(ids["count"], ids["last"], ids["sum"]))
            except SelectionChanged as error:
                self.stdout.write(error.message)

    def _resume(self, job: Job, plan: JobPlan, *, yes: bool, dry_run: bool, background: bool) -> None:
        """Finish the job of an earlier run, then run another one for images that were added since."""
        added = plan.added_since(job)
        count = added.count()
        self.stdout.write(
            f"Resuming the run started {job.created:%Y-%m-%d %H:%M} UTC ({job.processed} of {job.total} processed)."
        )
        remaining = snapshot.remaining(job)
        self.report |= plan.totals(remaining) | {"resumed": str(job.pk), "added_since": count}
        action = plan.describe(remaining)
        if count:
            action += f", then {count_label(count)} added since"
        if dry_run:
            self.stdout.write(f"[dry run] Would {action}.")
            return
        if not yes:
            confirm(action)
        only = SourceImage.objects.filter(pk__in=added.values("pk"))
        if job.state in jobs.RESUMABLE:
            job = jobs.resume(job, actor=COMMAND)
        error = self._run(job, background=background)
        if count and (error is None or error.returncode == EXIT_WITH_ERRORS):
            self.stdout.write("Images added since:")
            error = self._run(plan.start(only=only), background=background) or error
        if error is not None:
            raise error

    def _run(self, job: Job, *, background: bool) -> CommandError | None:
        """Run the job and print its summary; return the error to exit with, if any."""
        job, failure = self._run_or_follow(job, background=background)
        self.summarize(job)
        return self._error(job, failure)

    def _run_or_follow(self, job: Job, *, background: bool) -> tuple[Job, str]:
        """The job after it ended or was paused, and the message of an error that interrupted it."""
        if not background:
            return run_inline(job)
        if queue.INLINE:
            self.stdout.write("There are no workers (JOB_RUNNER=inline): running the job in this process.")
            return run_inline(job)
        enqueue_job(job.pk)
        return follow(job), ""

    def summarize(self, job: Job) -> None:
        """Print the counts of the job, and the images that it skipped or failed for."""
        counts = {str(name): job.counts.get(name, 0) for name in self.outcomes}
        self.report |= {"job": str(job.pk), "state": job.state, "counts": counts, "failed": job.failed}
        self.print_fields(counts | {"failed": job.failed}, as_json=False)
        for name, reason in FAILURE_REASONS.items():
            if job.counts.get(name):
                self.stdout.write(f"{count_label(job.counts[name])} failed: {reason}.")
        self._list_skipped(job)
        if note := self.summary_note(job):
            self.stdout.write(note)

    def _error(self, job: Job, failure: str) -> CommandError | None:
        progress = progress_label(job)
        match job.state:
            case Job.State.PAUSED if failure:
                return CommandError(f"{failure}. {progress}. {RESUME_HINT}")
            case Job.State.PAUSED:
                return CommandError(f"Paused: {progress}. {RESUME_HINT}", returncode=EXIT_INTERRUPTED)
            case Job.State.CANCELLED:
                return CommandError(f"The job was cancelled: {progress}.")
            case Job.State.FAILED:
                return CommandError(f"{job.error} {progress}.")
            case Job.State.SUCCEEDED_WITH_ERRORS:
                return CommandError(
                    f"{count_label(job.failed + job.skipped)} skipped or failed. "
                    f"Run manage.py retry_job {job.pk} to retry only these.",
                    returncode=EXIT_WITH_ERRORS,
                )
        return None

    def _list_skipped(self, job: Job) -> None:
        """Print the images that were skipped or failed, and why; up to NAME_LIMIT."""
        rows = JobImage.objects.filter(job=job).exclude(message="").order_by("image_id")[: NAME_LIMIT + 1]
        messages = {row.image_id: row.message for row in rows}
        names = {image.pk: f"{image.hash} {image.name}" for image in SourceImage.objects.filter(pk__in=messages)}
        if messages:
            self.stdout.write("Skipped or failed:")
        for pk, message in list(messages.items())[:NAME_LIMIT]:
            self.stdout.write(f"  {names.get(pk, f'image {pk}')}: {message}")
        if len(messages) > NAME_LIMIT:
            self.stdout.write("  … and more")

    def summary_note(self, job: Job) -> str:
        """A note to print after the summary; override it where the counts need an explanation."""
        return ""


def get_job(text: str) -> Job:
    """The job with this ID. Raises CommandError."""
    try:
        job = Job.objects.select_related("organization").filter(pk=UUID(text)).first()
    except ValueError as error:
        raise CommandError(f"{text!r} is not a valid job ID.") from error
    if job is None:
        raise CommandError(f"Job {text} not found.")
    return job


def find_existing_job(plan: JobPlan, *, background: bool) -> Job | None:
    """The job of an earlier run of the same command that was paused or killed; with `background`, also a running one.

    Jobs that were started in the API or the admin are never resumed. Raises CommandError if the same command is
    running.
    """
    job = jobs.find_interrupted(plan.kind, plan.organization, plan.params, COMMAND.source)
    if job is not None and not _is_obsolete(job):
        return job
    unfinished = plan.organization.jobs.unfinished().filter(kind=plan.kind, source=COMMAND.source)
    job = next((job for job in unfinished.order_by("-created") if jobs.find_equal(job, plan.params)), None)
    if job is not None and not background and job.pk not in jobs.stalled(seconds=STALE_SECONDS):
        heartbeat = f"{job.heartbeat:%Y-%m-%d %H:%M:%S} UTC" if job.heartbeat else "none yet"
        raise CommandError(
            f"Another run is in progress (last heartbeat {heartbeat}). Pass --background to follow it. "
            f"{cancel_hint(job)} If it has crashed, run the same command again after {STALE_SECONDS} seconds to resume."
        )
    return job


def _is_obsolete(job: Job) -> bool:
    """Whether a deletion was restored, or can no longer be restored: then it is not resumed but started again."""
    if job.kind != jobs.DELETE_ALL:
        return False
    tombstone = job.params["deletion_id"]
    undone = job.organization.jobs.filter(kind=jobs.RESTORE_DELETION, params__deletion_id=tombstone).exists()
    return undone or not job.organization.tombstones.restorable().filter(pk=tombstone).exists()


def run_inline(job: Job) -> tuple[Job, str]:
    """Run the job in this process; return it and the message of the error that paused it, if any.

    Ctrl-C, and a database or a storage that fails, pause the job.
    """
    failure = ""
    try:
        with graceful_interrupt() as check, progress_bar(job.total, job.processed) as bar:

            def watch(job: Job) -> None:
                bar.update(job.processed - bar.n)
                if job.unfinished:
                    check()

            return jobs.run(job.pk, on_progress=watch), ""
    except KeyboardInterrupt:
        pass
    except (DomainError, OperationalError) as error:
        failure = " ".join(str(error).split()).rstrip(".")
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()  # so that the next query opens a new connection
    return jobs.stop(job, Job.State.PAUSED, actor=COMMAND), failure


def follow(job: Job) -> Job:
    """Show the progress of a job in the background until it ends. Ctrl-C ends only this command, not the job."""
    started, warned = timezone.now(), False
    try:
        with progress_bar(job.total, job.processed) as bar:
            while job.unfinished:
                time.sleep(POLL_SECONDS)
                job.refresh_from_db()
                bar.update(job.processed - bar.n)
                silence = (timezone.now() - max(started, job.heartbeat or started)).total_seconds()
                if job.unfinished and silence > STALE_SECONDS and not warned:
                    bar.write(f"No heartbeat for {STALE_SECONDS} seconds. Is a worker running?", file=sys.stderr)
                    warned = True
    except KeyboardInterrupt:
        raise CommandError(
            f"The job continues in the background: {progress_label(job)}. "
            f"Run the same command with --background to follow it again. {cancel_hint(job)}",
            returncode=EXIT_INTERRUPTED,
        ) from None
    return job


def progress_label(job: Job) -> str:
    return f"{job.processed} of {job.total} processed"


def cancel_hint(job: Job) -> str:
    return f"To cancel it, send DELETE /jobs/{job.organization.name}/{job.pk}."
