"""Rows of copies, which the database makes of the rows they are copies of: none of them passes through Python.

Each function takes pairs, of what is copied and of what is the copy's own, and answers how many rows it made: fewer
than there are pairs where somebody has removed what was to be copied.
"""

# ruff: noqa: S608 (what is put into the statements are the names of our own tables and columns)

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from django.db import connection, models
from django.utils import timezone

from organizations.models import Organization
from sourceimages.models import IndexRow, MetadataField, SourceImage, StoredFile

IMAGES, FILES = SourceImage._meta.db_table, StoredFile._meta.db_table
FIELDS = MetadataField._meta.db_table

# What a copy has from its picture, and what it has from the file that shows it at the destination. Not the lock.
SAID = ("identity", "name", "created", "user_metadata", "dynamic_metadata", "protected")
OF_FILE = ("binary_hash", "size", "format", "mimetype", "width", "height")
NOT_YET = ("verified_at", "optimize_since", "optimized_from")  # of a new file
COPIED = {
    "file_id": "file.id",
    **{column: f"image.{column}" for column in SAID},
    **{column: f"file.{column}" for column in OF_FILE},
}

Pairs = Sequence[tuple[Any, Any]]


def insert_files(keys: Pairs, destination: Organization) -> int:
    """Rows for bytes, by their key and by the one under which their copy lies."""
    own = {"organization_id": "%s", "key": "pair.column2", "created": "%s"} | dict.fromkeys(NOT_YET, "NULL")
    columns = _columns(StoredFile, own | {name: f"file.{name}" for name in _names(StoredFile) if name not in own})
    return _execute(
        keys,
        f"INSERT INTO {FILES} ({', '.join(columns)}) SELECT {', '.join(columns.values())} "
        f"FROM {_table(keys)} JOIN {FILES} file ON file.key = pair.column1 ORDER BY file.binary_hash",
        [_id_of(destination), connection.ops.adapt_datetimefield_value(timezone.now()), *chain(*keys)],
    )


def insert_images(short_hashes: Pairs, destination: Organization) -> int:
    """Copies of pictures, by their id and the short hash that the copy gets."""
    own = {"organization_id": "%s", "hash": "image.hash", "short_hash": "pair.column2"}
    columns = _columns(SourceImage, own | COPIED | {"locked": "%s", "tombstone_id": "NULL"})
    return _execute(
        short_hashes,
        f"INSERT INTO {IMAGES} ({', '.join(columns)}) SELECT {', '.join(columns.values())} "
        f"FROM {_table(short_hashes)} JOIN {IMAGES} image ON image.id = pair.column1 "
        f"JOIN {FILES} file ON file.organization_id = %s AND file.binary_hash = image.binary_hash ORDER BY image.hash",
        [_id_of(destination), False, *chain(*short_hashes), _id_of(destination)],
    )


def overwrite_images(targets: Pairs, destination: Organization) -> int:
    """Give what pictures have, by their id, to rows of the destination, by theirs."""
    changes = ", ".join(f"{column} = {value}" for column, value in COPIED.items())
    return _execute(
        targets,
        f"UPDATE {IMAGES} AS target SET {changes} "
        f"FROM {_table(targets)} JOIN {IMAGES} image ON image.id = pair.column1 "
        f"JOIN {FILES} file ON file.organization_id = %s AND file.binary_hash = image.binary_hash "
        f"WHERE target.id = pair.column2",
        [*chain(*targets), _id_of(destination)],
    )


def insert_index(table: type[IndexRow], hashes: Pairs, destination: Organization) -> int:
    """What is searched of pictures, by their id and the hash that their copy has, too. The fields are there already."""
    name = table._meta.db_table
    return _execute(
        hashes,
        f"INSERT INTO {name} (field_id, value, image_id) SELECT field.id, original.value, image.id "
        f"FROM {_table(hashes)} JOIN {name} original ON original.image_id = pair.column1 "
        f"JOIN {FIELDS} meant ON meant.id = original.field_id "
        f"JOIN {FIELDS} field ON field.organization_id = %s AND field.name = meant.name AND field.type = meant.type "
        f"JOIN {IMAGES} image ON image.organization_id = %s AND image.hash = pair.column2 "
        f"AND image.tombstone_id IS NULL",
        [*chain(*hashes), _id_of(destination), _id_of(destination)],
    )


def _names(model: type[models.Model]) -> list[str]:
    return [str(field.column) for field in model._meta.concrete_fields if not field.primary_key]


def _columns(model: type[models.Model], values: Mapping[str, str]) -> dict[str, str]:
    """The values in the order of the columns; a column that nobody thought of is a KeyError."""
    return {name: values[name] for name in _names(model)}


def _table(pairs: Pairs) -> str:
    """The pairs as a table; both databases call its columns column1 and column2."""
    return f"(VALUES {', '.join(['(%s, %s)'] * len(pairs))}) AS pair"


def _execute(pairs: Pairs, statement: str, parameters: Sequence[Any]) -> int:
    if not pairs:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)


def _id_of(organization: Organization) -> Any:
    """As the database stores it: SQLite has no UUIDs."""
    return organization._meta.pk.get_db_prep_value(organization.pk, connection)
