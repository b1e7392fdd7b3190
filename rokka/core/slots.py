"""Slots for long work: how many pieces may be in progress at a time for each of several owners.

Slots are counted in this process, and those of owners that all processes share also in Redis, if REDIS_URL is set. A
slot in Redis expires unless it is renewed, so the slots of a killed process become free. While Redis is unavailable,
each process counts by itself.
"""

import secrets
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import structlog
from django.conf import settings

from rokka.core.ratelimits import REDIS_BACKOFF_SECONDS, shared_redis

EXPIRY_SECONDS = 120  # of a slot in Redis that is not renewed
RENEWAL_SECONDS = 20  # between two renewals

# KEYS: sets of slots. ARGV: expiry in seconds, the new slot, the limit of each set. Returns 0, or which set is full.
ACQUIRE = """
local now = tonumber(redis.call('TIME')[1])
for i, key in ipairs(KEYS) do
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    if redis.call('ZCARD', key) >= tonumber(ARGV[2 + i]) then return i end
end
for _, key in ipairs(KEYS) do
    redis.call('ZADD', key, now + ARGV[1], ARGV[2])
    redis.call('EXPIRE', key, ARGV[1] * 2)
end
return 0
"""
RENEW = """
local now = tonumber(redis.call('TIME')[1])
for _, key in ipairs(KEYS) do
    redis.call('ZADD', key, now + ARGV[1], ARGV[2])
    redis.call('EXPIRE', key, ARGV[1] * 2)
end
"""

log = structlog.get_logger()

_in_use: Counter[str] = Counter()
_lock = Lock()


@dataclass(frozen=True, slots=True)
class Share:
    """What one owner may use. `name` identifies the owner and the kind of work."""

    owner: str  # for messages: "a key"
    name: str
    limit: int
    across_processes: bool = True


class NoSlot(Exception):
    """All slots of this share are in use."""

    def __init__(self, share: Share) -> None:
        super().__init__(share.owner)
        self.share = share


class Slot:
    """One slot of each share, from `acquire` to `release`."""

    def __init__(self, shares: Sequence[Share]) -> None:
        self.shares = shares
        self.token = secrets.token_hex(16)
        self.keys = [f"{settings.REDIS_PREFIX}:slots:{share.name}" for share in shares if share.across_processes]
        self.renewed_at = 0.0

    def acquire(self) -> None:
        """Raises NoSlot if all slots of one of the shares are in use; then none is taken."""
        with _lock:
            for share in self.shares:
                if _in_use[share.name] >= share.limit:
                    raise NoSlot(share)
            _in_use.update(share.name for share in self.shares)
        limits = [share.limit for share in self.shares if share.across_processes]
        full = self._run(ACQUIRE, *limits)
        self.renewed_at = time.monotonic()
        if full:
            self._release_here()
            raise NoSlot([share for share in self.shares if share.across_processes][full - 1])

    def renew(self) -> None:
        """Keep the slot. Call it at least every EXPIRY_SECONDS; it is cheap unless RENEWAL_SECONDS have passed."""
        if time.monotonic() - self.renewed_at > RENEWAL_SECONDS:
            self.renewed_at = time.monotonic()
            self._run(RENEW)

    def release(self) -> None:
        self._release_here()
        if not settings.REDIS_URL or not self.keys:
            return
        import redis

        connection = shared_redis()
        if time.monotonic() >= connection.pause_until:
            try:
                with connection.client.pipeline(transaction=False) as pipeline:
                    for key in self.keys:
                        pipeline.zrem(key, self.token)
                    pipeline.execute()
            except redis.RedisError:
                log.warning("slots.release_failed", exc_info=True)  # it expires

    def _release_here(self) -> None:
        with _lock:
            for share in self.shares:
                _in_use[share.name] -= 1
                if not _in_use[share.name]:
                    del _in_use[share.name]

    def _run(self, script: str, *arguments: int) -> int:
        """Run the script for the shares across processes; 0 without Redis."""
        if not settings.REDIS_URL or not self.keys:
            return 0
        import redis

        connection = shared_redis()
        if time.monotonic() < connection.pause_until:
            return 0
        try:
            values = [EXPIRY_SECONDS, self.token, *arguments]
            return int(connection.client.eval(script, len(self.keys), *self.keys, *values) or 0)  # type: ignore[arg-type]
        except redis.RedisError:
            connection.pause_until = time.monotonic() + REDIS_BACKOFF_SECONDS
            log.warning("slots.backend_failed", exc_info=True)
            return 0
