"""What the documented commands of production print: every line is a JSON object, and none is a warning."""

import contextlib
import json
import re
import shlex

import pytest
import requests
import yaml

from tests.conftest import ROOT
from tests.support import commands
from tests.support.services import Redis
from tests.system.conftest import free_port, until

SECRETS = {"SECRET_KEY": "s" * 40, "TOKEN_SECRETS": "t" * 40}
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EXPECTED = {"web": "", "worker": " ready.", "beat": "beat: Starting..."}  # in the line that shows that it has started


def command_of(process, port, folder):
    """The words of the command of docker-compose.yml or the Dockerfile, with a port and a folder of the test."""
    if process == "web":
        line = re.search(r"exec (granian .*)\"\]$", DOCKERFILE, re.MULTILINE)[1].replace("\\", "")
    else:
        line = COMPOSE[process]["command"]
    line = re.sub(r'"?\$\{\w+:-(\w+)\}"?', r"\1", line)
    line = line.replace("--workers 2", "--workers 1")  # a second one could still be starting when the server is stopped
    line = line.replace("--port 8000", f"--port {port}").replace("0.0.0.0", "127.0.0.1").replace("/tmp/", f"{folder}/")
    return shlex.split(line)


def is_live(server):
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(f"{server.url}/health/live", timeout=10).status_code == 200


def of_tests(event):
    """Whether a warning is about what differs from the image: tests can run as root, and without collectstatic."""
    return "superuser privileges" in event or "No directory at" in event


@pytest.fixture
def production(make_server, tmp_path):
    own = Redis(tmp_path, free_port())
    own.start()
    yield make_server(
        ROKKA_MODE="production",
        ALLOWED_HOSTS="127.0.0.1",
        REDIS_URL=own.url,
        SANDBOX="required",
        **SECRETS,
        STORAGE_URL=f"file://{tmp_path}/files",
    )
    own.stop()


@pytest.mark.parametrize("process", EXPECTED)
def test_every_line_at_the_start_and_end_of_a_process_is_json(production, process, tmp_path):
    program, *arguments = command_of(process, production.port, tmp_path)
    log = tmp_path / "output"
    log.touch()
    started = commands.start(program, arguments, production.environment | {"LOG_LEVEL": "INFO"}, log)
    try:
        assert until(lambda: EXPECTED[process] in log.read_text(), 60), log.read_text()
        if process == "web":
            assert until(lambda: is_live(production), 60), log.read_text()
    finally:
        started.terminate()
        started.wait(30)
        started.kill()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line for line in lines if line["level"] != "info" and not of_tests(line["event"])] == []


BREAK_SANDBOX = """
import sys, rokka
from sourceimages.probing import pool
code = "import sys; print('{\\"sandboxed\\": false}', flush=True); sys.stdin.read()"
pool.Worker.__init__.__defaults__ = ((sys.executable, "-c", code),)  # reports what it does without libseccomp.so.2
"""
STARTS = {
    "web": "import rokka.wsgi",
    "worker": "from rokka.celery import app; app.worker_main(['--quiet', 'worker'])",
}


@pytest.mark.parametrize("process", STARTS)
def test_a_missing_sandbox_is_one_sentence(production, process):
    done = commands.python(f"{BREAK_SANDBOX}\n{STARTS[process]}", production.environment)
    assert (done.returncode, done.stdout) == (78, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("SANDBOX=required, but a worker process can open sockets.")
