"""How many requests may wait for other servers at once.

Whoever may upload decides how slowly those servers answer. Each request that waits for one holds a thread, so that
without a bound a single key could take all of them from everybody else. Beyond it nobody waits: the answer is 429.
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
    """In one process, a quarter of whose threads may wait: of all, of an organization, and of a key."""
    of_all = max(1, settings.WEB_THREADS // 4)
    return of_all, max(1, of_all * 3 // 4), max(1, of_all // 2)


@contextmanager
def slot(organization: Organization, actor: Actor) -> Iterator[None]:
    """Wait for other servers within. Raises TooManyFetches."""
    key = actor.api_key_id or (actor.user and actor.user.pk)
    shares = [("this server", ""), ("an organization", organization.pk.hex), ("a key", str(key))]
    with _lock:
        for share, limit in zip(shares, limits(), strict=True):
            if _in_use[share] >= limit:
                raise TooManyFetches(
                    f"{limit} uploads by URL are under way, the limit for {share[0]} at once. "
                    f"Try again in {RETRY_SECONDS} seconds, or send the files.",
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
