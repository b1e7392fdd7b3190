"""Reading an upload: Django's multipart parser, with files hashed while they are spooled."""

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
from sourceimages.storage.temp_file import TempUpload
from sourceimages.uploads import form_fields
from sourceimages.uploads.filename import clean_filename, part_filename
from sourceimages.uploads.remote import fetch
from sourceimages.uploads.remote_limits import slot
from sourceimages.uploads.upload import Upload

MULTIPART = "multipart/form-data"
TAIL_BYTES = 1024  # bytes; an epilogue after the last boundary is allowed and rarely longer than a line end


class TempFileUploadHandler(FileUploadHandler):
    """Django's hook for file parts: all parts with a file name, whatever their field is called, in their order."""

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
        announced = self.content_length
        if announced and announced > settings.MAX_FILE_SIZE:
            raise FileTooLarge(
                f"{label}: the file has {announced:,} bytes; the limit of this server is {settings.MAX_FILE_SIZE:,} "
                "(MAX_FILE_SIZE).",
                limit=settings.MAX_FILE_SIZE,
            )
        try:
            name = clean_filename(file_name)
        except InvalidName as error:
            raise InvalidName(f"{label}: {error.message}") from error
        self.received.append((name, TempUpload(self.temp_dir, label=label, limit=settings.MAX_FILE_SIZE)))

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if grace_period.is_half_over(self.since):
            # The first files of this request would be taken for left behind while the last one still comes in.
            raise IncompleteUpload("Receiving this request took too long. Send fewer files at a time.")
        self.received[-1][1].write(raw_data)

    def file_complete(self, file_size: int) -> UploadedFile:
        _, file = self.received[-1]
        file.close()
        return UploadedFile(BytesIO(), "upload", size=file.size)  # name and bytes are kept here

    def discard(self) -> None:
        for _, file in self.received:
            file.discard()


class RawFilenameMultiPartParser(MultiPartParser):
    """Django's parser, which also decodes HTML entities in names and skips files that are called like a directory."""

    def sanitize_file_name(self, file_name: str) -> str | None:
        return part_filename(force_str(file_name, errors="replace")) or "."


class BoundaryCountingStream:
    """The stream of a form, remembering how many parts it has and how it ends.

    Django's parser takes the end of the stream for the end of a file, and skips parts that it cannot make sense of.
    """

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.delimiter = b"--" + (request.content_params or {}).get("boundary", "").encode("latin-1", "replace")
        self.size = 0
        self.delimiters = 0
        self.last = b""  # long enough to hold a delimiter that lies across two reads, and the last one of all

    def read(self, size: int = -1) -> bytes:
        data = self.request.read(size)
        self.size += len(data)
        reach = len(self.delimiter) - 1
        seam = self.last[-reach:] + data[:reach]  # too short to hold a delimiter that lies on one side only
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
    """A whole form: its fields, and its files in the spool."""

    fields: QueryDict
    files: list[tuple[str, TempUpload]]  # name, file

    def uploads(self, organization: Organization, actor: Actor) -> list[Upload]:
        """The files with what the form says about them; those behind URLs are fetched now.

        Raises Invalid if there is no file, TooManyFetches, and what `fetching.fetch` raises.
        """
        about = form_fields.parse_form(self.fields.lists(), files=len(self.files))
        if not about:
            raise InvalidInput(
                "There is no file in this request: send a file part, under any name, or a URL as url[0]."
            )
        if len(about) > settings.MAX_FILES_PER_REQUEST:
            raise too_many_files()
        sent, urls = iter(list(self.files)), RemoteFiles()
        with slot(organization, actor) if any(said.url for said in about) else nullcontext():
            files = [urls.fetch(said.url, said.label, self.files) if said.url else next(sent) for said in about]
        return [
            Upload(
                file=file,
                name=name,
                user_metadata=said.user_metadata,
                dynamic_metadata=said.dynamic_metadata,
                protected=said.protected,
                optimize_to=said.optimize_to,
            )
            for said, (name, file) in zip(about, files, strict=True)
        ]

    def discard(self) -> None:
        for _, file in self.files:
            file.discard()


class RemoteFiles:
    """The URLs of one request, which share its time and its size."""

    def __init__(self) -> None:
        self.deadline = time.monotonic() + settings.FETCH_TIMEOUT_SECONDS

    def fetch(self, url: str, label: str, files: list[tuple[str, TempUpload]]) -> tuple[str, TempUpload]:
        """Name and file, which is added to the files of the request."""
        seconds = self.deadline - time.monotonic()
        fetched = fetch(url, label=label, folder=storage.originals().temp_dir, seconds=seconds)
        files.append((fetched.name, fetched.file))
        if (size := sum(file.size for _, file in files)) > settings.MAX_REQUEST_SIZE:
            raise too_large(size)
        return files[-1]


def parse_upload(request: HttpRequest) -> UploadForm:
    """Read the whole form. Whatever goes wrong in here, nothing is left in the spool."""
    if request.content_type != MULTIPART:
        raise InvalidInput(
            f"An upload is {MULTIPART} with at least one file part; this is {request.content_type or 'not'}."
        )
    length = request.META.get("CONTENT_LENGTH", "")
    announced = int(length) if length.isdecimal() else 0
    if announced > settings.MAX_REQUEST_SIZE and "rokka.chunked" not in request.META:
        raise too_large(announced)
    witness, handler = BoundaryCountingStream(request), TempFileUploadHandler()
    try:
        fields, _ = RawFilenameMultiPartParser(request.META, cast(Any, witness), [handler], "utf-8").parse()
        received = UploadForm(fields, handler.received)
        _check_complete(received, witness)
    except (MultiPartParserError, UnreadablePostError) as error:
        handler.discard()
        hint = " A file name may be too long." if "header size" in str(error) else ""
        raise InvalidInput(f"The request is not proper {MULTIPART}: {error}{hint}") from error
    except BaseException:
        handler.discard()
        raise
    return received


def _check_complete(received: UploadForm, witness: BoundaryCountingStream) -> None:
    """A form that is not whole must not look like one that is."""
    if witness.size > settings.MAX_REQUEST_SIZE:
        raise too_large(witness.size)
    if not witness.is_terminated:
        raise IncompleteUpload(
            f"The request ended after {witness.size:,} bytes, before its last boundary. Send it again."
        )
    understood = sum(len(values) for _, values in received.fields.lists()) + len(received.files)
    if understood != witness.part_count:
        raise InvalidInput(
            f"{witness.part_count - understood} of the {witness.part_count} form parts are unreadable. Each needs "
            "a field name, and each file a file name that is not empty and in UTF-8."
        )


def too_many_files() -> RequestTooLarge:
    return RequestTooLarge(
        f"There are more than {settings.MAX_FILES_PER_REQUEST} files, the limit of a request (MAX_FILES_PER_REQUEST)."
    )


def too_large(size: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"The request has {size:,} bytes or more; the limit of this server is {settings.MAX_REQUEST_SIZE:,} "
        "(MAX_REQUEST_SIZE).",
        limit=settings.MAX_REQUEST_SIZE,
    )
