from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.db.models import Count
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.management.base import organization
from organizations.models import Job, Organization
from sourceimages import jobs
from sourceimages.jobs import restoring
from sourceimages.management.job_command import JobCommand, JobPlan
from sourceimages.models import Tombstone


class Command(JobCommand):
    help = (
        "Undo one deletion: all its images come back. Unless it is named, it is the latest that a user asked for. "
        "Exits with 3 if some are left, because active images with their hashes have other values or are locked."
    )
    outcomes = ("restored", "merged", "skipped_existing", "conflicting", "locked")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("organization")
        parser.add_argument("--deletion", metavar="ID", help="which deletion is undone")
        parser.add_argument("--list", action="store_true", help="only print the deletions that can be undone")

    def run(self, **options: Any) -> None:
        where = organization(options["organization"])
        if options["list"]:
            self.print_tombstones(where)
            return
        tombstone = self._tombstone(where, options["deletion"])
        work = JobPlan(
            jobs.RESTORE_DELETION,
            where,
            {"deletion_id": str(tombstone.pk)},
            tombstone.images.all(),
            f"bring back {{}} of {where} that went to the trash at {tombstone.deleted_at:%Y-%m-%d %H:%M} UTC "
            f"({tombstone.reason}, {tombstone.pk})",
            partial(jobs.start_restore, where, tombstone.pk, actor=COMMAND),
        )
        self.execute_plan(work, **options)

    def print_tombstones(self, where: Organization) -> None:
        tombstones = where.tombstones.restorable().annotate(count=Count("images")).filter(count__gt=0)
        self.stdout.write(f"{'tombstone':36}  {'deleted (UTC)':16}  {'reason':11} {'pictures':>10} {'days left':>10}")
        for one in tombstones.order_by("-deleted_at", "id").iterator():
            days = (one.expires_at - timezone.now()) / timedelta(days=1)
            when = f"{one.deleted_at:%Y-%m-%d %H:%M}"
            self.stdout.write(f"{one.pk}  {when}  {one.reason:11} {one.count:>10} {days:>10.1f}")

    def _tombstone(self, where: Organization, text: str | None) -> Tombstone:
        try:
            return restoring.get_restorable(where, None if text is None else UUID(text))
        except ValueError as error:
            raise CommandError(f"--deletion={text!r} is no id of a tombstone; see --list.") from error

    def summary_note(self, job: Job) -> str:
        remarks = []
        if any(job.counts.get(name) for name in ("merged", "skipped_existing")):
            remarks.append(
                "Existing and merged ones stay in the trash: an active image of each has all that they have."
            )
        if any(job.counts.get(outcome.value) for outcome in restoring.SKIP_MESSAGES):
            remarks.append("The history of the active images (restore_conflict) has the values that differ.")
        return "\n".join(remarks)
