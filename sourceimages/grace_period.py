"""How long a file without a row may be an upload or a copy under way.

The value lives in the database, so that it is the same for web processes, workers and whoever types a command: none of
them can make it shorter by an environment variable of its own. ORPHAN_GRACE_SECONDS makes it longer for all.
"""

import time

from django.conf import settings

from rokka.core.errors import InvalidInput
from sourceimages import task_state

MIN_SECONDS = 3600  # seconds, below which no process and no command brings it
TASK = "grace_time"


def seconds() -> int:
    """The grace time that holds now."""
    stored = int(task_state.progress_of(TASK).get("seconds", MIN_SECONDS))
    if max(stored, MIN_SECONDS) < settings.ORPHAN_GRACE_SECONDS:
        return set_seconds(settings.ORPHAN_GRACE_SECONDS)
    return stored


def set_seconds(value: int) -> int:
    """Change it for all processes. Raises Invalid below the floor, or below this process's own ORPHAN_GRACE_SECONDS."""
    least = max(MIN_SECONDS, settings.ORPHAN_GRACE_SECONDS)
    if value < least:
        raise InvalidInput(f"The grace time can't be less than {least} seconds.")
    task_state.set_progress(TASK, seconds=value)
    return value


def is_half_over(since: float) -> bool:
    """Whether so much has passed since this `time.monotonic()` that what was stored then must not get a row any more.

    Garbage collection could take it for left behind before the row is there. The database is asked only by those who
    take longer than anybody should.
    """
    passed = time.monotonic() - since
    return passed > MIN_SECONDS / 2 and passed > seconds() / 2
