"""Limits of concurrent requests that wait for other servers.

Users with upload permission choose those servers, which can be slow. Each waiting request occupies a thread, so without
a limit a single key could block all threads. Requests beyond the limit get 429 immediately.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from django.conf import settings

from organizations.audit import Actor
from organizations.models import Organization
from sourceimages.errors import TooManyFetches

RETRY_SECONDS = 10

_in_use: Counter[tuple[str, str]] = Counter()
_lock = Lock()


def limits() -> tuple[int, int, int]:
    """Limits per process, per organization and per key. At most a quarter of the threads can wait."""
    of_all = max(1, settings.WEB_THREADS // 4)
    return of_all, max(1, of_all * 3 // 4), max(1, of_all // 2)


@contextmanager
def slot(organization: Organization, actor: Actor) -> Iterator[None]:
    """Context that reserves a slot to wait for other servers. Raises TooManyFetches."""
    key = actor.api_key_id or (actor.user and actor.user.pk)
    shares = [("this server", ""), ("an organization", organization.pk.hex), ("a key", str(key))]
    with _lock:
        for share, limit in zip(shares, limits(), strict=True):
            if _in_use[share] >= limit:
                raise TooManyFetches(
                    f"{limit} uploads by URL are in progress, the limit for {share[0]}. "
                    f"Try again in {RETRY_SECONDS} seconds, or upload the files directly.",
                    seconds=RETRY_SECONDS,
                    limit=limit,
                )
        _in_use.update(shares)
    try:
        yield
    finally:
        with _lock:
            _in_use.subtract(shares)
            for share in shares:
                if not _in_use[share]:
                    del _in_use[share]
