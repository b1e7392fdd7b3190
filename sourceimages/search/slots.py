"""Limits on expensive searches at once, so that those of one key leave threads and the database to others.

The database works for one of them per key; the others of the key wait for that. In each process, expensive searches of
all keys together have at most a quarter of the threads.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from rokka.core.connections import release_connection
from rokka.core.slots import NoSlot, Share, Slot
from sourceimages.errors import TooManySearches

WAIT_SECONDS = 0.05  # between two attempts


@contextmanager
def slot(key: str) -> Iterator[None]:
    """Context that reserves a slot of a key for an expensive search, and begins when no other one of the key runs.

    Raises TooManySearches: at once if no slot is free, or after SEARCH_TIMEOUT_SECONDS of waiting.
    """
    with reserved(key):
        turn = Slot([Share("a key", f"search:{key}", 1)])
        deadline = time.monotonic() + settings.SEARCH_TIMEOUT_SECONDS
        while not _acquired(turn):
            release_connection()
            if time.monotonic() > deadline:
                raise _refusal(turn.shares[0])
            time.sleep(WAIT_SECONDS)
        try:
            yield
        finally:
            turn.release()


@contextmanager
def reserved(key: str) -> Iterator[None]:
    """Context that reserves a slot of a key. Raises TooManySearches if none is free."""
    per_key = settings.HEAVY_SEARCHES_PER_KEY
    of_all = max(per_key, settings.WEB_THREADS // 4)
    taken = Slot(
        [
            Share("a key", f"searches:{key}", per_key),
            Share("all keys on this server", "searches", of_all, across_processes=False),
        ]
    )
    try:
        taken.acquire()
    except NoSlot as error:
        raise _refusal(error.share) from None
    try:
        yield
    finally:
        taken.release()


def _acquired(turn: Slot) -> bool:
    try:
        turn.acquire()
    except NoSlot:
        return False
    return True


def _refusal(share: Share) -> TooManySearches:
    return TooManySearches(
        f"{share.limit} expensive searches are in progress, the limit for {share.owner} (HEAVY_SEARCHES_PER_KEY, "
        f"WEB_THREADS). Wait for their responses, or try again in {settings.SEARCH_TIMEOUT_SECONDS} seconds. "
        "Requests for single images and cheap searches are not limited.",
        seconds=settings.SEARCH_TIMEOUT_SECONDS,
        limit=share.limit,
    )
