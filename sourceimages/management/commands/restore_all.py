from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.db.models import Count
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.management.arguments import organization
from organizations.models import Job, Organization
from sourceimages import jobs
from sourceimages.errors import TombstoneNotFound
from sourceimages.management.progress import JobCommand, Work
from sourceimages.models import Tombstone


class Command(JobCommand):
    help = "Undo one act of deleting, the latest unless another one is named: all its pictures come back."
    outcomes = ("restored", "existing")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("organization")
        parser.add_argument("--tombstone", metavar="ID", help="which act of deleting is undone")
        parser.add_argument("--list", action="store_true", help="only print the acts that can be undone")

    def run(self, **options: Any) -> None:
        where = organization(options["organization"])
        if options["list"]:
            self.print_tombstones(where)
            return
        tombstone = self._tombstone(where, options["tombstone"])
        work = Work(
            jobs.RESTORE,
            where,
            {"tombstone": str(tombstone.pk)},
            tombstone.images.all(),
            f"bring back {{}} of {where} that went to the trash at {tombstone.deleted_at:%Y-%m-%d %H:%M} UTC "
            f"({tombstone.reason}, {tombstone.pk})",
            lambda: jobs.restore_all(where, tombstone.pk, actor=COMMAND),
        )
        self.carry_out(work, **options)

    def print_tombstones(self, where: Organization) -> None:
        tombstones = where.tombstones.restorable().annotate(count=Count("images")).filter(count__gt=0)
        self.stdout.write(f"{'tombstone':36}  {'deleted (UTC)':16}  {'reason':11} {'pictures':>10} {'days left':>10}")
        for one in tombstones.order_by("-deleted_at", "id").iterator():
            days = (one.expires_at - timezone.now()) / timedelta(days=1)
            when = f"{one.deleted_at:%Y-%m-%d %H:%M}"
            self.stdout.write(f"{one.pk}  {when}  {one.reason:11} {one.count:>10} {days:>10.1f}")

    def _tombstone(self, where: Organization, text: str | None) -> Tombstone:
        tombstones = where.tombstones.restorable().order_by("-deleted_at", "id")
        if text is not None:
            try:
                tombstones = tombstones.filter(pk=UUID(text))
            except ValueError as error:
                raise CommandError(f"--tombstone={text!r} is no id of a tombstone; see --list.") from error
        tombstone = tombstones.first()
        if tombstone is None:
            raise TombstoneNotFound("There is no such act of deleting that can still be undone.")
        return tombstone

    def remark(self, job: Job) -> str:
        return "Existing ones stay in the trash: there is a living picture of each." if "existing" in job.report else ""
