"""Render URLs of the own organization as remote images: the result is stored as a source image, like any other one."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit

from django.conf import settings

from organizations.models import Organization
from rendering.cache import CachedRender, RenderName
from rendering.errors import InvalidRenderURL
from rendering.grammar import DYNAMIC, RenderURL, locate, parse
from rendering.lookups import RowLookup, find_referenced, requires_signature
from rendering.operations.remote import RemoteFile, remote_image
from rendering.output import Preferences
from rendering.resolve import resolve
from rendering.serving import rendered
from rendering.signatures import check_signature
from rokka.core import ratelimits
from rokka.core.ratelimits import HOUR, Limit
from sourceimages import storage
from sourceimages.models import SourceImage
from sourceimages.storage.temp_file import TempUpload

NESTED_LIMIT = Limit("RATE_LIMIT_NESTED_RENDERS", HOUR)  # per organization: each is stored, and visitors write the URLs
BLOCK = 256 * 1024  # bytes


def is_own_url(value: str, organization: Organization) -> bool:
    """Return whether the remote image is a render URL of the organization, by its host."""
    return _located(value, organization) is not None


def nested_image(organization: Organization, value: str) -> SourceImage:
    """The image made from a render URL of the organization. Raises the errors of rendering, and TooManyRequests."""
    return remote_image(organization, value, fetched=partial(_rendered, organization, value))


def _located(value: str, organization: Organization) -> tuple[str, str] | None:
    """The path and query of a render URL of the organization."""
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    found = locate(parts.netloc, parts.path, settings.RENDER_DOMAIN) if parts.scheme in ("http", "https") else None
    return (found[1], parts.query) if found and found[0] == organization.name else None


@contextmanager
def _rendered(organization: Organization, value: str) -> Iterator[RemoteFile]:
    """The result as a file. It is protected if its URL had to be signed: otherwise it would be public from then on."""
    path, query = _located(value, organization) or ("", "")
    url = parse(path, query, organization.name)
    if url.image.kind == "remote":
        raise InvalidRenderURL("A render URL in a render URL can't name another remote image.")
    result, protected = _result(organization, url, path, query)
    ratelimits.hit((NESTED_LIMIT, organization.pk.hex))
    file = TempUpload(storage.originals().temp_dir, label="remote image", limit=settings.MAX_FILE_SIZE)
    try:
        with result.file:
            while block := result.file.read(BLOCK):
                file.write(block)
        file.close()
        yield RemoteFile(f"{url.slug or url.image.value}.{result.format}", file, protected)
    finally:
        file.discard()


def _result(organization: Organization, url: RenderURL, path: str, query: str) -> tuple[CachedRender, bool]:
    """The result, and whether its URL had to be signed."""
    lookup = RowLookup(organization)
    stack = None if url.stack == DYNAMIC else lookup.stack_row(url.stack)
    image = find_referenced(organization, url.image, {})
    content, epoch = (stack.content, stack.cache_epoch) if stack else (None, 0)
    recipe = resolve(url, lookup.source(image), content, lookup, Preferences(), epoch=epoch)
    signed = requires_signature(organization, stack, image) or lookup.protected_parts
    if signed:
        keys = organization.signing_keys.values_list("key", flat=True)
        check_signature(url, path=path, query=query, prefix="", keys=keys)
    return rendered(recipe, RenderName(image.organization_id, image.hash, recipe.key), lookup.files), signed
