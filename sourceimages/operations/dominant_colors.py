"""What is found out about a file after its upload: what takes a look at its pixels, and what could not be read then."""

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

BATCH = 100  # files that are looked up
RETRY_SOON = timedelta(minutes=10)  # until the first look at what a killed reader could not tell
RETRY_LATER = timedelta(days=1)  # until the next one

log = structlog.get_logger()


def files_without_colors() -> list[int]:
    """Files whose dominant colours have not been looked for."""
    return list(StoredFile.objects.filter(colors_pending=True).order_by("id").values_list("id", flat=True)[:BATCH])


def extract_colors(file_id: int) -> bool:
    """Look for the dominant colours of the file, once; False if there is nothing to do. Twice does no harm.

    Bytes that are missing have none, or else this file would keep all behind it waiting. One whose readers are killed
    waits for a day.
    """
    file = StoredFile.objects.filter(pk=file_id, colors_pending=True).first()
    if file is None:
        return False
    later = None
    try:
        with local_file(file) as path:
            found = probing.dominant_colors(path, file.format)
    except OriginalMissing:
        found = []
    except ReadingInterrupted:
        found, later = [], timezone.now() + RETRY_LATER
    with transaction.atomic():
        # Purged or rewritten meanwhile: then there is nothing to say, or the new bytes have their turn.
        row = StoredFile.objects.select_for_update().filter(pk=file_id, key=file.key).first()
        if row is not None:
            row.colors_pending, row.read_again_at = False, later or row.read_again_at
            row.static_metadata = row.static_metadata | ({"color": {"dominant": found}} if found else {})
            row.save(update_fields=["colors_pending", "read_again_at", "static_metadata"])
    return row is not None


def next_attempt(probe: Probe) -> datetime | None:
    """Of a file that has just come in."""
    return None if probe.complete else timezone.now() + RETRY_SOON


def to_read_again() -> list[int]:
    """Files whose readers were killed before they could tell everything, and whose time has come."""
    due = StoredFile.objects.filter(read_again_at__lte=timezone.now()).order_by("read_again_at", "id")
    return list(due.values_list("id", flat=True)[:BATCH])


def read_again(file_id: int) -> bool:
    """Read the file once more, alone if need be; False if there is nothing to do. What is still unknown waits a day."""
    file = StoredFile.objects.filter(pk=file_id, read_again_at__lte=timezone.now()).first()
    if file is None:
        return False
    probe = None
    try:
        with local_file(file) as path:
            probe = probing.probe(path, thorough=True)
    except (OriginalMissing, ReadingInterrupted, InvalidInput) as error:  # Invalid: it was readable when it came in
        log.warning("file.not_read_again", file=file_id, reason=error.reason)
    with transaction.atomic():
        row = StoredFile.objects.select_for_update().filter(pk=file_id, key=file.key).first()
        if row is not None:
            _save_colors(row, probe)
    return row is not None


def _save_colors(row: StoredFile, probe: Probe | None) -> None:
    row.read_again_at = None if probe and probe.complete else timezone.now() + RETRY_LATER
    if probe:
        row.opaque = probe.opaque
        # What is known stays: of an optimized file it is what the uploaded one told.
        row.static_metadata = probe.static_metadata | row.static_metadata
        row.colors_pending = row.format in probing.FORMATS_WITH_COLORS and "color" not in row.static_metadata
    row.save(update_fields=["opaque", "static_metadata", "colors_pending", "read_again_at"])
    indexing.replace(
        list(row.images.select_related("organization", "file").order_by("id").select_for_update(of=("self",)))
    )
