"""Dates in filters. A date without a time means the whole day, month or year.

| Value | Period |
|---|---|
| `2024` | the year |
| `2024-06` | the month |
| `2024-06-01`, `20240601` | the day |
| `2024-06-01T10:30:00Z` | the second |
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

YEAR = re.compile(r"[0-9]{4}\Z")
MONTH = re.compile(r"([0-9]{4})-([0-9]{2})\Z")
WEEK = re.compile(r"[0-9]{4}-?W[0-9]{2}\Z")


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` to `end` (exclusive), in UTC."""

    start: datetime
    end: datetime


def period(text: str) -> Period:
    """The period of the text, in UTC unless it has an offset. Raises ValueError."""
    written = text.strip().strip("'\"").upper()  # RFC 3339 allows `t` and `z`
    try:
        found = _days(written) or _second(written)
    except (ValueError, OverflowError):
        found = None
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a valid date. Use 2024, 2024-06, 2024-06-01 or 2024-06-01T09:30:00Z.")
    return found


def _days(text: str) -> Period | None:
    if YEAR.match(text):
        return Period(_midnight(int(text)), _midnight(int(text) + 1))
    if parts := MONTH.match(text):
        year, month = map(int, parts.groups())
        return Period(_midnight(year, month), _midnight(year + month // 12, month % 12 + 1))
    try:
        first = date.fromisoformat(text)
    except ValueError:
        return None
    start = _midnight(first.year, first.month, first.day)
    return Period(start, start + timedelta(days=7 if WEEK.match(text) else 1))


def _second(text: str) -> Period:
    start = datetime.fromisoformat(text)
    start = start.replace(tzinfo=UTC) if start.tzinfo is None else start.astimezone(UTC)
    start = start.replace(microsecond=0)
    return Period(start, start + timedelta(seconds=1))


def _midnight(year: int, month: int = 1, day: int = 1) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)
