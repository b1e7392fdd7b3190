"""Run management commands and other code in new processes.

The processes are forked from one that has imported the libraries but nothing of rokka: imports would take half of the
time of a command.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LIBRARIES = [
    "boto3.s3.transfer",
    "celery.app.defaults",
    "corsheaders",
    "django.contrib.postgres.fields",
    "django.core.management",
    "django.db.backends.postgresql.base",
    "django.db.backends.sqlite3.base",
    "django.forms",
    "drf_spectacular",
    "email.mime.text",
    "granian.cli",
    "granian.server",
    "rich.console",
    "celery.bin.celery",
    "celery.worker",
    "celery.concurrency.prefork",
    "kombu.transport.redis",
    "PIL.Image",
    "environ",
    "jwt",
    "kombu",
    "lark",
    "prometheus_client",
    "redis",
    "requests",
    "rest_framework",
    "rich.progress",
    "snowballstemmer",
    "storages",
    "structlog.dev",
    "whitenoise",
    "yaml",
    "zipstream",
]
TIMEOUT_SECONDS = 120

forking = multiprocessing.get_context("forkserver")
forking.set_forkserver_preload(LIBRARIES)


def manage(
    arguments: Sequence[str], environment: Mapping[str, str], typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run manage.py with these arguments, only this environment, and what is typed at it."""
    return _forked(_manage, ["manage.py", *arguments], environment, typed)


def python(code: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run code in the project's root directory, with only this environment."""
    return _forked(_exec, ["-c", code], environment)


def start(
    program: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    *,
    prepare: Callable[[], None] | None = None,
) -> Started:
    """Start `granian` or `celery` in a session of its own, with its output appended to the log.

    `prepare` is called in the new process.
    """
    run = {"granian": _granian, "celery": _celery}[program]
    process = forking.Process(
        target=_run_session, args=(run, [program, *arguments], dict(environment), str(log), prepare), daemon=False
    )
    process.start()
    return Started(process)


class Started:
    """A process that leads its own session, with the interface of subprocess.Popen as far as tests use it."""

    def __init__(self, process: multiprocessing.process.BaseProcess) -> None:
        assert process.pid is not None
        self.process, self.pid = process, process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self.process.join(timeout)
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()


def _run_session(
    run: Callable[[Sequence[str]], None],
    command: Sequence[str],
    environment: Mapping[str, str],
    log: str,
    prepare: Callable[[], None] | None,
) -> None:
    os.setsid()
    if prepare is not None:
        prepare()
    multiprocessing.set_start_method("fork", force=True)  # for the processes that granian starts
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 2)
    _run(run, command, environment, os.devnull, log)


def _granian(command: Sequence[str]) -> None:
    from granian.cli import entrypoint

    sys.argv = list(command)
    entrypoint()


def _celery(command: Sequence[str]) -> None:
    from celery.bin.celery import main

    sys.argv = list(command)
    main()


def _forked(
    run: Callable[[Sequence[str]], None], command: Sequence[str], environment: Mapping[str, str], typed: str = ""
) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, name) for name in ("stdout", "stderr")]
        for output in outputs:
            output.touch()
        stdin = Path(folder, "stdin")
        stdin.write_text(typed)
        files = [str(path) for path in (stdin, *outputs)]
        process = forking.Process(target=_run, args=(run, list(command), dict(environment), *files))
        process.start()
        process.join(TIMEOUT_SECONDS)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, TIMEOUT_SECONDS)
        stdout, stderr = (output.read_text() for output in outputs)
    return subprocess.CompletedProcess(command, process.exitcode, stdout, stderr)


def _run(
    run: Callable[[Sequence[str]], None], command: Sequence[str], environment: Mapping[str, str], *files: str
) -> None:
    for descriptor, file in enumerate(files):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND if descriptor else os.O_RDONLY), descriptor)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (multiprocessing has replaced it)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the fork server ignores SIGINT
    sys.path.insert(0, str(ROOT))
    run(command)


def _manage(command: Sequence[str]) -> None:
    sys.argv = list(command)
    runpy.run_path(command[0], run_name="__main__")


def _exec(command: Sequence[str]) -> None:
    exec(command[1], {"__name__": "__main__"})
