"""Speed of bulk actions on selected images, compared with one UPDATE of as many rows.

Unlike the UPDATE, a job locks each row, checks whether the image is locked, logs audit events, updates the search index
and stores its progress. Uses PostgreSQL, or SQLite with --database-url= (empty).
"""

import argparse
import json
import subprocess
import sys
import time
from typing import Any

import django
from django.db import connection

from benchmarks.common import (
    ORGANIZATION,
    ROOT,
    Comparison,
    Installation,
    installation,
    options,
    print_comparisons,
    settle,
)
from benchmarks.jobs import POSTGRESQL, check, in_child

CHILD = "from benchmarks import bulk_actions; bulk_actions.do()"
COUNT = 2000  # images; protecting creates a new one for each
CHANGES = {"title": "Another title", "int:year": 1999}
BARE: dict[str, dict[str, Any]] = {  # columns to set per kind, to values that differ from the current ones
    "lock": {"locked": False},
    "unlock": {"locked": True},
    "set_metadata": {"user_metadata": CHANGES | {"int:year": 1950}},
    "protect": {"protected": False},
    "unprotect": {"protected": True},
    "delete": {"tombstone": None},
}


def main(arguments: argparse.Namespace) -> None:
    comparisons = {kind: Comparison(kind, "images/s", "UPDATE", bound=True) for kind in BARE}
    for _ in range(arguments.runs):
        with installation(arguments) as installed:
            in_child(installed, "fill", count=COUNT)
            in_child(installed, "make_even")
            for kind, comparison in comparisons.items():
                settle()
                comparison.theirs.append(_measured(installed, kind, bare=True))
                settle()
                comparison.ours.append(_measured(installed, kind, bare=False))
            check(installed)
    print_comparisons(list(comparisons.values()))


def _measured(installed: Installation, kind: str, *, bare: bool) -> float:
    """Images per second, measured in a subprocess without its startup time."""
    ran = subprocess.run(
        [sys.executable, "-c", CHILD],
        check=True,
        cwd=ROOT,
        env=installed.environment | {"DJANGO_SETTINGS_MODULE": "rokka.settings"},
        input=json.dumps([kind, bare]),
        text=True,
        stdout=subprocess.PIPE,
    )
    return COUNT / float(ran.stdout)


def do() -> None:
    """Run in a subprocess: execute the task from standard input and print the seconds it took."""
    django.setup()
    from sourceimages.models import SourceImage

    kind, bare = json.load(sys.stdin)
    connection.ensure_connection()
    began = time.monotonic()
    done = SourceImage.objects.active().update(**BARE[kind]) if bare else _job(kind)
    seconds = time.monotonic() - began
    if done != COUNT:
        raise SystemExit(f"{kind}: processed {done} images, expected {COUNT}.")
    print(seconds)


def _job(kind: str) -> int:
    from organizations.audit import COMMAND
    from organizations.models import Organization
    from sourceimages import jobs
    from sourceimages.jobs.selection import Selection

    every = Selection(Organization.objects.get(name=ORGANIZATION), in_trash=False)
    arguments = {"changes": CHANGES} if kind == "set_metadata" else {}
    job = jobs.run(jobs.start_bulk_action(kind, every, actor=COMMAND, **arguments).pk)
    (done,) = job.counts.values()  # all images have the same outcome
    return int(done)


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.set_defaults(database_url=POSTGRESQL)
    main(parser.parse_args())
