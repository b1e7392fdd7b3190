"""Web processes that are killed, as they are for their use of memory."""

import os
import re
import signal
import time
from pathlib import Path

import pytest
import requests

from tests.conftest import ROOT
from tests.system.conftest import Server, until

pytestmark = pytest.mark.any_database


def web_processes(server: Server) -> set[int]:
    assert server.process is not None
    return set(map(int, Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()))


def test_a_killed_web_process_is_replaced_while_the_other_answers(make_server):
    server = make_server(processes=2, GRANIAN_RESPAWN_FAILED_WORKERS="true").start()
    before = web_processes(server)
    killed = max(before)
    os.kill(killed, signal.SIGKILL)
    time.sleep(0.3)  # connections that it has accepted are lost
    deadline, statuses = time.monotonic() + 2, set()
    while time.monotonic() < deadline:
        statuses.add(requests.get(f"{server.url}/health/live", timeout=5).status_code)
        time.sleep(0.05)
    assert statuses == {200}
    assert until(lambda: len(web_processes(server) - before) == 1, 10)
    assert killed not in web_processes(server)


@pytest.mark.parametrize("path", ["bin/run", "Dockerfile", "docs/how-to/deployment.md"])
def test_all_commands_that_start_the_server_replace_web_processes(path):
    commands = re.findall(r"granian --interface .*?rokka\.wsgi:application", (ROOT / path).read_text(), re.DOTALL)
    assert commands
    assert all("--respawn-failed-workers" in command for command in commands)
