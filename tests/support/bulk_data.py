"""Hundreds of thousands of images, generated in the database: rows and search index as for uploads, without files.

Image number i has an `artist` (one of 1,000, with uneven frequencies), a `year` (one of 100), a unique `taken` minute,
two `tags` (of 200) and a `caption` of two words (of 500).
"""

from typing import Any

from django.db import connection

from organizations.models import Organization
from organizations.usage import counters
from sourceimages.models import MetadataField

FIELDS = {
    "artist": ("user:artist", "str"),
    "year": ("user:year", "int"),
    "taken": ("user:taken", "date"),
    "tags": ("user:tags", "array"),
    "caption": ("user:caption", "text"),
    "name": ("name", "text"),
    "anywhere": ("anywhere", "text"),
}
EPOCH = 1_577_836_800  # 2020-01-01, as seconds
HEX = {"postgresql": "lpad(to_hex({}), 40, '0')", "sqlite": "printf('%040x', {})"}
TIMESTAMP = {"postgresql": "to_timestamp({})", "sqlite": "datetime({}, 'unixepoch')"}
JSON = {"postgresql": "CAST('{}' AS jsonb)", "sqlite": "'{}'"}

# Squares make small numbers frequent: of 1,000 artists, the first has 3 % of the images, the last 0.05 %.
ARTIST = "'artist-' || ((i * 7919 % 1000) * (i * 7919 % 1000) / 1000)"
TAG = "'tag-' || ((i * 31 % 200 + {0}) * (i * 31 % 200 + {0}) / 200)"
WORD = "'word' || (i * {0} % 500)"


def make(organization: Organization, count: int, first: int = 1) -> None:
    """Create images numbered from `first`, in an organization without images."""
    fields = {
        key: MetadataField.objects.get_or_create(organization=organization, name=name, type=type)[0].pk
        for key, (name, type) in FIELDS.items()
    }
    vendor = connection.vendor
    owner = organization._meta.pk.get_db_prep_value(organization.pk, connection)
    hash, timestamp, empty = HEX[vendor].format("i"), TIMESTAMP[vendor].format(f"{EPOCH} + i * 60"), JSON[vendor]
    last = first + count - 1

    def run(statement: str, *parameters: Any) -> None:
        before, _, after = statement.partition(" SELECT ")
        numbers = f"SELECT CAST({first} AS bigint) UNION ALL SELECT i + 1 FROM number WHERE i < {last}"
        with connection.cursor() as cursor:
            cursor.execute(f"{before} WITH RECURSIVE number (i) AS ({numbers}) SELECT {after}", parameters)

    run(
        "INSERT INTO sourceimages_storedfile (id, organization_id, binary_hash, uploaded_size, uploaded_sha256, key, "
        "size, content_hash, format, mimetype, width, height, opaque, animated, static_metadata, optimize_to, created, "
        "colors_pending) "
        f"SELECT i, %s, {hash}, 1, '', 'key-' || i, i %% 50000 * 100, '', 'jpg', 'image/jpeg', i %% 40 * 100, 300, "
        f"TRUE, FALSE, {empty}, '', {timestamp}, FALSE FROM number",
        owner,
    )
    run(
        "INSERT INTO sourceimages_sourceimage (id, organization_id, file_id, hash, identity, short_hash, name, "
        "created, user_metadata, dynamic_metadata, protected, locked, binary_hash, size, format, mimetype, width, "
        f"height) SELECT i, %s, i, {hash}, {hash}, substr({hash}, 33), 'picture-' || i || '.jpg', {timestamp}, "
        f"{empty}, {empty}, FALSE, FALSE, {hash}, i %% 50000 * 100, "
        f"'jpg', 'image/jpeg', i %% 40 * 100, 300 FROM number",
        owner,
    )
    strings = "INSERT INTO sourceimages_metadatastring (field_id, value, image_id)"
    numbers = "INSERT INTO sourceimages_metadatanumber (field_id, value, image_id)"
    tokens = "INSERT INTO sourceimages_metadatatoken (field_id, value, image_id)"
    run(f"{strings} SELECT {fields['artist']}, {ARTIST}, i FROM number".replace("%", "%%"))
    for number in (0, 200):
        tag = TAG.format(number).replace("%", "%%")
        run(f"{strings} SELECT {fields['tags']}, {tag}, i FROM number")
    run(f"{numbers} SELECT {fields['year']}, 1930 + i * 13 %% 100, i FROM number")
    run(f"{numbers} SELECT {fields['taken']}, {EPOCH} + i * 60.0, i FROM number")
    for factor in (17, 23):
        word = WORD.format(factor).replace("%", "%%")
        run(f"{tokens} SELECT {fields['caption']}, {word} || '{factor}', i FROM number")
        run(f"{tokens} SELECT {fields['anywhere']}, {word} || '{factor}', i FROM number")
    for word in ("'pictur'", "'jpg'", "CAST(i AS text)"):
        run(f"{tokens} SELECT {fields['name']}, {word}, i FROM number")
        run(f"{tokens} SELECT {fields['anywhere']}, {word}, i FROM number")
    for pair in ("'pictur ' || i", "i || ' jpg'"):
        run(f"{tokens} SELECT {fields['anywhere']}, {pair}, i FROM number")
    counters.add(organization, images=count)


def analyze() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
