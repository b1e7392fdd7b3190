"""Originals of a search as one ZIP, made while it is sent.

What the ZIP cannot hold it names, with the reason, in `MISSING.txt`, its last entry, and its comment says so. A storage
that does not answer is asked again for a while, also in the middle of a file. If it still does not, the transfer breaks
off: the client sees that it is incomplete. Where that is known before anything was sent, it is an error like any other.
"""

import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import structlog
from django.http import StreamingHttpResponse
from zipstream import ZIP_STORED, ZipStream

from organizations.models import Organization
from organizations.usage import daily_stats
from sourceimages import storage, stored_files
from sourceimages.errors import OriginalMissing, StorageUnavailable
from sourceimages.models import SourceImage, StoredFile

RETRY_PAUSES = (0.2, 1.0, 3.0, 5.0)  # seconds between attempts
PROTECTED = "It is protected, and your roles do not allow downloading its original."
MISSING_NAME = "MISSING.txt"  # no entry for an image is called so: these begin with a hash

log = structlog.get_logger()


def zip_response(
    organization: Organization, images: Iterable[SourceImage], *, protected: bool
) -> StreamingHttpResponse:
    """A ZIP of the originals, uncompressed, as most formats are compressed already; with `protected` ones, or without.

    Raises StorageUnavailable, or BytesMissing if all of them are lost, before anything is sent.
    """
    blocks = _zip_stream(images, protected=protected)
    first = next(blocks, b"")
    counted = daily_stats.downloads.counting(chain([first], blocks), organization.pk)
    answer = StreamingHttpResponse(counted, content_type="application/zip")
    answer["Content-Disposition"] = f'attachment; filename="{organization.name}.zip"'
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Cache-Control"] = "private, no-store"
    return answer


def _zip_stream(images: Iterable[SourceImage], *, protected: bool) -> Iterator[bytes]:
    archive, missing, lost, held = ZipStream(compress_type=ZIP_STORED), list[str](), 0, 0
    for image in images:
        if image.protected and not protected:
            missing.append(_line(image, PROTECTED))
            continue
        try:
            file = _file_of(image)
        except OriginalMissing as error:
            log.warning("archive.missing", hash=image.hash, reason=error.message)
            missing.append(_line(image, error.message))
            lost += 1
            continue
        archive.add(_content(file), entry_name(image), size=file.size)
        yield from archive.all_files()
        held += 1
    if lost and not held:
        raise OriginalMissing("None of these originals is in the storage.")
    if missing:
        archive.add(_report(missing), MISSING_NAME)
        archive.comment = f"Incomplete, images missing: {len(missing)}. See {MISSING_NAME}."
    yield from archive.finalize()


def _file_of(image: SourceImage) -> StoredFile:
    """The file of the image, of which all bytes are there. Raises BytesMissing, StorageUnavailable."""
    file = image.file
    try:
        return _checked(file)
    except OriginalMissing:
        now = StoredFile.objects.filter(pk=file.pk).first()
        if now is None:
            raise OriginalMissing("It was deleted permanently meanwhile.") from None
        if now.key != file.key:  # it was optimized since the list was read
            return _checked(now)
        raise


def _checked(file: StoredFile) -> StoredFile:
    try:
        size = _with_retries(lambda: stored_files.file_size(file))
    except OriginalMissing as error:
        raise OriginalMissing("Its file is missing in the storage.") from error
    if size != file.size:
        raise OriginalMissing(f"Its file is damaged: {size} bytes instead of {file.size}.")
    return file


def _with_retries(ask: Callable[[], int]) -> int:
    """The answer of the storage, which is asked again where it gives none. Raises StorageUnavailable in the end."""
    for pause in RETRY_PAUSES:
        try:
            return ask()
        except StorageUnavailable:
            time.sleep(pause)
    return ask()


def _content(file: StoredFile) -> Iterator[bytes]:
    """The bytes of the file; where reading breaks off, it goes on. Raises StorageUnavailable, BytesMissing."""
    position, pauses = 0, iter(RETRY_PAUSES)
    while position < file.size:
        try:
            with storage.translate_errors(file.key):
                for block in stored_files.open_file(file, position):
                    position += len(block)
                    pauses = iter(RETRY_PAUSES)
                    yield block
        except StorageUnavailable:
            pause = next(pauses, None)
            if pause is None:
                raise
            time.sleep(pause)
            continue
        if position < file.size:
            raise OriginalMissing(f"The file under {file.key} ends after {position} of {file.size} bytes.")


def _report(missing: Iterable[str]) -> bytes:
    lines = ["These images are not in this archive: hash, name, reason.", "", *missing]
    return "".join(f"{line}\r\n" for line in lines).encode()


def _line(image: SourceImage, reason: str) -> str:
    name = re.sub(r"[\x00-\x1f\x7f\u2028\u2029]", "_", image.name)
    return f"{image.hash}\t{name}\t{reason}"


def entry_name(image: SourceImage) -> str:
    """A name that no unpacker takes for a path, with the hash before it, which nothing else in the archive has."""
    name = unicodedata.normalize("NFC", image.name)
    name = re.sub(r'[\x00-\x1f/\\:*?"<>|]', "_", name).replace("..", "__").strip(" .") or "file"
    return f"{image.short_hash}_{name[:50]}…{name[-30:]}" if len(name) > 80 else f"{image.short_hash}_{name}"
