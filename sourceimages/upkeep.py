"""What time brings. Nothing here is asked for by anybody; it may run twice, at once, or be killed."""

import time

import structlog
from django.conf import settings

from sourceimages import storage
from sourceimages.models import StoredFile

BATCH = 500

log = structlog.get_logger()


def sweep() -> int:
    """Remove bytes that no row refers to and that no upload can be about to refer to; answer how many keys."""
    return sweep_spool() + sweep_strays()


def sweep_strays() -> int:
    originals = storage.originals()
    removed, old = 0, []
    for held in originals.keys():
        if held.age > settings.GRACE_SECONDS:
            old.append(held.key)
        if len(old) == BATCH:
            removed, old = removed + _remove_strays(originals, old), []
    return removed + _remove_strays(originals, old)


def _remove_strays(originals: storage.Storage, keys: list[str]) -> int:
    # A key is written before its row and is never reused: old and without a row, it will never have one.
    known = set(StoredFile.objects.filter(key__in=keys).values_list("key", flat=True))
    strays = [key for key in keys if key not in known]
    if strays:
        originals.remove(strays)
        log.info("sweep.removed", keys=strays)
    return len(strays)


def sweep_spool() -> int:
    """Remove files of uploads that were never finished, because their process was killed."""
    folder = storage.originals().spool
    removed = 0
    for path in folder.glob("*.part"):
        try:
            if time.time() - path.stat().st_mtime > settings.GRACE_SECONDS:
                path.unlink()
                removed += 1
        except FileNotFoundError:
            continue  # finished, or swept by another
    return removed
