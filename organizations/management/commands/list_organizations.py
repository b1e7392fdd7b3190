import json
from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Count, OuterRef, Subquery, Sum
from django.template.defaultfilters import filesizeformat

from organizations.management.base import OperationCommand
from organizations.models import Organization, UsageCounter


class Command(OperationCommand):
    help = "List all organizations with their members, images and storage used."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object per line")

    def run(self, **options: Any) -> None:
        counters = UsageCounter.objects.filter(organization=OuterRef("pk")).values("organization")
        organizations = Organization.objects.annotate(
            members=Count("memberships"),
            image_count=Subquery(counters.annotate(sum=Sum("images")).values("sum")),
            storage=Subquery(counters.annotate(sum=Sum("bytes")).values("sum")),
        )
        if not options["json"]:
            self.stdout.write(f"{'organization':30} {'members':>8} {'images':>12} {'storage':>12}  created")
        for one in organizations.order_by("name").iterator():
            if options["json"]:
                fields = {
                    "organization": one.name,
                    "members": one.members,
                    "images": one.image_count,
                    "bytes": one.storage,
                }
                self.stdout.write(json.dumps(fields | {"created": one.created.isoformat(timespec="seconds")}))
            else:
                size = filesizeformat(one.storage).replace("\xa0", " ")
                self.stdout.write(
                    f"{one.name:30} {one.members:>8} {one.image_count:>12} {size:>12}  {one.created:%Y-%m-%d}"
                )
