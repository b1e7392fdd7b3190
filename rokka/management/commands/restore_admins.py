from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.management.base import ChangeCommand, organization
from organizations.management.base import user as find_user
from organizations.operations import MembershipEffect, admins_before, undo_membership
from sourceimages.management.arguments import parse_time
from sourceimages.management.terminal import add_yes_option, confirm, count_label

DEFAULT_DAYS = 7


class Command(ChangeCommand):
    help = "Give users back the roles they had as admins of an organization, if they were removed or lost the role."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("organization")
        parser.add_argument("users", nargs="*", metavar="user", help="only these: ID, username or unique email")
        parser.add_argument(
            "--since",
            metavar="TIME",
            help=f"those who were admins then: 2024, 2024-06, 2024-06-01 or an ISO 8601 time; {DEFAULT_DAYS} days ago "
            "by default",
        )
        add_yes_option(parser)

    def run(self, **options: Any) -> None:
        tenant = organization(options["organization"])
        since = parse_time(options, "since") or timezone.now() - timedelta(DEFAULT_DAYS)
        wanted = {find_user(text).pk for text in options["users"]}
        removed = [one for one in admins_before(tenant, since) if not wanted or one.user.pk in wanted]
        if not removed:
            raise CommandError(f"No removed admin of {tenant} since {since:%Y-%m-%d %H:%M} UTC. Use --since.")
        for one in removed:
            self.stdout.write(self._label(one))
        self.report["admins"] = len(removed)
        if options["dry_run"]:
            return
        if not options["yes"]:
            confirm(f"make {count_label(len(removed), 'user')} an admin of {tenant} again")
        for one in removed:
            undo_membership(one, actor=COMMAND)
        self.stdout.write(f"{count_label(len(removed), 'admin')} of {tenant} restored.")

    def _label(self, one: MembershipEffect) -> str:
        now = ", ".join(one.current) or "not a member"
        inactive = "" if one.user.is_active else "; deactivated: activate the user in the admin"
        return (
            f"{one.user} ({one.user.pk}): {', '.join(one.before)}; since {one.changed:%Y-%m-%d %H:%M} {now}{inactive}"
        )
