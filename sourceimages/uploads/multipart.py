"""Read uploads with Django's multipart parser; files are hashed while they are received."""

import time
from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, QueryDict, UnreadablePostError
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from django.utils.encoding import force_str

from organizations.audit import Actor
from organizations.models import Organization
from rokka.core.errors import InvalidInput
from sourceimages import grace_period, storage
from sourceimages.errors import FileTooLarge, IncompleteUpload, InvalidName, RequestTooLarge
from sourceimages.probing import SHARES_MEMORY
from sourceimages.storage.temp_file import TempUpload
from sourceimages.uploads import form_fields
from sourceimages.uploads.filename import clean_filename, part_filename
from sourceimages.uploads.remote_limits import slot
from sourceimages.uploads.upload import Upload

MULTIPART = "multipart/form-data"
MEMORY_BYTES = 256 * 1024 if SHARES_MEMORY else 0  # of the files of a request; the others are written to disk
TAIL_BYTES = 1024  # bytes; an epilogue after the last boundary is allowed, but rarely longer than a line end


class TempFileUploadHandler(FileUploadHandler):
    """Django upload handler that collects all file parts in order, whatever their field name."""

    chunk_size = 256 * 1024

    def __init__(self) -> None:
        super().__init__()
        self.temp_dir = storage.originals().temp_dir
        self.received: list[tuple[str, TempUpload]] = []  # name, file
        self.since = time.monotonic()

    def new_file(self, field_name: str, file_name: str, *args: Any, **kwargs: Any) -> None:
        super().new_file(field_name, file_name, *args, **kwargs)
        if len(self.received) == settings.MAX_FILES_PER_REQUEST:
            raise too_many_files()
        label = f"{field_name[:80]} ({file_name[:80]!r})"
        declared_size = self.content_length
        if declared_size and declared_size > settings.MAX_FILE_SIZE:
            raise FileTooLarge(
                f"{label}: the file has {declared_size:,} bytes; the limit is {settings.MAX_FILE_SIZE:,} "
                "(MAX_FILE_SIZE).",
                limit=settings.MAX_FILE_SIZE,
            )
        try:
            name = clean_filename(file_name)
        except InvalidName as error:
            raise InvalidName(f"{label}: {error.message}") from error
        memory = MEMORY_BYTES - sum(file.bytes_in_memory for _, file in self.received)
        file = TempUpload(self.temp_dir, label=label, limit=settings.MAX_FILE_SIZE, memory=memory)
        self.received.append((name, file))

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if grace_period.is_half_over(self.since):
            # Longer requests would lose their first files: cleanup takes them for abandoned while the last one still
            # arrives.
            raise IncompleteUpload("Receiving the request took too long. Send fewer files per request.")
        self.received[-1][1].write(raw_data)

    def file_complete(self, file_size: int) -> UploadedFile:
        _, file = self.received[-1]
        file.close()
        return UploadedFile(BytesIO(), "upload", size=file.size)  # name and content are kept in self.received

    def discard(self) -> None:
        for _, file in self.received:
            file.discard()


class RawFilenameMultiPartParser(MultiPartParser):
    """Django's parser decodes HTML entities in names, and skips files named like a directory; this one does not."""

    def sanitize_file_name(self, file_name: str) -> str | None:
        return part_filename(force_str(file_name, errors="replace")) or "."


class BoundaryCountingStream:
    """Wraps the stream of a form to count its parts and check its end.

    Django's parser takes a truncated stream for a complete file, and skips parts that it can't parse.
    """

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.delimiter = b"--" + (request.content_params or {}).get("boundary", "").encode("latin-1", "replace")
        self.size = 0
        self.delimiters = 0
        self.last = b""  # long enough for a delimiter across two reads, and for the last delimiter

    def read(self, size: int = -1) -> bytes:
        data = self.request.read(size)
        self.size += len(data)
        reach = len(self.delimiter) - 1
        seam = self.last[-reach:] + data[:reach]  # short enough to exclude delimiters on one side only
        self.delimiters += data.count(self.delimiter) + seam.count(self.delimiter)
        self.last = data[-TAIL_BYTES:] if len(data) >= TAIL_BYTES else (self.last + data)[-TAIL_BYTES:]
        return data

    @property
    def is_terminated(self) -> bool:
        return self.delimiter + b"--" in self.last

    @property
    def part_count(self) -> int:
        return self.delimiters - 1  # the last one ends the form


@dataclass(frozen=True, slots=True)
class UploadForm:
    """A complete form: its fields, and its files as temporary files."""

    fields: QueryDict
    files: list[tuple[str, TempUpload]]  # name, file

    def uploads(self, organization: Organization, actor: Actor) -> list[Upload]:
        """The uploaded files with their fields; files behind URLs are fetched now.

        Raises InvalidInput without any file, TooManyFetches, and the errors of `remote.fetch`.
        """
        file_fields = form_fields.parse_form(self.fields.lists(), files=len(self.files))
        if not file_fields:
            raise InvalidInput("No file in the request. Send a file part with any name, or a URL as url[0].")
        if len(file_fields) > settings.MAX_FILES_PER_REQUEST:
            raise too_many_files()
        sent, urls = iter(list(self.files)), RemoteFiles()
        with slot(organization, actor) if any(one.url for one in file_fields) else nullcontext():
            files = [urls.fetch(one.url, one.label, self.files) if one.url else next(sent) for one in file_fields]
        return [
            Upload(
                file=file,
                name=name,
                user_metadata=one.user_metadata,
                dynamic_metadata=one.dynamic_metadata,
                protected=one.protected,
                optimize_to=one.optimize_to,
            )
            for one, (name, file) in zip(file_fields, files, strict=True)
        ]

    def discard(self) -> None:
        for _, file in self.files:
            file.discard()


class RemoteFiles:
    """The URLs of one request, which share its limits of time and size."""

    def __init__(self) -> None:
        self.deadline = time.monotonic() + settings.FETCH_TIMEOUT_SECONDS

    def fetch(self, url: str, label: str, files: list[tuple[str, TempUpload]]) -> tuple[str, TempUpload]:
        """Fetch a file and add it to the files of the request; return its name and the file."""
        seconds = self.deadline - time.monotonic()
        from sourceimages.uploads.remote import fetch

        fetched = fetch(url, label=label, folder=storage.originals().temp_dir, seconds=seconds)
        files.append((fetched.name, fetched.file))
        if (size := sum(file.size for _, file in files)) > settings.MAX_REQUEST_SIZE:
            raise too_large(size)
        return files[-1]


def parse_upload(request: HttpRequest) -> UploadForm:
    """Read the whole form. On errors, all temporary files are removed."""
    if request.content_type != MULTIPART:
        raise InvalidInput(
            f"Uploads must be {MULTIPART} with at least one file part; this request is {request.content_type or 'not'}."
        )
    length = request.META.get("CONTENT_LENGTH", "")
    declared_size = int(length) if length.isdecimal() else 0
    if declared_size > settings.MAX_REQUEST_SIZE and "rokka.chunked" not in request.META:
        raise too_large(declared_size)
    stream, handler = BoundaryCountingStream(request), TempFileUploadHandler()
    try:
        fields, _ = RawFilenameMultiPartParser(request.META, cast(Any, stream), [handler], "utf-8").parse()
        received = UploadForm(fields, handler.received)
        _check_complete(received, stream)
    except (MultiPartParserError, UnreadablePostError) as error:
        handler.discard()
        hint = " A file name may be too long." if "header size" in str(error) else ""
        raise InvalidInput(f"Invalid {MULTIPART} request: {error}{hint}") from error
    except BaseException:
        handler.discard()
        raise
    return received


def _check_complete(received: UploadForm, stream: BoundaryCountingStream) -> None:
    """Check that the form is complete. Raises InvalidInput."""
    if stream.size > settings.MAX_REQUEST_SIZE:
        raise too_large(stream.size)
    if not stream.is_terminated:
        raise IncompleteUpload(
            f"The request ended after {stream.size:,} bytes, before its last boundary. Send it again."
        )
    parsed_parts = sum(len(values) for _, values in received.fields.lists()) + len(received.files)
    if parsed_parts != stream.part_count:
        raise InvalidInput(
            f"{stream.part_count - parsed_parts} of the {stream.part_count} form parts are unreadable. Each part needs "
            "a field name, and each file a non-empty file name in UTF-8."
        )


def too_many_files() -> RequestTooLarge:
    return RequestTooLarge(
        f"The request exceeds {settings.MAX_FILES_PER_REQUEST} files, the limit per request (MAX_FILES_PER_REQUEST)."
    )


def too_large(size: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"The request has at least {size:,} bytes; the limit of this server is {settings.MAX_REQUEST_SIZE:,} "
        "(MAX_REQUEST_SIZE).",
        limit=settings.MAX_REQUEST_SIZE,
    )
