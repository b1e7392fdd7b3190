"""Slots for long work: counted in this process, and in Redis for all processes."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rokka.core import ratelimits, slots
from rokka.core.slots import NoSlot, Share, Slot

SERVER = Share("this server", "test", 3, across_processes=False)


def shares(key: str = "one") -> list[Share]:
    return [SERVER, Share("a key", f"test:{key}", 2)]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert not slots._in_use


def acquired(*keys: str) -> list[Slot]:
    taken = [Slot(shares(key)) for key in keys]
    for slot in taken:
        slot.acquire()
    return taken


def test_slots_are_limited_per_owner():
    taken = acquired("one", "one", "other")
    with pytest.raises(NoSlot, match="this server"):
        Slot(shares("third")).acquire()
    taken.pop().release()
    with pytest.raises(NoSlot, match="a key"):
        Slot(shares()).acquire()
    taken.pop().release()
    taken += acquired("one")
    for slot in taken:
        slot.release()


def test_no_more_than_the_limit_are_taken_at_once():
    def take(_: int) -> Slot | None:
        try:
            return acquired("one")[0]
        except NoSlot:
            return None

    with ThreadPoolExecutor(8) as pool:
        taken = [slot for slot in pool.map(take, range(40)) if slot]
    assert len(taken) == 2
    for slot in taken:
        slot.release()


@pytest.fixture
def other_process(settings):
    """Slots that a process has acquired which was then killed."""
    if not settings.REDIS_URL:
        pytest.skip("REDIS_URL is not set: slots of several processes were left out")

    def acquire(*keys: str) -> None:
        for slot in acquired(*keys):
            slot._release_here()

    return acquire


def test_processes_share_slots(other_process):
    other_process("one", "one")
    with pytest.raises(NoSlot, match="a key"):
        Slot(shares()).acquire()
    acquired("other")[0].release()


def test_the_slots_of_a_killed_process_become_free(other_process, monkeypatch):
    monkeypatch.setattr(slots, "EXPIRY_SECONDS", 2)
    monkeypatch.setattr(slots, "RENEWAL_SECONDS", 0)
    kept = acquired("one")[0]
    other_process("one")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        kept.renew()
        try:
            again = acquired("one")[0]
            break
        except NoSlot:
            time.sleep(0.2)
    with pytest.raises(NoSlot, match="a key"):
        Slot(shares()).acquire()  # what is renewed is kept
    kept.release()
    again.release()


def test_each_process_counts_by_itself_without_redis(settings, monkeypatch):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    ratelimits.shared_redis.cache_clear()
    try:
        taken = acquired("one", "one")
        with pytest.raises(NoSlot, match="a key"):
            Slot(shares()).acquire()
        for slot in taken:
            slot.release()
    finally:
        ratelimits.shared_redis.cache_clear()
