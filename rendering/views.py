"""The view of render URLs: a plain function, as most requests are answered from the cache."""

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import PurePath
from typing import IO
from urllib.parse import unquote

import structlog
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from organizations.models import Organization
from rendering.cache import CachedRender, RenderName
from rendering.grammar import DYNAMIC, RenderURL, parse
from rendering.hot_path import find_rows
from rendering.lookups import RowLookup, find_organization, find_referenced, requires_signature
from rendering.models import PREVIEW_PREFIX, Stack
from rendering.nested import is_own_url, nested_image
from rendering.output import Preferences
from rendering.pool import RenderInterrupted
from rendering.resolve import Recipe, effective_options, resolve
from rendering.serving import rendered
from rendering.signatures import check_signature
from rokka.core.connections import release_connection
from rokka.core.errors import DomainError, InvalidInput, NotFound, TooManyRequests, Unavailable, Unprocessable
from rokka.core.http import database_problem, error_response, is_unavailable, status_of
from sourceimages.downloads.original import content_disposition, original_response
from sourceimages.models import SourceImage

YEAR = 365 * 86_400
ERROR_SECONDS = 60  # that caches may keep an error of the URL or the image
MEDIA_TYPES = {
    "jpg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "avif": "image/avif",
    "jxl": "image/jxl",
    "jp2": "image/jp2",
    "svg": "image/svg+xml",
    "blur": "text/plain; charset=utf-8",
}
SMALL = 512 * 1024  # bytes that are read at once

log = structlog.get_logger()


def render(request: HttpRequest, organization: str, path: str, prefix: str) -> HttpResponseBase:
    """Answer a render URL. `path` is the raw path without `prefix`, the part that names the organization."""
    if request.method == "OPTIONS":
        response: HttpResponseBase = HttpResponse(status=204)
        del response["Content-Type"]
        response["Access-Control-Allow-Methods"] = "GET, HEAD, OPTIONS"
        response["Access-Control-Allow-Headers"] = "*"
    elif request.method not in ("GET", "HEAD"):
        response = error_response(405, f"Render URLs do not support {request.method}.", "method_not_allowed")
        response["Allow"] = "GET, HEAD, OPTIONS"
    else:
        response = _answer(request, organization, path, prefix)
    response["Access-Control-Allow-Origin"] = "*"
    response["Cross-Origin-Resource-Policy"] = "cross-origin"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _answer(request: HttpRequest, organization: str, path: str, prefix: str) -> HttpResponseBase:
    try:
        return _render(request, organization, path, prefix)
    except DomainError as error:
        response = _refusal(error)
        if unquote(path).lstrip("/").startswith(PREVIEW_PREFIX):
            response["Cache-Control"] = "no-store"
        return response
    except RenderInterrupted as error:
        return _uncached(error_response(500, f"Rendering failed: {error}. Try again later.", "server_error"))
    except DatabaseError as error:
        if not is_unavailable(error):
            raise
        log.exception("database.unavailable")
        return _uncached(error_response(503, database_problem(error), Unavailable.reason), 5)


def _render(request: HttpRequest, organization_name: str, path: str, prefix: str) -> HttpResponseBase:
    query = request.META.get("QUERY_STRING", "")
    url = parse(path, query, organization_name)
    lookup, stack, image = find_rows(url) or _look_up(url)
    expiry = None
    if signed := requires_signature(lookup.organization, stack, image):
        expiry = _check_signature(lookup.organization, url, path=path, query=query, prefix=prefix)
    content = stack.content if stack else None
    options = effective_options(content, url)
    if options.get("source_file"):
        response = _original(request, url, image, attachment=options.get("content_disposition") == "attachment")
    else:
        preferences = Preferences(
            request.META.get("HTTP_ACCEPT", ""), request.META.get("HTTP_SAVE_DATA", "").lower() == "on"
        )
        epoch = stack.cache_epoch if stack else 0
        recipe = resolve(url, lookup.source(image), content, lookup, preferences, epoch=epoch)
        if lookup.protected_parts and not signed:
            expiry = _check_signature(lookup.organization, url, path=path, query=query, prefix=prefix)
        response = _result(request, url, recipe, image, lookup)
    if response.status_code < 400:  # not a range beyond the end of an original, or a condition that doesn't hold
        response["Cache-Control"] = _cache_control(url, expiry)
    return response


def _check_signature(organization: Organization, url: RenderURL, **request: str) -> datetime | None:
    """Return when the signature of the URL expires, if ever. Raises InvalidSignature."""
    return check_signature(url, keys=organization.signing_keys.values_list("key", flat=True), **request)


def _look_up(url: RenderURL) -> tuple[RowLookup, Stack | None, SourceImage]:
    """What the URL names, one after the other. Raises an error for the first that is not found."""
    lookup = RowLookup(find_organization(url.organization))
    stack = None if url.stack == DYNAMIC else lookup.stack_row(url.stack)
    organization, reference = lookup.organization, url.image
    if reference.kind == "remote" and is_own_url(reference.value, organization):
        return lookup, stack, nested_image(organization, reference.value)
    return lookup, stack, find_referenced(organization, reference, stack.options if stack else {})


def _result(
    request: HttpRequest, url: RenderURL, recipe: Recipe, image: SourceImage, lookup: RowLookup
) -> HttpResponseBase:
    name = RenderName(image.organization_id, image.hash, recipe.key)
    release_connection()  # all rows are read; the client can read the response slowly
    if _etags(request) & {recipe.etag, "*"}:
        response: HttpResponseBase = HttpResponse(status=304)
        del response["Content-Type"]
    else:
        found = rendered(recipe, name, lookup.files, cached=not url.stack.startswith(PREVIEW_PREFIX))
        response = _file_response(request, found)
        if recipe.attachment:
            response["Content-Disposition"] = content_disposition(_file_name(url, image, found.format))
    response["ETag"] = recipe.etag
    if recipe.vary:
        response["Vary"] = ", ".join(recipe.vary)
    return response


def _file_response(request: HttpRequest, found: CachedRender) -> HttpResponseBase:
    media_type = MEDIA_TYPES[found.format]
    if request.method == "GET" and found.size > SMALL:
        response: HttpResponseBase = StreamingHttpResponse(_blocks(found.file), content_type=media_type)
    else:
        with found.file:
            response = HttpResponse(found.file.read() if request.method == "GET" else b"", content_type=media_type)
    response["Content-Length"] = str(found.size)
    if found.format == "svg":
        response["Content-Security-Policy"] = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"
    return response


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while block := file.read(SMALL):
            yield block


def _original(request: HttpRequest, url: RenderURL, image: SourceImage, *, attachment: bool) -> HttpResponseBase:
    """The stored file unchanged, with ranges."""
    response = original_response(request, image)
    if response.status_code < 300:
        name = _file_name(url, image, image.file.format) if url.slug else image.name
        disposition = content_disposition(name)
        response["Content-Disposition"] = disposition if attachment else disposition.replace("attachment", "inline", 1)
    return response


def _file_name(url: RenderURL, image: SourceImage, format: str) -> str:
    """The name under which browsers save the result: the slug, or the name of the image."""
    return f"{url.slug or PurePath(image.name).stem or image.short_hash}.{format}"


def _etags(request: HttpRequest) -> set[str]:
    sent = request.META.get("HTTP_IF_NONE_MATCH", "")
    return {word.strip().removeprefix("W/") for word in sent.split(",")} if sent else set()


def _cache_control(url: RenderURL, expiry: datetime | None) -> str:
    """Results never change, so caches may keep them for a year, but not longer than the signature is valid."""
    if url.stack.startswith(PREVIEW_PREFIX):
        return "no-store"
    if expiry is not None:
        seconds = min(YEAR, int(expiry.timestamp() - time.time()))
        return f"public, max-age={max(0, seconds)}"
    return f"public, max-age={YEAR}, immutable"


def _refusal(error: DomainError) -> HttpResponse:
    response = error_response(int(status_of(error)), error.message, error.reason)
    match error:
        case TooManyRequests():
            return _uncached(response, error.seconds)
        case Unavailable():
            return _uncached(response, 2)
        case InvalidInput() | NotFound() | Unprocessable():
            response["Cache-Control"] = f"public, max-age={ERROR_SECONDS}"
            response["Vary"] = "Accept, Save-Data"  # another format may be possible
            return response
    return _uncached(response)


def _uncached(response: HttpResponse, seconds: int | None = None) -> HttpResponse:
    response["Cache-Control"] = "no-store"
    if seconds is not None:
        response["Retry-After"] = str(seconds)
    return response
