"""Check the signatures of render URLs."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hmac import compare_digest
from urllib.parse import quote, unquote

from organizations.auth.signed_urls import signature
from rendering.errors import InvalidSignature
from rendering.grammar import RenderURL, without_slug

# Part of a value, while the same character as such separates: decoded, a path can have another meaning.
ENCODED_SEPARATOR = re.compile(r"(%2F|%2D|%25)", re.IGNORECASE)


def check_signature(url: RenderURL, *, path: str, query: str, prefix: str, keys: Iterable[str]) -> datetime | None:
    """Check the signature of a URL against all signing keys; return when it expires, if ever.

    `path` and `query` are as received, `prefix` is the part of the path that names the organization, if any. Raises
    InvalidSignature.
    """
    if not url.signature:
        raise InvalidSignature("This URL must be signed with a signing key of the organization.")
    signed_query = "&".join(part for part in query.split("&") if part.partition("=")[0] != "sig")
    candidates = set(_paths(path, prefix, has_slug=url.slug is not None))
    valid = [
        compare_digest(signature(candidate, signed_query, key).encode(), url.signature.encode())
        for key in keys
        for candidate in candidates
    ]
    if not any(valid):
        raise InvalidSignature("The signature is wrong. It must cover the path and the query exactly as sent.")
    expiry = url.sigopts.until if url.sigopts else None
    if expiry is not None and expiry <= datetime.now(UTC):
        raise InvalidSignature(f"The signature has expired at {expiry:%Y-%m-%dT%H:%M:%SZ}.")
    return expiry


def _paths(path: str, prefix: str, *, has_slug: bool) -> Iterator[str]:
    """The paths that a client may have signed: with and without the prefix and the slug, quoted or not.

    Some servers pass only the unquoted path.
    """
    parts = ENCODED_SEPARATOR.split(path)
    unquoted = [part if ENCODED_SEPARATOR.fullmatch(part) else unquote(part) for part in parts]
    quoted = [part if ENCODED_SEPARATOR.fullmatch(part) else quote(part) for part in unquoted]
    for start in {"", prefix}:
        for spelling in (path, "".join(unquoted), "".join(quoted)):
            yield start + spelling
            if has_slug:
                yield start + without_slug(spelling)
