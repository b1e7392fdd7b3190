"""Dates in static metadata as points in time."""

import pytest

from sourceimages.metadata.dates import static_date

pytestmark = pytest.mark.any_database

OFFSET = {"offset_time_original": "+02:00"}


@pytest.mark.parametrize(
    ("group", "name", "value", "beside", "expected"),
    [
        # EXIF: the local time, with the offset of its own tag
        ("exif", "date_time_original", "2024:03:05 09:30:07", {}, "2024-03-05T09:30:07+00:00"),
        ("exif", "date_time_original", "2024:03:05 09:30:07", OFFSET, "2024-03-05T09:30:07+02:00"),
        ("exif", "date_time", "2024:03:05 09:30:07", {"offset_time": "-03:30"}, "2024-03-05T09:30:07-03:30"),
        ("exif", "date_time", "2024:03:05 09:30:07", {"offset_time": "Z"}, "2024-03-05T09:30:07+00:00"),
        ("exif", "date_time", "2024:03:05 09:30:07", {"offset_time": "+0530"}, "2024-03-05T09:30:07+05:30"),
        ("exif", "date_time", "2024:03:05 09:30:07", OFFSET, "2024-03-05T09:30:07+00:00"),
        ("exif", "date_time_digitized", "2024:03:05 09:30:07", {"offset_time_digitized": "+14:00"},
         "2024-03-05T09:30:07+14:00"),
        ("exif", "date_time_digitized", "2024:03:05 09:30:07", {"offset_time_digitized": "+25:00"},
         "2024-03-05T09:30:07+00:00"),
        ("exif", "date_time_digitized", "2024:03:05 09:30:07", {"offset_time_digitized": 2},
         "2024-03-05T09:30:07+00:00"),
        ("exif", "date_time", "2024-03-05 09:30:07", {}, "2024-03-05T09:30:07+00:00"),
        ("exif", "date_time", "2024/03/05 09:30", {}, "2024-03-05T09:30:00+00:00"),
        ("exif", "preview_date_time", "2024-03-05T09:30:07+01:00", {}, "2024-03-05T09:30:07+01:00"),
        ("exif", "date_time", "2024:03:05 09:30:07.25", {}, "2024-03-05T09:30:07+00:00"),
        ("exif", "date_time", "0000:00:00 00:00:00", {}, None),
        ("exif", "date_time", "2024:00:00 00:00:00", {}, None),
        ("exif", "date_time", "2023:02:29 09:30:07", {}, None),
        ("exif", "date_time", "2024:03:05 24:00:00", {}, None),
        ("exif", "date_time", "2024:03:05", {}, None),
        ("exif", "date_time", "    :  :     :  :  ", {}, None),
        ("exif", "date_time", "٢٠٢٤:03:05 09:30:07", {}, None),
        ("exif", "date_time", "0001:01:01 00:00:00", {"offset_time": "+01:00"}, None),
        ("exif", "date_time", "yesterday", {}, None),
        ("exif", "make", "2024:03:05 09:30:07", {}, None),
        ("exif", "offset_time", "+01:00", {}, None),
        # IPTC: date and time are two properties
        ("iptc", "date_created", "20240305", {}, "2024-03-05T00:00:00+00:00"),
        ("iptc", "date_created", "20240305", {"time_created": "093007+0100"}, "2024-03-05T09:30:07+01:00"),
        ("iptc", "date_created", "20240305", {"time_created": "093007"}, "2024-03-05T09:30:07+00:00"),
        ("iptc", "date_created", "2024-03-05", {"time_created": "09:30:07-05:00"}, "2024-03-05T09:30:07-05:00"),
        ("iptc", "date_created", "20240305", {"time_created": "soon"}, "2024-03-05T00:00:00+00:00"),
        ("iptc", "date_created", "20240000", {}, "2024-01-01T00:00:00+00:00"),
        ("iptc", "date_created", "00000000", {}, None),
        ("iptc", "date_created", "20241305", {}, None),
        ("iptc", "time_created", "093007+0100", {"date_created": "20240305"}, None),
        # XMP: ISO 8601, as short as one likes
        ("xmp", "create_date", "2024-03-05T09:30:07+01:00", {}, "2024-03-05T09:30:07+01:00"),
        ("xmp", "modify_date", "2024-03-05T09:30:07.123Z", {}, "2024-03-05T09:30:07+00:00"),
        ("xmp", "date_created", "2024-03-05T09:30", {}, "2024-03-05T09:30:00+00:00"),
        ("xmp", "date_created", "2024-03-05", {}, "2024-03-05T00:00:00+00:00"),
        ("xmp", "date_created", "2024-03", {}, "2024-03-01T00:00:00+00:00"),
        ("xmp", "date_created", "2024", {}, "2024-01-01T00:00:00+00:00"),
        ("xmp", "date_time_original", "2024:03:05 09:30:07", {}, "2024-03-05T09:30:07+00:00"),
        ("xmp", "date_created", "2024-13", {}, None),
        ("xmp", "date_created", "0000", {}, None),
        ("xmp", "title", "2024", {}, None),
        ("xmp", "candidate", "2024", {}, None),
        # PDF
        ("pdf", "creation_date", "D:20240305093007+01'00'", {}, "2024-03-05T09:30:07+01:00"),
        ("pdf", "mod_date", "D:20240305093007-0130", {}, "2024-03-05T09:30:07-01:30"),
        ("pdf", "mod_date", "D:20240305093007-01'30", {}, "2024-03-05T09:30:07-01:30"),
        ("pdf", "creation_date", "D:20240305093007Z00'00'", {}, "2024-03-05T09:30:07+00:00"),
        ("pdf", "creation_date", "D:20240305", {}, "2024-03-05T00:00:00+00:00"),
        ("pdf", "creation_date", "March 2024", {}, None),
        ("video", "date", "2024-03-05", {}, None),
    ],
)  # fmt: skip
def test_a_date_is_a_point_in_time(group, name, value, beside, expected):
    found = static_date(group, name, value, {name: value} | beside)
    assert (found and found.isoformat()) == expected
    assert found is None or (found.utcoffset() is not None and found.timestamp() is not None)
