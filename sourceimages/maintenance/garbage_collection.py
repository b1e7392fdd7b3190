"""Removing files without a row, and rows of files without an image."""

import time
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from sourceimages import storage
from sourceimages.maintenance.purge import BATCH, held_files, remove_unreferenced
from sourceimages.models import StoredFile

log = structlog.get_logger()


def collect_garbage() -> int:
    """Remove bytes that no row refers to and that no upload can be about to refer to; answer how many keys."""
    sweep_files()
    return sweep_spool() + sweep_strays()


def sweep_files() -> int:
    """Remove files that no picture shows any more, because the one that did was overwritten; answer how many."""
    long_ago = timezone.now() - timedelta(seconds=settings.GRACE_SECONDS)
    unneeded = StoredFile.objects.filter(images=None, created__lt=long_ago).select_related("organization")
    removed = 0
    for file in unneeded.order_by("id").iterator():
        try:
            with transaction.atomic():
                keys = remove_unreferenced(file.organization, held_files({file.pk}))
        except IntegrityError:
            continue  # it has come to be needed
        storage.originals().remove(keys)
        removed += len(keys)
    return removed


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
