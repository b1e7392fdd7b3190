"""Run management commands and other code in new processes.

The processes are forked from one that has imported the libraries but nothing of rokka: imports would take half of the
time of a command.
"""

import multiprocessing
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


def manage(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run manage.py with these arguments and only this environment."""
    return _forked(_manage, ["manage.py", *arguments], environment)


def python(code: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run code in the project's root directory, with only this environment."""
    return _forked(_exec, ["-c", code], environment)


def _forked(
    run: Callable[[Sequence[str]], None], command: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, name) for name in ("stdout", "stderr")]
        for output in outputs:
            output.touch()
        process = forking.Process(target=_run, args=(run, list(command), dict(environment), *map(str, outputs)))
        process.start()
        process.join(TIMEOUT_SECONDS)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, TIMEOUT_SECONDS)
        stdout, stderr = (output.read_text() for output in outputs)
    return subprocess.CompletedProcess(command, process.exitcode, stdout, stderr)


def _run(
    run: Callable[[Sequence[str]], None], command: Sequence[str], environment: Mapping[str, str], *outputs: str
) -> None:
    for descriptor, output in enumerate(outputs, start=1):
        os.dup2(os.open(output, os.O_WRONLY), descriptor)
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
