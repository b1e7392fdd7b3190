"""Dates in what files say of themselves: the texts of EXIF, IPTC, XMP and PDF as points in time."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

OFFSETS = {  # EXIF: the tag with the date, and the one with its distance to UTC
    "date_time": "offset_time",
    "date_time_original": "offset_time_original",
    "date_time_digitized": "offset_time_digitized",
}
MAX_OFFSET = timedelta(hours=14)  # no place on earth is further from UTC
OFFSET = re.compile(r"(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?|(?P<utc>Z)")
TIME = r"(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,]\d+)?)?"
ZONE = r"(?P<zone>Z|[+-]\d\d:?\d\d)?"
EXIF_DATE = re.compile(rf"(?P<year>\d{{4}})[:/-](?P<month>\d\d)[:/-](?P<day>\d\d)[ T]{TIME} ?{ZONE}", re.ASCII)
XMP_DATE = re.compile(
    rf"(?P<year>\d{{4}})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)(?:[ T]{TIME} ?{ZONE})?)?)?", re.ASCII
)  # the parts of a date that ISO 8601 lets one leave out
IPTC_DATE = re.compile(r"(?P<year>\d{4})-?(?P<month>\d\d)-?(?P<day>\d\d)", re.ASCII)
IPTC_TIME = re.compile(r"(?P<hour>\d\d):?(?P<minute>\d\d):?(?P<second>\d\d)(?P<zone>[+-]\d\d:?\d\d|Z)?", re.ASCII)
PDF_DATE = re.compile(
    r"(?:D:)?(?P<year>\d{4})(?:(?P<month>\d\d)(?:(?P<day>\d\d)"
    r"(?:(?P<hour>\d\d)(?:(?P<minute>\d\d)(?P<second>\d\d)?)?)?)?)?(?P<zone>Z|[+-]\d\d(?:'?\d\d'?)?)?(?:00'00'?)?",
    re.ASCII,
)


def static_date(group: str, name: str, value: str, group_values: Mapping[str, Any]) -> datetime | None:
    """The point in time that a property of static metadata names; None if it is not a date.

    A local time counts with the offset that stands beside it (in EXIF: in a tag of its own), and as UTC where there is
    none. Of a date without month, day or time, the first second counts. `group_values` are all properties of the group.
    """
    if "date" not in name.split("_"):
        return None
    text = value.strip()
    match group:
        case "exif" if match := EXIF_DATE.fullmatch(text):
            return _datetime(match.groupdict(), beside=group_values.get(OFFSETS.get(name, "")))
        case "xmp" if match := XMP_DATE.fullmatch(text) or EXIF_DATE.fullmatch(text):
            return _datetime(match.groupdict())
        case "pdf" if match := PDF_DATE.fullmatch(text):
            return _datetime(match.groupdict())
        case "iptc" if match := IPTC_DATE.fullmatch(text):
            # Zeros stand for a month or a day that is not known.
            day = {part: None if digits == "00" else digits for part, digits in match.groupdict().items()}
            return _datetime(day | (_iptc_time(group_values) if name == "date_created" else {}))
    return None


def _iptc_time(group_values: Mapping[str, Any]) -> dict[str, str | None]:
    match = IPTC_TIME.fullmatch(str(group_values.get("time_created", "")).strip())
    return match.groupdict() if match else {}


def _datetime(parts: Mapping[str, str | None], *, beside: Any = None) -> datetime | None:
    """The datetime of these digits, with the offset among them, or else the one that stands beside them."""
    zone = _zone(parts.get("zone")) or _zone(beside) or UTC
    year, month, day = (int(parts.get(part) or 1) for part in ("year", "month", "day"))
    hour, minute, second = (int(parts.get(part) or 0) for part in ("hour", "minute", "second"))
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=zone)
        moment.astimezone(UTC)
    except (ValueError, OverflowError):  # no day of the calendar, or one that is in no year of UTC
        return None
    return moment


def _zone(text: Any) -> timezone | None:
    match = OFFSET.fullmatch(str(text).replace("'", "").strip()) if text else None
    if match is None:
        return None
    if match["utc"]:
        return UTC
    offset = timedelta(hours=int(match["hours"]), minutes=int(match["minutes"] or 0))
    if offset > MAX_OFFSET:
        return None
    return timezone(-offset if match["sign"] == "-" else offset)
