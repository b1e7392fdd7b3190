"""How long a file without a row may be an upload or a copy under way.

The value lives in the database, so that it is the same for web processes, workers and whoever types a command: none of
them can make it shorter by an environment variable of its own. GRACE_SECONDS makes it longer, wherever it is set.
"""

import time

from django.conf import settings

from rokka.core.errors import Invalid
from sourceimages import task_state

FLOOR = 3600  # seconds, below which no process and no command brings it
TASK = "grace_time"


def seconds() -> int:
    """The grace time that holds now."""
    stored = int(task_state.progress_of(TASK).get("seconds", FLOOR))
    if max(stored, FLOOR) < settings.GRACE_SECONDS:
        return set_seconds(settings.GRACE_SECONDS)
    return stored


def set_seconds(value: int) -> int:
    """Change it for all processes. Raises Invalid below the floor, or below this process's own GRACE_SECONDS."""
    least = max(FLOOR, settings.GRACE_SECONDS)
    if value < least:
        raise Invalid(f"The grace time can't be less than {least} seconds.")
    task_state.set_progress(TASK, seconds=value)
    return value


def half_over(since: float) -> bool:
    """Whether so much has passed since this `time.monotonic()` that what was stored then must not get a row any more.

    Garbage collection could take it for left behind before the row is there. The database is asked only by those who
    take longer than anybody should.
    """
    passed = time.monotonic() - since
    return passed > FLOOR / 2 and passed > seconds() / 2
