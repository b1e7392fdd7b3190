"""Checks of an installation for its operator: settings, services, files and processes.

They change nothing except objects of their own, which they remove again. They are not in one of the packages, but above
all of them, because they look at each and use rokka.health.
"""

from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Thread

from django.db import connections

from rokka.doctor.configuration import check_settings
from rokka.doctor.files import check_disks, check_owner, check_render_cache, check_storage
from rokka.doctor.findings import Check, Finding, Level, describe, error
from rokka.doctor.processes import check_decoders, check_probe_worker, check_render_worker
from rokka.doctor.services import (
    check_clock,
    check_database,
    check_redis,
    check_scheduled_tasks,
    check_tables,
    check_workers,
)

__all__ = ["CHECKS", "TIME_LIMIT", "Check", "Finding", "Level", "run"]

TIME_LIMIT = 5  # seconds per check

CHECKS = (
    Check("settings", check_settings),
    Check("database", check_database),
    Check("tables", check_tables, needs="database"),
    Check("clock", check_clock, needs="database"),
    Check("redis", check_redis),
    Check("workers", check_workers, needs="redis"),
    Check("scheduled tasks", check_scheduled_tasks, needs="tables"),
    Check("storage", check_storage),
    Check("owner mark", check_owner, needs="tables"),
    Check("render cache", check_render_cache),
    Check("probe workers", check_probe_worker),
    Check("render workers", check_render_worker),
    Check("decoders", check_decoders),
    Check("disks", check_disks),
)


def run(checks: Sequence[Check] = CHECKS) -> Iterator[tuple[Check, Finding]]:
    """Run the checks in order, each for TIME_LIMIT seconds at most, and yield what they find as soon as it is known."""
    failed = set()
    for check in checks:
        if check.needs in failed:
            failed.add(check.name)
            yield check, Finding(Level.SKIPPED, f"Needs {check.needs}.")
            continue
        findings = _findings(check)
        if all(finding.level is Level.ERROR for finding in findings):
            failed.add(check.name)
        for finding in findings:
            yield check, finding


def _findings(check: Check) -> list[Finding]:
    """Run the check in a thread, which is abandoned if it takes too long: libraries wait in ways without a timeout."""
    answers: SimpleQueue[list[Finding]] = SimpleQueue()

    def work() -> None:
        found: list[Finding] = []
        try:
            found.extend(check.function())
        except Exception as problem:  # noqa: BLE001, any error is a finding
            found.append(error(describe(problem)))
        finally:
            connections.close_all()
        answers.put(found)

    Thread(target=work, name=check.name, daemon=True).start()
    try:
        return answers.get(timeout=TIME_LIMIT)
    except Empty:
        return [error(f"No answer within {TIME_LIMIT} seconds.")]
