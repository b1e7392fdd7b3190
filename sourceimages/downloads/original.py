"""Responses with an original: streamed, with ranges and conditions, always as an attachment.

With ACCEL_REDIRECT the reverse proxy sends the file. This module still decides everything: permissions were checked
before, conditions and ranges are checked here, and the response is the same (tests/system/test_nginx.py).
"""

import re
from collections.abc import Iterator
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import http_date, parse_etags

from organizations.usage import daily_stats
from rokka.core.connections import release_connection
from rokka.core.errors import PreconditionFailed
from rokka.core.http import error_response
from sourceimages import stored_files
from sourceimages.models import SourceImage

INTERNAL_LOCATION = "/_originals/"  # of deploy/nginx.conf
RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})\Z")


def original_response(request: HttpRequest, image: SourceImage) -> HttpResponseBase:
    """200, 206 for a single byte range, 304, 412 or 416 (RFC 9110). Requests for several ranges get the whole file."""
    etag = f'"{image.file.content_hash}"'
    match _unmet(request, image, etag):
        case 304:
            return _with_headers(HttpResponse(status=304), image, etag)
        case 412:
            message = f"The precondition failed: the current ETag of the file is {etag}."
            return _with_headers(error_response(412, message, PreconditionFailed.reason), image, etag)
    size = image.file.size
    span = _range(request, size, etag)
    if span == ():
        answer = error_response(
            416, f"The requested range is beyond the end of the file ({size} bytes).", "range_not_satisfiable"
        )
        answer["Content-Range"] = f"bytes */{size}"
        return _with_headers(answer, image, etag)
    start, end = span or (0, size)
    if _is_sent_by_proxy(request):
        return _with_headers(_redirect(image, start, end, ranged=bool(span)), image, etag)
    release_connection()  # the client can read the response slowly
    body = _stream(request, image, start, end - start)
    streamed = StreamingHttpResponse(body, status=206 if span else 200, content_type=image.mimetype)
    streamed["Content-Length"] = str(end - start)
    if span:
        streamed["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return _with_headers(streamed, image, etag)


def _is_sent_by_proxy(request: HttpRequest) -> bool:
    """Whether the proxy sends the file.

    nginx would check preconditions again, but does not know the ETag, and it reads spaces in ranges differently. A HEAD
    request has no file to send.
    """
    return (
        settings.ACCEL_REDIRECT
        and bool(request.META.get("rokka.trusted_proxy"))
        and request.method == "GET"
        and " " not in request.headers.get("Range", "")
        and not {"If-Match", "If-Unmodified-Since"} & request.headers.keys()
    )


def _redirect(image: SourceImage, start: int, end: int, *, ranged: bool) -> HttpResponseBase:
    """A response without content, which nginx replaces by the file. Raises OriginalMissing.

    It counts as downloaded now, because only nginx knows how much the client reads.
    """
    path = stored_files.internal_path(image.file, ranged=ranged)
    daily_stats.downloads.add(image.organization_id, end - start)
    answer = StreamingHttpResponse((), content_type=image.mimetype)  # others lose the type if they are empty
    answer["X-Accel-Redirect"] = INTERNAL_LOCATION + path
    if ranged:
        answer["X-Accel-Range"] = f"bytes={start}-{end - 1}"
    return answer


def _unmet(request: HttpRequest, image: SourceImage, etag: str) -> int | None:
    """The status that the preconditions require (304 or 412); None if they hold."""
    if (sent := request.headers.get("If-Match")) and not parse_etags(sent):
        return 412  # an invalid list of ETags matches nothing; ignoring it would skip the check
    answer = get_conditional_response(request, etag, int(image.file.modified.timestamp()))
    return answer.status_code if answer is not None else None


def _stream(request: HttpRequest, image: SourceImage, start: int, length: int) -> Iterator[bytes]:
    """The response body. Raises OriginalMissing for GET and HEAD alike before the response starts."""
    if request.method == "HEAD":
        stored_files.file_size(image.file)
        return iter(())
    return daily_stats.downloads.counting(stored_files.open_file(image.file, start, length), image.organization_id)


def _with_headers(answer: HttpResponseBase, image: SourceImage, etag: str) -> HttpResponseBase:
    if answer.status_code == 304:
        del answer["Content-Type"]
    elif answer.status_code < 400:
        answer["Content-Disposition"] = content_disposition(image.name)
    answer["ETag"] = etag
    answer["Last-Modified"] = http_date(image.file.modified.timestamp())
    answer["Accept-Ranges"] = "bytes"
    answer["Cache-Control"] = "private, no-cache"  # permissions are checked on every request
    answer["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer["X-Content-Type-Options"] = "nosniff"
    return answer


def _range(request: HttpRequest, size: int, etag: str) -> tuple[int, int] | tuple[()] | None:
    """Start and end (exclusive) of the range; () if it is not satisfiable; None for the whole file."""
    parsed = RANGE.match(request.headers.get("Range", "").replace(" ", ""))
    if parsed is None or request.headers.get("If-Range", etag) != etag or request.method == "HEAD":
        return None
    first, last = parsed["first"], parsed["last"]
    if not first and not last:
        return None
    if not first:  # suffix range: the last N bytes
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < start:
            return None  # invalid ranges are ignored (RFC 9110, 14.2)
    return (start, end) if start < end else ()


def content_disposition(name: str) -> str:
    """The header value for an attachment with this name.

    Clients read `filename` only as the last parameter; for non-ASCII names, `filename*` precedes it (RFC 6266, RFC
    8187).
    """
    plain = re.sub(r'[^\x20-\x7e]|["\\/%]', "_", name).strip() or "file"
    exact = "" if plain == name else f" filename*=UTF-8''{quote(name, safe='')};"
    return f'attachment;{exact} filename="{plain}"'
