import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db.models import Count, OuterRef, Subquery, Sum
from django.template.defaultfilters import filesizeformat

from organizations.models import Organization, UsageCounter


class Command(BaseCommand):
    help = "List all organizations with their members, pictures and bytes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object a line, for scripts")

    def handle(self, *args: Any, **options: Any) -> None:
        counted = UsageCounter.objects.filter(organization=OuterRef("pk")).values("organization")
        organizations = Organization.objects.annotate(
            members=Count("memberships"),
            pictures=Subquery(counted.annotate(sum=Sum("images")).values("sum")),
            stored=Subquery(counted.annotate(sum=Sum("bytes")).values("sum")),
        )
        if not options["json"]:
            self.stdout.write(f"{'organization':30} {'members':>8} {'pictures':>12} {'bytes':>12}  created")
        for one in organizations.order_by("name").iterator():
            if options["json"]:
                facts = {"organization": one.name, "members": one.members, "images": one.pictures, "bytes": one.stored}
                self.stdout.write(json.dumps(facts | {"created": one.created.isoformat(timespec="seconds")}))
            else:
                size = filesizeformat(one.stored).replace("\xa0", " ")
                self.stdout.write(
                    f"{one.name:30} {one.members:>8} {one.pictures:>12} {size:>12}  {one.created:%Y-%m-%d}"
                )
