"""How many requests a caller may make in a minute: counted in Redis, without it in the memory of each process.

Each count is one INCR, so that none is lost between two requests; all counts of a request travel together. If Redis
does not answer, nobody is refused for it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import redis
import structlog
from django.conf import settings
from django.core.cache import cache as memory

from rokka.core.errors import TooManyRequests

WINDOW = 60  # seconds
HOUR = 3600
REDIS_BACKOFF_SECONDS = 5  # seconds without counting after Redis failed

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limit:
    """So many requests of one kind in each window as the setting of this name says."""

    name: str
    window: int = WINDOW

    @property
    def limit(self) -> int:
        return int(getattr(settings, self.name))


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """What is left of the limit that is nearest."""

    limit: int
    remaining: int


def hit(*hits: tuple[Limit, str]) -> RateLimitState | None:
    """Count one request against each limit and for whom it counts. Raises TooManyRequests.

    None where there are no limits, or nothing can be counted.
    """
    counts = _counts(hits, 1)
    if not counts:
        return None
    (limit, _), used = min(zip(hits, counts, strict=True), key=lambda one: one[0][0].limit - one[1])
    if used > limit.limit:
        raise _exceeded(limit)
    return RateLimitState(limit.limit, limit.limit - used)


def peek(limit: Limit, who: str) -> None:
    """Raise TooManyRequests if the limit is reached, without counting."""
    if any(used >= limit.limit for used in _counts([(limit, who)], 0)):
        raise _exceeded(limit)


def _exceeded(limit: Limit) -> TooManyRequests:
    seconds = int(limit.window - time.time() % limit.window) + 1
    return TooManyRequests(
        f"The limit of {limit.limit} in {limit.window} seconds is reached ({limit.name}). Wait {seconds} seconds.",
        seconds=seconds,
        limit=limit.limit,
    )


def _counts(hits: Sequence[tuple[Limit, str]], step: int) -> list[int]:
    """How far each count is after the step; nothing if there is no counting."""
    if not settings.RATE_LIMIT_ENABLED:
        return []
    now = time.time()
    keys = [(f"limit:{limit.name}:{who}:{int(now // limit.window)}", limit.window) for limit, who in hits]
    return _in_redis(keys, step) if settings.REDIS_URL else _in_memory(keys, step)


def _in_memory(keys: Sequence[tuple[str, int]], step: int) -> list[int]:
    counts = []
    for key, window in keys:
        memory.add(key, 0, timeout=window)
        try:
            counts.append(memory.incr(key, step))
        except ValueError:  # its time was over just now
            counts.append(step)
    return counts


def _in_redis(keys: Sequence[tuple[str, int]], step: int) -> list[int]:
    connection = _redis()
    if time.monotonic() < connection.pause_until:
        return []
    try:
        with connection.client.pipeline(transaction=False) as pipeline:
            for key, window in keys:
                pipeline.incrby(key, step)
                pipeline.expire(key, window)
            return [int(answer) for answer in pipeline.execute()[::2]]
    except redis.RedisError:
        connection.pause_until = time.monotonic() + REDIS_BACKOFF_SECONDS
        log.warning("ratelimit.backend_failed", exc_info=True)
        return []


@dataclass(slots=True)
class Connection:
    client: redis.Redis
    pause_until: float = 0


@cache
def _redis() -> Connection:
    return Connection(redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1))
