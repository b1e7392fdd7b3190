"""Parse the dates in EXIF, IPTC, XMP and PDF metadata as datetimes."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

OFFSETS = {  # EXIF: date tag to its UTC offset tag
    "date_time": "offset_time",
    "date_time_original": "offset_time_original",
    "date_time_digitized": "offset_time_digitized",
}
MAX_OFFSET = timedelta(hours=14)  # the largest UTC offset in use
OFFSET = re.compile(r"(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?|(?P<utc>Z)")
TIME = r"(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,]\d+)?)?"
ZONE = r"(?P<zone>Z|[+-]\d\d:?\d\d)?"
EXIF_DATE = re.compile(rf"(?P<year>\d{{4}})[:/-](?P<month>\d\d)[:/-](?P<day>\d\d)[ T]{TIME} ?{ZONE}", re.ASCII)
XMP_DATE = re.compile(
    rf"(?P<year>\d{{4}})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)(?:[ T]{TIME} ?{ZONE})?)?)?", re.ASCII
)  # parts that ISO 8601 allows to omit
IPTC_DATE = re.compile(r"(?P<year>\d{4})-?(?P<month>\d\d)-?(?P<day>\d\d)", re.ASCII)
IPTC_TIME = re.compile(r"(?P<hour>\d\d):?(?P<minute>\d\d):?(?P<second>\d\d)(?P<zone>[+-]\d\d:?\d\d|Z)?", re.ASCII)
PDF_DATE = re.compile(
    r"(?:D:)?(?P<year>\d{4})(?:(?P<month>\d\d)(?:(?P<day>\d\d)"
    r"(?:(?P<hour>\d\d)(?:(?P<minute>\d\d)(?P<second>\d\d)?)?)?)?)?(?P<zone>Z|[+-]\d\d(?:'?\d\d'?)?)?(?:00'00'?)?",
    re.ASCII,
)


def static_date(group: str, name: str, value: str, group_values: Mapping[str, Any]) -> datetime | None:
    """The datetime of a static metadata property; None if it is not a date.

    Local times use the offset next to them (EXIF: in a separate tag), or else UTC. Dates without month, day or time
    mean their first second. `group_values` are all properties of the group.
    """
    if "date" not in name.split("_"):
        return None
    text = value.strip()
    match group:
        case "exif" if match := EXIF_DATE.fullmatch(text):
            return _datetime(match.groupdict(), separate_offset=group_values.get(OFFSETS.get(name, "")))
        case "xmp" if match := XMP_DATE.fullmatch(text) or EXIF_DATE.fullmatch(text):
            return _datetime(match.groupdict())
        case "pdf" if match := PDF_DATE.fullmatch(text):
            return _datetime(match.groupdict())
        case "iptc" if match := IPTC_DATE.fullmatch(text):
            # Zeros mean that the month or day is unknown.
            day = {part: None if digits == "00" else digits for part, digits in match.groupdict().items()}
            return _datetime(day | (_iptc_time(group_values) if name == "date_created" else {}))
    return None


def _iptc_time(group_values: Mapping[str, Any]) -> dict[str, str | None]:
    match = IPTC_TIME.fullmatch(str(group_values.get("time_created", "")).strip())
    return match.groupdict() if match else {}


def _datetime(parts: Mapping[str, str | None], *, separate_offset: Any = None) -> datetime | None:
    """The datetime of these digits, with their own offset or else the given one."""
    zone = _zone(parts.get("zone")) or _zone(separate_offset) or UTC
    year, month, day = (int(parts.get(part) or 1) for part in ("year", "month", "day"))
    hour, minute, second = (int(parts.get(part) or 0) for part in ("hour", "minute", "second"))
    try:
        result = datetime(year, month, day, hour, minute, second, tzinfo=zone)
        result.astimezone(UTC)
    except (ValueError, OverflowError):  # not a calendar date, or out of range in UTC
        return None
    return result


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
