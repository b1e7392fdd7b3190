"""The cache of production."""

import secrets
import time
from typing import Any

import redis
import structlog
from django.core.cache.backends.redis import RedisCache

BACKOFF_SECONDS = 5  # without requests to Redis after it has failed

log = structlog.get_logger()


class FailSafeRedisCache(RedisCache):
    """Redis, which may be unavailable: then nothing is found and nothing is kept."""

    pause_until = 0.0  # by the monotonic clock

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        return self._call(super().get, key, default, version, otherwise=default)

    def set(self, *args: Any, **options: Any) -> None:
        self._call(super().set, *args, **options, otherwise=None)

    def add(self, *args: Any, **options: Any) -> bool:
        return bool(self._call(super().add, *args, **options, otherwise=False))

    def delete(self, *args: Any, **options: Any) -> bool:
        return bool(self._call(super().delete, *args, **options, otherwise=False))

    def check(self) -> None:
        """Raise RedisError unless Redis can be written to."""
        super().set("health", secrets.token_hex(4), timeout=10)

    def _call(self, method: Any, *args: Any, otherwise: Any, **options: Any) -> Any:
        if time.monotonic() < FailSafeRedisCache.pause_until:
            return otherwise
        try:
            return method(*args, **options)
        except redis.RedisError:
            FailSafeRedisCache.pause_until = time.monotonic() + BACKOFF_SECONDS
            log.warning("cache.failed", exc_info=True)
            return otherwise
