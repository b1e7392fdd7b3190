import json
import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from organizations.management.base import OperationCommand
from rendering.explain import explain
from rendering.output import Preferences


class Command(OperationCommand):
    help = "Explains what render URLs mean, down to the resolved operations if the stack and the image exist."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("urls", nargs="+", metavar="URL", help="a render URL; - reads URLs from standard input")
        parser.add_argument("--json", action="store_true", help="print one JSON object per URL")
        parser.add_argument("--accept", default="", help="the Accept header of the client, for autoformat")
        parser.add_argument("--host", default="", help="how hosts are built: https://example.org/{organization}")

    def run(self, **options: Any) -> None:
        for url in _expanded(options["urls"]):
            found = explain(url, host_template=options["host"], preferences=Preferences(options["accept"]))
            if options["json"]:
                self.stdout.write(_compact(found.as_json()))
            elif options["urls"] == ["-"]:
                self.stdout.write(_compact(found.meaning()))
            else:
                self.stdout.write(url)
                self.stdout.writelines(f"  {line}\n" for line in found.lines())


def _expanded(urls: list[str]) -> Iterator[str]:
    """The URLs, those of standard input in place of -."""
    for url in urls:
        yield from (line.strip() for line in sys.stdin if line.strip()) if url == "-" else [url]


def _compact(found: dict[str, Any]) -> str:
    return json.dumps(found, ensure_ascii=False, default=str)
