"""manage.py doctor of real installations."""

import json
import time

import pytest

from rokka import doctor
from tests.support import commands
from tests.system.conftest import worker

NOWHERE = "127.0.0.1:9"


def findings(run):
    """Level and message by check; the last finding of each."""
    return {row["check"]: (row["level"], row["message"]) for row in json.loads(run.stdout)["findings"]}


@pytest.mark.any_database
def test_unreachable_services_are_one_line_each(make_server):
    unreachable = {
        "DATABASE_URL": f"postgres://rokka:password-of-postgres@{NOWHERE}/rokka",
        "REDIS_URL": f"redis://:password-of-redis@{NOWHERE}/0",
        "STORAGE_URL": f"s3://key:password-of-s3@{NOWHERE}/bucket?secure=false",
    }
    started = time.monotonic()
    run = commands.manage(["doctor"], make_server().environment | unreachable)
    assert run.returncode == 1
    lines = run.stdout.splitlines()
    assert len(lines) == len(doctor.CHECKS)
    levels = {check.name: line.split()[0] for check, line in zip(doctor.CHECKS, lines, strict=True)}
    assert {name for name, level in levels.items() if level == "error"} == {"database", "redis", "storage"}
    assert {name for name, level in levels.items() if level == "skipped"} == {
        *("tables", "clock", "workers", "scheduled tasks", "owner mark")
    }
    assert "Traceback" not in run.stdout + run.stderr
    assert "password-of" not in run.stdout + run.stderr
    assert time.monotonic() - started < 30


@pytest.mark.any_database
def test_a_running_server_has_no_errors(make_server):
    server = make_server(JOB_RUNNER="inline").start()
    run = server.manage("doctor")
    assert (run.returncode, run.stderr) == (0, "")
    assert "error " not in run.stdout


def test_workers_are_found_by_their_queues(make_server, queue):
    server = make_server().start()
    assert findings(server.manage("doctor", "--json"))["workers"][0] == "error"
    with worker(server, "interactive", "bulk"):
        run = server.manage("doctor", "--json")
        assert "maintenance" in run.stdout
        assert run.returncode == 1
    with worker(server, "interactive", "bulk", "maintenance"):
        run = server.manage("doctor", "--json")
        assert findings(run)["workers"][0] == "ok"
        assert run.returncode == 0
