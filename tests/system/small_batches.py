"""rokka's Celery app for tests of crashes: `celery -A tests.system.small_batches worker`.

Batches are small and each takes a moment, so that few pictures have many places to be killed at; and beat looks every
second for what is to be taken up again.
"""

import os
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rokka.settings")
django.setup()

from rokka.celery import app  # noqa: E402
from rokka.core import failpoints  # noqa: E402 (these need the settings)
from sourceimages import queue  # noqa: E402
from sourceimages.jobs import (  # noqa: E402
    batches,
    restore_deletion,
    undo,
)
from sourceimages.jobs.bulk_actions import base  # noqa: E402
from sourceimages.maintenance import purge  # noqa: E402

__all__ = ["app"]

MOMENT = 0.1  # seconds

batches.COPY_BATCH = restore_deletion.BATCH = purge.BATCH = 10
base.TRANSACTION_BATCH = undo.BATCH = 2  # so that killed workers leave something to do
queue.STALE_SECONDS = 1
app.conf.beat_schedule = {
    name: {"task": f"sourceimages.tasks.{name}", "schedule": 1} for name in ("resume_jobs", "purge")
}
point = failpoints.failpoint


def slow_point(name: str) -> None:
    time.sleep(MOMENT)
    point(name)


failpoints.failpoint = slow_point
