"""The grace period: how long a file without a row may be an upload or a copy in progress.

The value is stored in the database, so that web processes, workers and commands share it: none of them can shorten it
by its own environment. ORPHAN_GRACE_SECONDS extends it for all of them.
"""

import time

from django.conf import settings

from rokka.core.errors import InvalidInput
from sourceimages import task_state

MIN_SECONDS = 3600
TASK = "grace_time"


def seconds() -> int:
    """The current grace period in seconds."""
    stored = int(task_state.progress_of(TASK).get("seconds", MIN_SECONDS))
    if max(stored, MIN_SECONDS) < settings.ORPHAN_GRACE_SECONDS:
        return set_seconds(settings.ORPHAN_GRACE_SECONDS)
    return stored


def set_seconds(value: int) -> int:
    """Change it for all processes. Raises InvalidInput below MIN_SECONDS or this process's ORPHAN_GRACE_SECONDS."""
    minimum = max(MIN_SECONDS, settings.ORPHAN_GRACE_SECONDS)
    if value < minimum:
        raise InvalidInput(f"The grace period must be at least {minimum} seconds.")
    task_state.set_progress(TASK, seconds=value)
    return value


def is_half_over(since: float) -> bool:
    """Whether half of the grace period has passed since this `time.monotonic()`.

    A file that was stored then must not get a row any more, as garbage collection could move it first. The database is
    queried only after half of MIN_SECONDS.
    """
    elapsed = time.monotonic() - since
    return elapsed > MIN_SECONDS / 2 and elapsed > seconds() / 2
