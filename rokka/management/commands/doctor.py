import json
from collections import Counter
from typing import Any

from django.core.management.base import CommandError, CommandParser

from rokka import doctor
from rokka.core.commands import OperatorCommand
from rokka.doctor import Level
from sourceimages.management.terminal import count_label

WIDTH = max(len(check.name) for check in doctor.CHECKS)
WORST_FIRST = (Level.ERROR, Level.WARNING)


class Command(OperatorCommand):
    help = "Check the installation: settings, services, files and processes. Exits with 1 if there are errors."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print a JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        counts: Counter[Level] = Counter()
        rows = []
        for check, finding in doctor.run():
            counts[finding.level] += 1
            rows.append({"check": check.name, "level": finding.level, "message": finding.message})
            if not options["json"]:
                self.stdout.write(
                    f"{finding.level:8} {check.name:{WIDTH}} {finding.message}", self._style(finding.level)
                )
        if options["json"]:
            worst = next((level for level in WORST_FIRST if counts[level]), Level.OK)
            self.stdout.write(json.dumps({"status": worst, "findings": rows}, indent=2))
        if counts[Level.ERROR]:
            raise CommandError(f"{count_label(counts[Level.ERROR], 'error')} found.")

    def _style(self, level: Level) -> Any:
        styles = {Level.OK: self.style.SUCCESS, Level.WARNING: self.style.WARNING, Level.ERROR: self.style.ERROR}
        return styles.get(level)
