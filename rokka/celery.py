"""The Celery application. Without REDIS_URL, tasks run in the calling process."""

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from celery import Celery, signals

os.environ.setdefault("CELERY_SKIP_CHECKS", "true")  # Django's system checks, which would import all views

app = Celery("rokka")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@signals.setup_logging.connect
def disable_celery_logging(**kwargs: Any) -> None:
    """A receiver of this signal keeps Celery from replacing the logging configuration of the settings."""


@signals.worker_init.connect
def write_signals_as_json(**sent: Any) -> None:
    """Let the worker write that it received a signal as a line like all others. It bypasses logging for that."""
    from celery.apps import worker

    vars(worker)["safe_say"] = _write_line


def _write_line(message: str, file: Any = None) -> None:
    """Called by signal handlers, which can interrupt a write to standard error: so it is bypassed."""
    time = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    line = json.dumps({"event": message.strip(), "level": "info", "timestamp": time, "logger": "celery.apps.worker"})
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())
