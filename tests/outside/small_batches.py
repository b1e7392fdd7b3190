"""rokka's Celery app for tests of crashes: `celery -A tests.outside.small_batches worker`.

Batches are small and each takes a moment, so that few pictures have many places to be killed at; and beat looks every
second for what is to be taken up again.
"""

import os
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rokka.settings")
django.setup()

from rokka import faults  # noqa: E402 (these need the settings)
from rokka.celery import app  # noqa: E402
from sourceimages import acts, restoring, tasks, undo  # noqa: E402
from sourceimages.jobs import batches  # noqa: E402
from sourceimages.maintenance import purge  # noqa: E402

__all__ = ["app"]

MOMENT = 0.1  # seconds

batches.BATCH = restoring.BATCH = purge.BATCH = 10
acts.TOGETHER = undo.BATCH = 2  # so that killed workers leave something to do
tasks.MISSED = 1
app.conf.beat_schedule = {
    name: {"task": f"sourceimages.tasks.{name}", "schedule": 1} for name in ("resume_jobs", "purge")
}
point = faults.point


def slow_point(name: str) -> None:
    time.sleep(MOMENT)
    point(name)


faults.point = slow_point
