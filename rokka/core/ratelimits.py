"""Rate limits in fixed windows, counted in Redis or, without REDIS_URL, in the memory of each process.

Each count is one atomic INCRBY, and the counts of a request are sent in one pipeline. While Redis is unavailable,
requests are not limited.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import structlog
from django.conf import settings
from django.core.cache import cache as memory

from rokka.core.errors import TooManyRequests

if TYPE_CHECKING:
    import redis

WINDOW = 60  # seconds
HOUR = 3600
REDIS_BACKOFF_SECONDS = 5  # without limits after Redis has failed

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit on requests per window (seconds), whose value is the setting of this name."""

    name: str
    window: int = WINDOW

    @property
    def limit(self) -> int:
        return int(getattr(settings, self.name))


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """The limit that is closest to being reached, and the requests that remain."""

    limit: int
    remaining: int


def hit(*hits: tuple[Limit, str]) -> RateLimitState | None:
    """Count a request against each pair of limit and key. Raises TooManyRequests.

    Returns None if rate limits are disabled or Redis is unavailable.
    """
    counts = _counts(hits, 1)
    if not counts:
        return None
    (limit, _), used = min(zip(hits, counts, strict=True), key=lambda one: one[0][0].limit - one[1])
    if used > limit.limit:
        raise _exceeded(limit)
    return RateLimitState(limit.limit, limit.limit - used)


def peek(limit: Limit, key: str) -> None:
    """Raise TooManyRequests if the limit is reached, without counting a request."""
    if any(used >= limit.limit for used in _counts([(limit, key)], 0)):
        raise _exceeded(limit)


def _exceeded(limit: Limit) -> TooManyRequests:
    seconds = int(limit.window - time.time() % limit.window) + 1
    return TooManyRequests(
        f"More than {limit.limit} requests in {limit.window} seconds ({limit.name}). Wait {seconds} seconds.",
        seconds=seconds,
        limit=limit.limit,
    )


def _counts(hits: Sequence[tuple[Limit, str]], step: int) -> list[int]:
    """Add `step` to each count and return the counts; an empty list if nothing is counted."""
    if not settings.RATE_LIMIT_ENABLED:
        return []
    now = time.time()
    keys = [
        (f"{settings.REDIS_PREFIX}:limit:{limit.name}:{key}:{int(now // limit.window)}", limit.window)
        for limit, key in hits
    ]
    return _in_redis(keys, step) if settings.REDIS_URL else _in_memory(keys, step)


def _in_memory(keys: Sequence[tuple[str, int]], step: int) -> list[int]:
    counts = []
    for key, window in keys:
        memory.add(key, 0, timeout=window)
        try:
            counts.append(memory.incr(key, step))
        except ValueError:  # it has expired since add()
            counts.append(step)
    return counts


def _in_redis(keys: Sequence[tuple[str, int]], step: int) -> list[int]:
    import redis

    connection = shared_redis()
    if time.monotonic() < connection.pause_until:
        return []
    try:
        with connection.client.pipeline(transaction=False) as pipeline:
            for key, window in keys:
                pipeline.incrby(key, step)
                pipeline.expire(key, window)
            return [int(count) for count in pipeline.execute()[::2]]
    except redis.RedisError:
        connection.pause_until = time.monotonic() + REDIS_BACKOFF_SECONDS
        log.warning("ratelimit.backend_failed", exc_info=True)
        return []


@dataclass(slots=True)
class Connection:
    client: "redis.Redis"
    pause_until: float = 0


@cache
def shared_redis() -> Connection:
    """The connection for limits of all processes. Requires REDIS_URL."""
    import redis

    return Connection(redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1))
