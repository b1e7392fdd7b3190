"""Originals as a streamed ZIP.

Images that can't be included are listed with a reason in the last entry, `MISSING.txt`; the comment of the archive
mentions it. If the storage is unavailable, reading is retried for some seconds, also within a file. If that fails, the
connection is closed early, so that clients notice; before the response has started, an error is returned.

An archive occupies a thread for as long as the client reads, so their number is limited for each key, each organization
and each process.
"""

import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator

import structlog
from django.conf import settings
from django.http import StreamingHttpResponse
from zipstream import ZIP_STORED, ZipStream

from organizations.audit import Actor
from organizations.models import Organization
from organizations.usage import daily_stats
from rokka.core.connections import release_connection
from rokka.core.slots import NoSlot, Share, Slot
from sourceimages import storage, stored_files
from sourceimages.errors import OriginalMissing, StorageUnavailable, TooManyArchives
from sourceimages.models import SourceImage, StoredFile

RETRY_SECONDS = 10  # after which a refused client may try again
RETRY_PAUSES = (0.2, 1.0, 3.0, 5.0)  # seconds between retries
PROTECTED = "The image is protected. Your roles do not allow downloading its original."
MISSING_NAME = "MISSING.txt"  # can't collide with images: their entries start with a hash

log = structlog.get_logger()


def zip_response(
    organization: Organization, images: Iterable[SourceImage], *, protected: bool, actor: Actor
) -> StreamingHttpResponse:
    """An uncompressed ZIP of the originals; most formats are compressed already. `protected` includes protected images.

    Raises TooManyArchives, StorageUnavailable, or OriginalMissing if all originals are missing, before the response
    starts.
    """
    archive = _in_slot(_zip_stream(images, protected=protected), _shares(organization, actor))
    blocks = daily_stats.downloads.counting(archive, organization.pk)
    next(blocks)  # which raises; and closing the response now ends the query, also if nothing has been sent
    answer = StreamingHttpResponse(blocks, content_type="application/zip")
    answer["Content-Disposition"] = f'attachment; filename="{organization.name}.zip"'
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Cache-Control"] = "private, no-store"
    return answer


def _shares(organization: Organization, actor: Actor) -> list[Share]:
    key = actor.api_key_id or (actor.user and actor.user.pk)
    per_process = settings.MAX_ARCHIVES_PER_PROCESS
    return [
        Share("this server", "archives", per_process, across_processes=False),
        Share("an organization", f"archives:{organization.pk}", settings.MAX_ARCHIVES_PER_ORGANIZATION),
        Share("a key", f"archives:{key}", settings.MAX_ARCHIVES_PER_KEY),
    ]


def _in_slot(blocks: Iterator[bytes], shares: list[Share]) -> Iterator[bytes]:
    """The blocks, with a slot from the first to the last. Raises TooManyArchives."""
    slot = Slot(shares)
    try:
        slot.acquire()
    except NoSlot as error:
        share = error.share
        raise TooManyArchives(
            f"{share.limit} archives are being downloaded, the limit for {share.owner}. "
            f"Try again in {RETRY_SECONDS} seconds, or when one of them has ended.",
            seconds=RETRY_SECONDS,
            limit=share.limit,
        ) from None
    try:
        for block in blocks:
            slot.renew()
            yield block
    finally:
        slot.release()


def _zip_stream(images: Iterable[SourceImage], *, protected: bool) -> Iterator[bytes]:
    """The blocks of the archive, after an empty one as soon as there is something to send."""
    archive, missing, lost_count, included = ZipStream(compress_type=ZIP_STORED), list[str](), 0, 0
    for image in images:
        if image.protected and not protected:
            missing.append(_line(image, PROTECTED))
            continue
        try:
            file = _file_of(image)
        except OriginalMissing as error:
            log.warning("zip.file_skipped", hash=image.hash, reason=error.message)
            missing.append(_line(image, error.message))
            lost_count += 1
            continue
        release_connection()  # the client can read the archive slowly
        archive.add(_content(file), entry_name(image), size=file.size)
        if not included:
            yield b""
        yield from archive.all_files()
        included += 1
    if lost_count and not included:
        raise OriginalMissing("All originals of these images are missing in the storage.")
    if not included:
        yield b""
    if missing:
        archive.add(_report(missing), MISSING_NAME)
        archive.comment = f"Incomplete: {len(missing)} images are missing. See {MISSING_NAME}."
    yield from archive.finalize()


def _file_of(image: SourceImage) -> StoredFile:
    """The file of the image, complete in the storage. Raises OriginalMissing, StorageUnavailable."""
    file = image.file
    try:
        return _checked(file)
    except OriginalMissing:
        now = StoredFile.objects.filter(pk=file.pk).first()
        if now is None:
            raise OriginalMissing("The image was deleted permanently in the meantime.") from None
        if now.key != file.key:  # it was optimized after the list was read
            return _checked(now)
        raise


def _checked(file: StoredFile) -> StoredFile:
    try:
        size = _with_retries(lambda: stored_files.file_size(file))
    except OriginalMissing as error:
        raise OriginalMissing("The file is missing in the storage.") from error
    if size != file.size:
        raise OriginalMissing(f"The file is damaged: it has {size} bytes instead of {file.size}.")
    return file


def _with_retries(ask: Callable[[], int]) -> int:
    """The result of the call, retried while the storage is unavailable. Raises StorageUnavailable after the retries."""
    for pause in RETRY_PAUSES:
        try:
            return ask()
        except StorageUnavailable:
            time.sleep(pause)
    return ask()


def _content(file: StoredFile) -> Iterator[bytes]:
    """The content of the file; reading resumes after errors. Raises StorageUnavailable, OriginalMissing."""
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
            raise OriginalMissing(f"The file {file.key} ends after {position} of {file.size} bytes.")


def _report(missing: Iterable[str]) -> bytes:
    lines = ["These images are not in this archive (hash, name, reason):", "", *missing]
    return "".join(f"{line}\r\n" for line in lines).encode()


def _line(image: SourceImage, reason: str) -> str:
    name = re.sub(r"[\x00-\x1f\x7f\u2028\u2029]", "_", image.name)
    return f"{image.hash}\t{name}\t{reason}"


def entry_name(image: SourceImage) -> str:
    """A unique file name that no unpacker takes for a path: short hash and name."""
    name = unicodedata.normalize("NFC", image.name)
    name = re.sub(r'[\x00-\x1f/\\:*?"<>|]', "_", name).replace("..", "__").strip(" .") or "file"
    return f"{image.short_hash}_{name[:50]}…{name[-30:]}" if len(name) > 80 else f"{image.short_hash}_{name}"
