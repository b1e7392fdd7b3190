"""Metadata that is read after the upload: dominant colors, and what could not be read at first."""

from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.utils import timezone

from rokka.core.errors import InvalidInput
from sourceimages import probing
from sourceimages.errors import OriginalMissing, ReadingInterrupted
from sourceimages.models import StoredFile
from sourceimages.probing import Probe
from sourceimages.search import indexing
from sourceimages.stored_files import local_file

BATCH = 100  # IDs returned at once
RETRY_SOON = timedelta(minutes=10)  # before the first attempt to read a file again whose probe worker was killed
RETRY_LATER = timedelta(days=1)  # between further attempts

log = structlog.get_logger()


def files_without_colors() -> list[int]:
    """IDs of files whose dominant colors have not been extracted."""
    return list(StoredFile.objects.filter(colors_pending=True).order_by("id").values_list("id", flat=True)[:BATCH])


def extract_colors(file_id: int) -> bool:
    """Extract the dominant colors of the file; False if there is nothing to do. Safe to run twice.

    A missing file gets no colors, so that it doesn't block the files after it. If the probe worker is killed, the file
    is read again after RETRY_LATER.
    """
    file = StoredFile.objects.filter(pk=file_id, colors_pending=True).first()
    if file is None:
        return False
    retry_at = None
    try:
        with local_file(file) as path:
            colors = probing.dominant_colors(path, file.format)
    except OriginalMissing:
        colors = []
    except ReadingInterrupted:
        colors, retry_at = [], timezone.now() + RETRY_LATER
    with transaction.atomic():
        # No row matches if the file was purged or replaced in the meantime; a new file stays pending.
        row = StoredFile.objects.select_for_update().filter(pk=file_id, key=file.key).first()
        if row is not None:
            row.colors_pending, row.read_again_at = False, retry_at or row.read_again_at
            row.static_metadata = row.static_metadata | ({"color": {"dominant": colors}} if colors else {})
            row.save(update_fields=["colors_pending", "read_again_at", "static_metadata"])
    return row is not None


def next_attempt(probe: Probe) -> datetime | None:
    """When to read an uploaded file again; None if the probe is complete."""
    return None if probe.complete else timezone.now() + RETRY_SOON


def to_read_again() -> list[int]:
    """IDs of files whose probe was incomplete and that are due to be read again."""
    due = StoredFile.objects.filter(read_again_at__lte=timezone.now()).order_by("read_again_at", "id")
    return list(due.values_list("id", flat=True)[:BATCH])


def read_again(file_id: int) -> bool:
    """Probe the file again; False if there is nothing to do. If the probe is incomplete, retry after RETRY_LATER."""
    file = StoredFile.objects.filter(pk=file_id, read_again_at__lte=timezone.now()).first()
    if file is None:
        return False
    probe = None
    try:
        with local_file(file) as path:
            probe = probing.probe(path, thorough=True)
    except (OriginalMissing, ReadingInterrupted, InvalidInput) as error:  # InvalidInput: it has become unreadable
        log.warning("file.not_read_again", file=file_id, reason=error.reason)
    with transaction.atomic():
        row = StoredFile.objects.select_for_update().filter(pk=file_id, key=file.key).first()
        if row is not None:
            _save_probe(row, probe)
    return row is not None


def _save_probe(row: StoredFile, probe: Probe | None) -> None:
    row.read_again_at = None if probe and probe.complete else timezone.now() + RETRY_LATER
    if probe:
        row.opaque = probe.opaque
        # Existing metadata wins: that of an optimized file was read from its original.
        row.static_metadata = probe.static_metadata | row.static_metadata
        row.colors_pending = row.format in probing.FORMATS_WITH_COLORS and "color" not in row.static_metadata
    row.save(update_fields=["opaque", "static_metadata", "colors_pending", "read_again_at"])
    indexing.replace(
        list(row.images.select_related("organization", "file").order_by("id").select_for_update(of=("self",)))
    )
