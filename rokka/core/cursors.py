"""Pagination cursors: "c" and a JSON list in base64url. The "c" distinguishes cursors from numeric offsets."""

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
    """Return the values of a cursor. Raises ValueError or RecursionError if `encode` did not create it."""
    if not text.startswith(PREFIX) or len(text) > MAX_LENGTH:
        raise ValueError("not a cursor")
    encoded = text[len(PREFIX) :].encode("ascii")
    values = json.loads(base64.b64decode(encoded + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True))
    if not isinstance(values, list):
        raise ValueError("not a list")
    return values


def format_datetime(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds")


def parse_datetime(text: Any) -> datetime:
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        raise ValueError("a time without a zone")
    return value.astimezone(UTC)
