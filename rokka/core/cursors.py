"""Positions in lists as text: "c" and base64url of a JSON list. The "c" keeps one from ever looking like a number."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

PREFIX = "c"
MAX_LENGTH = 8000


def encode(values: list[Any]) -> str:
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
    return PREFIX + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(text: str) -> list[Any]:
    """The values. Raises ValueError for what `pack` never gave out; RecursionError is one of the ways to try."""
    if not text.startswith(PREFIX) or len(text) > MAX_LENGTH:
        raise ValueError("not a cursor")
    encoded = text[len(PREFIX) :].encode("ascii")
    values = json.loads(base64.b64decode(encoded + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True))
    if not isinstance(values, list):
        raise ValueError("not a list")
    return values


def format_datetime(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def parse_datetime(text: Any) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC)
