"""Signed URLs: proof that a holder of one of the organization's signing keys allows a URL, optionally until a time.

The signature covers the path and the query exactly as sent, without the signature itself.
"""

import json
import math
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote, urlsplit, urlunsplit

from rokka.core.errors import InvalidInput

SIGNATURE_LENGTH = 16  # hex digits
EXPIRY_ROUNDING_SECONDS = 300  # URLs signed within this time are equal, so that caches hold one
MAX_URL = 8_000
MAX_ROUNDING = 366 * 86_400


def signature(path: str, query: str, key: str) -> str:
    """Compute the signature (16 hex digits). `path` has its leading slash, `query` no question mark and no `sig`."""
    text = f"{path}?{query}" if query else path
    return sha256(f"{text}:{key}".encode()).hexdigest()[:SIGNATURE_LENGTH]


def signed_url(url: str, key: str, *, until: datetime | None = None) -> str:
    """Return the URL with a signature. `until` replaces the expiry that the URL may already have."""
    parts = urlsplit(url)
    replaced = {"sig"} if until is None else {"sig", "sigopts"}
    parameters = [one for one in parts.query.split("&") if one and one.partition("=")[0] not in replaced]
    if until is not None:
        parameters.append("sigopts=" + quote(json.dumps({"until": isoformat(until)}, separators=(",", ":")), safe=""))
    query = "&".join(parameters)
    signed = "&".join([*parameters, f"sig={signature(parts.path, query, key)}"])
    return urlunsplit((parts.scheme, parts.netloc, parts.path, signed, ""))


def belongs_to(url: str, organization: str) -> bool:
    """Return whether this is a URL of the organization's images.

    Its name is the first label of the host, or the first segment of the path, also after `/render`.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").split(".")[0]
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not parts.path.strip("/"):
        return False
    first, *others = parts.path.lstrip("/").split("/")
    return organization in (host, first) or (first == "render" and others[:1] == [organization])


def round_up(time: datetime, seconds: int) -> datetime:
    """Round up to a multiple of `seconds`. Raises InvalidInput if the result is beyond the year 9999."""
    try:
        return datetime.fromtimestamp(math.ceil(time.timestamp() / seconds) * seconds, UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput("until: must be before the year 10000.") from error


def isoformat(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")
