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
from sourceimages.jobs import restore_deletion
from sourceimages.management.job_command import JobCommand, JobPlan
from sourceimages.models import Tombstone
from sourceimages.outcomes import Outcome


class Command(JobCommand):
    help = (
        "Restore all images of a deletion (default: the latest one made by a user). Exits with 3 if images were "
        "skipped because an active image with the same hash is locked or has different values."
    )
    outcomes = tuple(
        outcome.value
        for outcome in (
            Outcome.RESTORED,
            Outcome.MERGED,
            Outcome.SKIPPED_EXISTING,
            Outcome.CONFLICTING,
            Outcome.LOCKED,
        )
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("organization")
        parser.add_argument("--deletion", metavar="ID", help="ID of the deletion to restore")
        parser.add_argument("--list", action="store_true", help="only list the deletions that can be restored")

    def run(self, **options: Any) -> None:
        owner = organization(options["organization"])
        if options["list"]:
            self.print_deletions(owner)
            return
        tombstone = self._get_deletion(owner, options["deletion"])
        plan = JobPlan(
            jobs.RESTORE_DELETION,
            owner,
            {"deletion_id": str(tombstone.pk)},
            tombstone.images.all(),
            f"restore {{}} of {owner}, deleted on {tombstone.deleted_at:%Y-%m-%d %H:%M} UTC "
            f"({tombstone.reason}, {tombstone.pk})",
            partial(jobs.start_restore, owner, tombstone.pk, actor=COMMAND),
        )
        self.execute_plan(plan, **options)

    def print_deletions(self, owner: Organization) -> None:
        """Print the deletions that can be restored and still have images, the latest first."""
        tombstones = owner.tombstones.restorable().annotate(count=Count("images")).filter(count__gt=0)
        listed = self.report["deletions"] = []
        self.stdout.write(f"{'deletion':36}  {'deleted (UTC)':16}  {'reason':11} {'images':>10} {'days left':>10}")
        for one in tombstones.order_by("-deleted_at", "id").iterator():
            days = (one.expires_at - timezone.now()) / timedelta(days=1)
            deletion = {"id": str(one.pk), "deleted_at": one.deleted_at, "reason": one.reason, "images": one.count}
            listed.append(deletion | {"expires_at": one.expires_at})
            deleted_at = f"{one.deleted_at:%Y-%m-%d %H:%M}"
            self.stdout.write(f"{one.pk}  {deleted_at}  {one.reason:11} {one.count:>10} {days:>10.1f}")

    def _get_deletion(self, owner: Organization, text: str | None) -> Tombstone:
        try:
            return restore_deletion.get_restorable(owner, None if text is None else UUID(text))
        except ValueError as error:
            raise CommandError(f"--deletion={text!r} is not a valid ID. List deletions with --list.") from error

    def summary_note(self, job: Job) -> str:
        notes = []
        if any(job.counts.get(outcome.value) for outcome in (Outcome.MERGED, Outcome.SKIPPED_EXISTING)):
            notes.append(
                f"Images counted as {Outcome.MERGED} or {Outcome.SKIPPED_EXISTING} stay in the trash: "
                "an active image with the same hash has all their values."
            )
        if any(job.counts.get(outcome.value) for outcome in restore_deletion.SKIP_MESSAGES):
            notes.append("The differing values are in the history of the active images (restore_conflict).")
        return "\n".join(notes)
