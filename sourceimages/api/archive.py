"""Originals of a search as one ZIP, made while it is sent."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

import structlog
from django.http import StreamingHttpResponse
from zipstream import ZIP_STORED, ZipStream

from organizations import stats
from organizations.models import Organization
from rokka.errors import DomainError
from sourceimages import files
from sourceimages.models import SourceImage

log = structlog.get_logger()


def response(organization: Organization, images: Iterable[SourceImage]) -> StreamingHttpResponse:
    """A ZIP of the originals, uncompressed, as most formats are compressed already."""
    blocks = stats.downloads.counted(_archive(images), organization.pk)
    answer = StreamingHttpResponse(blocks, content_type="application/zip")
    answer["Content-Disposition"] = f'attachment; filename="{organization.name}.zip"'
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Cache-Control"] = "private, no-store"
    return answer


def _archive(images: Iterable[SourceImage]) -> Iterator[bytes]:
    archive = ZipStream(compress_type=ZIP_STORED)
    for image in images:
        try:
            blocks = files.open_file(image.file)
        except DomainError:  # purged while the archive was under way: better one less than none at all
            log.warning("archive.left_out", hash=image.hash, exc_info=True)
            continue
        archive.add(blocks, entry_name(image), size=image.file.size)
        yield from archive.all_files()
    yield from archive.finalize()


def entry_name(image: SourceImage) -> str:
    """A name that no unpacker takes for a path, with the hash before it, which nothing else in the archive has."""
    name = unicodedata.normalize("NFC", image.name)
    name = re.sub(r'[\x00-\x1f/\\:*?"<>|]', "_", name).replace("..", "__").strip(" .") or "file"
    return f"{image.short_hash}_{name[:50]}…{name[-30:]}" if len(name) > 80 else f"{image.short_hash}_{name}"
