"""Leaps are doubted before anything is removed: of clocks, and of how much there is to remove."""

import socket
import time
from datetime import datetime, timedelta

from django.db import transaction

from rokka.core.clock import database_now
from sourceimages import storage, task_state

CLOCK = "clock"  # what is held while clocks differ
TOLERANCE = timedelta(minutes=5)  # between clocks
MAX_RUN_GAP = timedelta(days=2)  # since the last run
HOLD_TIME = timedelta(days=1)


def clocks_agree() -> bool:
    """Whether this machine, the storage and the database have the same time. If not, it is shown as held."""
    now = database_now().timestamp()
    # This machine's first: a storage refuses requests that are signed with a wrong time.
    apart = _clock_difference("this machine", time.time() - now) or _clock_difference(
        "the storage", storage.originals().now() - now
    )
    if apart:
        task_state.hold(
            CLOCK,
            f"{apart} No file is moved or removed by {socket.gethostname()} until the clocks agree.",
        )
    else:
        task_state.release(CLOCK)
    return not apart


def _clock_difference(whose: str, seconds: float) -> str:
    if abs(seconds) <= TOLERANCE.total_seconds():
        return ""
    return f"Clocks differ: that of {whose} from the database's by {round(seconds)} seconds."


@transaction.atomic
def must_wait(name: str, *, count: int, limit: int, size: int = 0, command: str) -> bool:
    """Whether the task has to wait before it removes `count` things of `size` bytes; to be asked once in each run.

    It waits for a day after a leap of more than two days since the last run, and with more than `limit` to remove.
    Another leap, or as many again, begin the day anew; an operator who confirms ends it. Shown as held meanwhile.
    """
    task = task_state.get_for_update(name)
    now = database_now()
    passed = now - (task.last_run or now)
    task.last_run = now
    task.save(update_fields=["last_run"])
    before = task.held_details.get("count", 0) if task.held_since else 0
    doubt = _reason_to_hold(passed, count, before + limit)
    waited = task.held_since is not None and not doubt
    if not count or (waited and _hold_expired(task.held_since, now, passed)) or (not task.held_since and not doubt):
        task_state.release(name)
        return False
    if doubt:
        task_state.release(name)  # the day begins anew
    task_state.hold(name, doubt or task.held_reason, count=count if doubt else before, bytes=size, command=command)
    return True


def _reason_to_hold(passed: timedelta, count: int, limit: int) -> str:
    """What makes a run doubtful; empty if nothing does."""
    if passed > MAX_RUN_GAP:
        return f"The last run was {passed.days} days ago: either nothing ran since then, or a clock has leapt."
    if count > limit:
        return f"{count} are to be removed at once, more than the {limit} that are not asked about."
    return ""


def _hold_expired(since: datetime | None, now: datetime, passed: timedelta) -> bool:
    """The day is over, or a clock that had leapt has been set right."""
    return since is None or now - since >= HOLD_TIME or passed < -TOLERANCE
