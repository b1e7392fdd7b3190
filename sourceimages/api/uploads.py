"""Reading an upload: Django's multipart parser, with files hashed while they are spooled."""

from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, QueryDict, UnreadablePostError
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from django.utils.encoding import force_str

from rokka.errors import Invalid
from sourceimages import names, storage
from sourceimages.api import form
from sourceimages.errors import FileTooLarge, IncompleteUpload, InvalidName, RequestTooLarge
from sourceimages.operations import Upload
from sourceimages.spool import SpooledFile

MULTIPART = "multipart/form-data"
TAIL = 1024  # bytes; an epilogue after the last boundary is allowed and rarely longer than a line end


class SpoolHandler(FileUploadHandler):
    """Django's hook for file parts: all parts with a file name, whatever their field is called, in their order."""

    chunk_size = 256 * 1024

    def __init__(self) -> None:
        super().__init__()
        self.spool = storage.originals().spool
        self.received: list[tuple[str, SpooledFile]] = []  # name, file

    def new_file(self, field_name: str, file_name: str, *args: Any, **kwargs: Any) -> None:
        super().new_file(field_name, file_name, *args, **kwargs)
        if len(self.received) == settings.MAX_FILES:
            raise RequestTooLarge(
                f"There are more than {settings.MAX_FILES} files, the limit of a request (MAX_FILES)."
            )
        label = f"{field_name[:80]} ({file_name[:80]!r})"
        announced = self.content_length
        if announced and announced > settings.MAX_FILE_SIZE:
            raise FileTooLarge(
                f"{label}: the file has {announced:,} bytes; the limit of this server is {settings.MAX_FILE_SIZE:,} "
                "(MAX_FILE_SIZE).",
                limit=settings.MAX_FILE_SIZE,
            )
        try:
            name = names.clean(file_name)
        except InvalidName as error:
            raise InvalidName(f"{label}: {error.message}") from error
        self.received.append((name, SpooledFile(self.spool, label=label, limit=settings.MAX_FILE_SIZE)))

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self.received[-1][1].write(raw_data)

    def file_complete(self, file_size: int) -> UploadedFile:
        name, file = self.received[-1]
        file.close()
        return UploadedFile(BytesIO(), name, size=file.size)  # the bytes are in the spool

    def discard(self) -> None:
        for _, file in self.received:
            file.discard()


class NamesAsSent(MultiPartParser):
    """Django's parser, which takes names apart as if they were paths; ours are data."""

    def sanitize_file_name(self, file_name: str) -> str | None:
        return force_str(file_name, errors="replace") or None


class Tail:
    """A stream that remembers how it ended."""

    def __init__(self, stream: HttpRequest) -> None:
        self.stream = stream
        self.last = b""
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self.count += len(data)
        self.last = (self.last + data)[-TAIL:] if len(data) < TAIL else data[-TAIL:]
        return data


@dataclass(frozen=True, slots=True)
class Received:
    """A whole form: its fields, and its files in the spool."""

    fields: QueryDict
    files: list[tuple[str, SpooledFile]]  # name, file

    def uploads(self) -> list[Upload]:
        """The files with what the form says about them. Raises Invalid if there is no file."""
        about = form.read(self.fields.lists(), files=len(self.files))
        if not about:
            raise Invalid("There is no file in this request: send a file part, under any name.")
        return [
            Upload(
                file=file,
                name=name,
                user_metadata=said.user_metadata,
                dynamic_metadata=said.dynamic_metadata,
                protected=said.protected,
                optimize_to=said.optimize_to,
            )
            for (name, file), said in zip(self.files, about, strict=True)
        ]

    def discard(self) -> None:
        for _, file in self.files:
            file.discard()


def receive(request: HttpRequest) -> Received:
    """Read the whole form. Whatever goes wrong in here, nothing is left in the spool."""
    if request.content_type != MULTIPART:
        raise Invalid(f"An upload is {MULTIPART} with at least one file part; this is {request.content_type or 'not'}.")
    announced = int(request.META.get("CONTENT_LENGTH") or 0)
    if announced > settings.MAX_REQUEST_SIZE and "rokka.chunked" not in request.META:
        raise too_large(announced)
    tail, handler = Tail(request), SpoolHandler()
    try:
        fields, _ = NamesAsSent(request.META, cast(Any, tail), [handler], "utf-8").parse()
        _check_complete(request, tail)
    except (MultiPartParserError, UnreadablePostError) as error:
        handler.discard()
        raise Invalid(f"The request is not proper {MULTIPART}: {error}") from error
    except BaseException:
        handler.discard()
        raise
    return Received(fields, handler.received)


def _check_complete(request: HttpRequest, tail: Tail) -> None:
    """Django takes the end of the stream for the end of the file: a broken connection must not look like that."""
    if tail.count > settings.MAX_REQUEST_SIZE:
        raise too_large(tail.count)
    boundary = (request.content_params or {}).get("boundary", "")
    if f"--{boundary}--".encode("latin-1", "replace") not in tail.last:
        raise IncompleteUpload(
            f"The request ended after {tail.count:,} bytes, before its last boundary. Send it again."
        )


def too_large(size: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"The request has {size:,} bytes or more; the limit of this server is {settings.MAX_REQUEST_SIZE:,} "
        "(MAX_REQUEST_SIZE).",
        limit=settings.MAX_REQUEST_SIZE,
    )
