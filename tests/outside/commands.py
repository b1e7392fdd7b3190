"""Management commands in processes of their own, which begin with the libraries imported.

A process is forked from one that has imported them and nothing of rokka: half of a command's time would be imports.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
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
SECONDS = 120

forking = multiprocessing.get_context("forkserver")
forking.set_forkserver_preload(LIBRARIES)


def manage(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run manage.py with these arguments and exactly this environment."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, name) for name in ("stdout", "stderr")]
        for output in outputs:
            output.touch()
        process = forking.Process(target=_run, args=(list(arguments), dict(environment), *map(str, outputs)))
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(["manage.py", *arguments], SECONDS)
        stdout, stderr = (output.read_text() for output in outputs)
    return subprocess.CompletedProcess(["manage.py", *arguments], process.exitcode, stdout, stderr)


def _run(arguments: Sequence[str], environment: Mapping[str, str], *outputs: str) -> None:
    for descriptor, output in enumerate(outputs, start=1):
        os.dup2(os.open(output, os.O_WRONLY), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which the process that forks ignores
    sys.path.insert(0, str(ROOT))
    sys.argv = ["manage.py", *arguments]
    runpy.run_path("manage.py", run_name="__main__")
