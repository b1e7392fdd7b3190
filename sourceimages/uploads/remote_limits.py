"""Limits of concurrent requests that wait for other servers.

Users with upload permission choose those servers, which can be slow. Each waiting request occupies a thread, so without
a limit a single key could block all threads. Requests beyond the limit get 429 immediately.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from organizations.audit import Actor
from organizations.models import Organization
from rokka.core.slots import NoSlot, Share, Slot
from sourceimages.errors import TooManyFetches

RETRY_SECONDS = 10


def limits() -> tuple[int, int, int]:
    """Limits per process, per organization and per key. At most a quarter of the threads can wait."""
    of_all = max(1, settings.WEB_THREADS // 4)
    return of_all, max(1, of_all * 3 // 4), max(1, of_all // 2)


@contextmanager
def slot(organization: Organization, actor: Actor) -> Iterator[None]:
    """Context that reserves a slot to wait for other servers. Raises TooManyFetches."""
    key = actor.api_key_id or (actor.user and actor.user.pk)
    owners = {"this server": "", "an organization": organization.pk.hex, "a key": str(key)}
    taken = Slot(
        [
            Share(owner, f"fetches:{owner}:{name}", limit, across_processes=False)
            for (owner, name), limit in zip(owners.items(), limits(), strict=True)
        ]
    )
    try:
        taken.acquire()
    except NoSlot as error:
        share = error.share
        raise TooManyFetches(
            f"{share.limit} uploads by URL are in progress, the limit for {share.owner}. "
            f"Try again in {RETRY_SECONDS} seconds, or upload the files directly.",
            seconds=RETRY_SECONDS,
            limit=share.limit,
        ) from None
    try:
        yield
    finally:
        taken.release()
