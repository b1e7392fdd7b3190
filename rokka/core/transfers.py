"""Limits of threads that wait for clients: that receive a request body or send a streamed response.

The server has one thread per request, which waits as long as the client takes. Without a limit, a few slow clients
could occupy all threads; with it, requests without a body and responses that aren't streamed are always answered.
"""

import time
from collections.abc import Sequence
from threading import BoundedSemaphore

from rokka.core.addresses import client_key
from rokka.core.slots import NoSlot, Share, Slot

WAIT_SECONDS = 1.0  # for a slot
PAUSE_SECONDS = 0.02  # between two attempts
FRESH_SECONDS = 0.5  # after which a transfer is a slow one


class Transfer(Slot):
    """A slot that knows since when it is in use."""

    def __init__(self, shares: Sequence[Share], running: set["Transfer"]) -> None:
        super().__init__(shares)
        self.running = running
        self.started = 0.0  # by the monotonic clock

    def acquire(self) -> None:
        super().acquire()
        self.started = time.monotonic()
        self.running.add(self)

    def release(self) -> None:
        self.running.discard(self)
        super().release()


class Transfers:
    """Half of the threads of a process can transfer at the same time, and three quarters of these for one address.

    If all slots are in use, a request waits for WAIT_SECONDS. While most transfers are slow, only a quarter of the
    threads can wait; otherwise all can, because many small uploads at once are over soon.
    """

    def __init__(self, threads: int) -> None:
        self.limit = max(1, threads // 2)
        self.limit_per_address = max(1, self.limit * 3 // 4)
        self.may_wait = BoundedSemaphore(max(1, threads // 4))
        self.running: set[Transfer] = set()

    def acquire(self, address: str) -> Slot:
        """A slot for a client. Raises NoSlot."""
        name = f"transfers:{client_key(address)}"
        slot = Transfer(
            [
                Share("this server", "transfers", self.limit, across_processes=False),
                Share("an address", name, self.limit_per_address, across_processes=False),
            ],
            self.running,
        )
        try:
            slot.acquire()
        except NoSlot:
            limited = self._most_are_slow()
            if limited and not self.may_wait.acquire(blocking=False):
                raise
            try:
                self._wait(slot)
            finally:
                if limited:
                    self.may_wait.release()
        return slot

    def _most_are_slow(self) -> bool:
        started = [transfer.started for transfer in self.running.copy()]
        slow = sum(time.monotonic() - one > FRESH_SECONDS for one in started)
        return slow * 2 > len(started)

    @staticmethod
    def _wait(slot: Slot) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            time.sleep(PAUSE_SECONDS)
            try:
                return slot.acquire()
            except NoSlot:
                if time.monotonic() > deadline:
                    raise
