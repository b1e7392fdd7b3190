"""Remote images: fetched when a render URL first names them, then stored as source images."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlsplit

import structlog
from django.conf import settings
from django.core.cache import cache as memory
from django.db import transaction

from organizations.audit import SYSTEM
from organizations.models import Organization
from rendering import pool
from rendering.errors import RemoteImageUnavailable, RenderTimeout, RenderTooLarge
from rendering.models import RemoteImage
from rokka.core.connections import release_connection
from rokka.core.errors import DomainError, TooManyRequests, Unavailable
from rokka.core.locks import try_lock
from sourceimages import storage
from sourceimages.models import SourceImage
from sourceimages.operations import add_images
from sourceimages.storage.temp_file import TempUpload
from sourceimages.uploads.remote_limits import slot
from sourceimages.uploads.upload import Upload

MAX_URL = 2_000  # characters
FAILURE_SECONDS = 60  # that a failed fetch is remembered
HOST_SECONDS = 3600  # that it is remembered whether the whitelist has a host
WAIT_SECONDS = 25  # for a fetch by another request
PAUSE = 0.1  # seconds
LABEL = "remote image"
METADATA = "remote"  # dynamic metadata with the URL, so that the image has a hash of its own

log = structlog.get_logger()


def remote_url(value: str, options: Mapping[str, Any]) -> str:
    """The URL that a render URL names, if the options of stack and organization allow it.

    Raises RemoteImageUnavailable; RenderTimeout and RenderQueueFull if no worker is free to match the whitelist.
    """
    if re.match(r"https?://", value, re.IGNORECASE):
        _check_full_url(value, options)
        url = value
    else:
        url = _below_basepath(value, options)
    if len(url) > MAX_URL:
        raise RemoteImageUnavailable(f"The URL of the remote image has {len(url)} characters. The limit is {MAX_URL}.")
    return url


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A fetched file, and whether the image made from it is protected."""

    name: str
    file: TempUpload
    protected: bool = False


Fetched = Callable[[], AbstractContextManager[RemoteFile]]


def remote_image(organization: Organization, url: str, *, fetched: Fetched | None = None) -> SourceImage:
    """The image that was fetched from the URL, now or earlier. `fetched` gives its file; by default over HTTP.

    Raises RemoteImageUnavailable if it can't be fetched or was deleted since; RenderTimeout, TooManyRequests and
    Unavailable if it may work later.
    """
    digest = sha256(url.encode()).hexdigest()
    failure = f"remote-failure:{organization.pk.hex}:{digest}"
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        if image := _known(organization, digest):
            return image
        if message := memory.get(failure):
            raise RemoteImageUnavailable(str(message))
        with try_lock(f"remote-{organization.pk.hex}-{digest}") as acquired:
            if acquired:
                return _known(organization, digest) or _store(
                    organization, url, digest, failure, fetched or partial(_over_http, organization, url)
                )
        if time.monotonic() > deadline:
            raise RenderTimeout(f"The remote image was not fetched within {WAIT_SECONDS} seconds. Try again later.")
        release_connection()
        time.sleep(PAUSE)


def _known(organization: Organization, digest: str) -> SourceImage | None:
    """The image, if the URL was fetched before. Raises RemoteImageUnavailable if it was deleted."""
    known = RemoteImage.objects.filter(organization=organization, digest=digest).first()
    if known is None:
        return None
    image = organization.images.active().select_related("file").filter(hash=known.hash).first()
    if image is None:
        raise RemoteImageUnavailable("The remote image was fetched, but has been deleted since.")
    return image


def _store(organization: Organization, url: str, digest: str, failure: str, fetched: Fetched) -> SourceImage:
    try:
        with fetched() as found:
            upload = Upload(
                file=found.file,
                name=found.name,
                dynamic_metadata={METADATA: {"url": url}},
                protected=found.protected,
            )
            [added] = add_images(organization, [upload], can_update=False, actor=SYSTEM)
    except (TooManyRequests, Unavailable):
        raise
    except DomainError as error:
        log.warning("render.remote_failed", organization=organization.name, why=error.message)
        message = f"The remote image can't be fetched. {error.message}"
        memory.set(failure, message, FAILURE_SECONDS)
        raise RemoteImageUnavailable(message) from error
    _remember(added.image, url, digest)
    return added.image


@transaction.atomic
def _remember(image: SourceImage, url: str, digest: str) -> None:
    """Record where the image is from. Raises RemoteImageUnavailable."""
    try:  # locked, or the row would not follow to the image that is replacing this one
        SourceImage.objects.active().get_for_update(image)
    except SourceImage.DoesNotExist as error:
        raise RemoteImageUnavailable("The remote image was deleted while it was fetched. Try again.") from error
    RemoteImage.objects.get_or_create(
        organization=image.organization, digest=digest, defaults={"url": url, "hash": image.hash}
    )


@contextmanager
def _over_http(organization: Organization, url: str) -> Iterator[RemoteFile]:
    from sourceimages.uploads.remote import fetch

    folder, seconds = storage.originals().temp_dir, min(settings.FETCH_TIMEOUT_SECONDS, WAIT_SECONDS)
    with slot(organization, SYSTEM):
        found = fetch(url, label=LABEL, folder=folder, seconds=seconds)
    try:
        yield RemoteFile(found.name, found.file)
    finally:
        found.file.discard()


def _check_full_url(url: str, options: Mapping[str, Any]) -> None:
    if not options.get("remote_fullurl_allow"):
        raise RemoteImageUnavailable("Full URLs of remote images are not allowed (remote_fullurl_allow).")
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    patterns = options.get("remote_fullurl_whitelist")
    if not host or (patterns and not _is_listed(host, patterns)):
        raise RemoteImageUnavailable(f"The host {host[:80]!r} is not in remote_fullurl_whitelist.")


def _is_listed(host: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern matches the host. Raises RemoteImageUnavailable if that takes too long."""
    key = f"remote-host:{sha256(json.dumps([host, *patterns]).encode()).hexdigest()}"
    listed = memory.get(key)
    if listed is None:
        try:
            listed = pool.matches(patterns, host)
        except RenderTooLarge as error:
            memory.set(key, False, FAILURE_SECONDS)
            message = f"The expressions of remote_fullurl_whitelist take too long for the host {host[:80]!r}."
            raise RemoteImageUnavailable(f"{message} Simplify them.") from error
        memory.set(key, listed, HOST_SECONDS)
    return bool(listed)


def _below_basepath(path: str, options: Mapping[str, Any]) -> str:
    base = options.get("remote_basepath")
    if not base:
        raise RemoteImageUnavailable("Remote images are not enabled (remote_basepath).")
    if any(part in (".", "..") for part in path.split("/")) or "\\" in path:
        raise RemoteImageUnavailable("The path of a remote image can't contain . or .. as a part.")
    return f"{base.rstrip('/')}/{quote(path.lstrip('/'), safe='/:@!$&()*+,;=~')}"
