"""Safety checks before files or images are removed: clocks must agree, and large removals wait for a day."""

import socket
import time
from datetime import datetime, timedelta

from django.db import transaction

from rokka.core.clock import database_now
from sourceimages import storage, task_state

CLOCK = "clock"  # name of the hold while clocks differ
TOLERANCE = timedelta(minutes=5)  # between clocks
MAX_RUN_GAP = timedelta(days=2)  # between two runs
HOLD_TIME = timedelta(days=1)


def clocks_agree() -> bool:
    """Whether the clocks of this machine, the storage and the database agree; if not, operators see a hold."""
    now = database_now().timestamp()
    # Compare this machine first: a storage rejects requests that are signed with a wrong time.
    difference = _clock_difference("this machine", time.time() - now) or _clock_difference(
        "the storage", storage.originals().now() - now
    )
    if difference:
        task_state.hold(
            CLOCK,
            f"{difference} {socket.gethostname()} moves and removes no files until the clocks agree.",
        )
    else:
        task_state.release(CLOCK)
    return not difference


def _clock_difference(machine: str, seconds: float) -> str:
    if abs(seconds) <= TOLERANCE.total_seconds():
        return ""
    return f"Clocks differ: the clocks of {machine} and the database are {round(seconds)} seconds apart."


@transaction.atomic
def must_wait(name: str, *, count: int, limit: int, size: int = 0, command: str) -> bool:
    """Whether the task has to wait before it removes `count` items of `size` bytes. Call it once per run.

    A task is held for a day if the last run was more than two days ago, or if it would remove more than `limit` items.
    Another gap, or `limit` more items, restart the day; an operator can end it with the `command`.
    """
    task = task_state.get_for_update(name)
    now = database_now()
    elapsed = now - (task.last_run or now)
    task.last_run = now
    task.save(update_fields=["last_run"])
    held_count = task.held_details.get("count", 0) if task.held_since else 0
    reason = _reason_to_hold(elapsed, count, held_count + limit)
    waited = task.held_since is not None and not reason
    if not count or (waited and _hold_expired(task.held_since, now, elapsed)) or (not task.held_since and not reason):
        task_state.release(name)
        return False
    if reason:
        task_state.release(name)  # the day starts again
    task_state.hold(
        name, reason or task.held_reason, count=count if reason else held_count, bytes=size, command=command
    )
    return True


def _reason_to_hold(elapsed: timedelta, count: int, limit: int) -> str:
    """Why the run has to wait; empty if it doesn't."""
    if elapsed > MAX_RUN_GAP:
        return f"The last run was {elapsed.days} days ago: no task ran since then, or a clock jumped."
    if count > limit:
        return f"{count} items would be removed at once; the limit without confirmation is {limit}."
    return ""


def _hold_expired(since: datetime | None, now: datetime, elapsed: timedelta) -> bool:
    """Whether the day is over, or a clock that had jumped was set back."""
    return since is None or now - since >= HOLD_TIME or elapsed < -TOLERANCE
