"""Signed URLs: proof that somebody who knows a key of the organization allows an address, possibly until some time.

The signature is over the path and the query exactly as they are sent, without the signature itself.
"""

import json
import math
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote, urlsplit, urlunsplit

from rokka.core.errors import InvalidInput

LENGTH = 16  # hex digits
EXPIRY_ROUNDING_SECONDS = 300  # seconds, so that many URLs made one after the other are the same, and cached once
MAX_URL = 8_000
MAX_ROUNDING = 366 * 86_400


def signature(path: str, query: str, key: str) -> str:
    """`path` with its leading slash, `query` without `sig` and without question mark."""
    text = f"{path}?{query}" if query else path
    return sha256(f"{text}:{key}".encode()).hexdigest()[:LENGTH]


def signed_url(url: str, key: str, *, until: datetime | None = None) -> str:
    """The URL with a signature; `until` replaces the time limit it may have."""
    parts = urlsplit(url)
    replaced = {"sig"} if until is None else {"sig", "sigopts"}
    said = [one for one in parts.query.split("&") if one and one.partition("=")[0] not in replaced]
    if until is not None:
        said.append("sigopts=" + quote(json.dumps({"until": isoformat(until)}, separators=(",", ":")), safe=""))
    query = "&".join(said)
    signed = "&".join([*said, f"sig={signature(parts.path, query, key)}"])
    return urlunsplit((parts.scheme, parts.netloc, parts.path, signed, ""))


def belongs_to(url: str, organization: str) -> bool:
    """Is this an address at which the organization's pictures are shown: by its host name, or by its path?"""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").split(".")[0]
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not parts.path.strip("/"):
        return False
    return organization in (host, parts.path.lstrip("/").split("/")[0])


def rounded_up(moment: datetime, seconds: int) -> datetime:
    """The next multiple of so many seconds. Raises Invalid when that lies beyond the end of the calendar."""
    try:
        return datetime.fromtimestamp(math.ceil(moment.timestamp() / seconds) * seconds, UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput("until: this lies too far away.") from error


def isoformat(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
