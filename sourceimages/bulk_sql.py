"""SQL that copies rows within the database, without loading them in Python.

Functions take pairs of a source row and a value of its copy, and return the number of rows they wrote: fewer than there
are pairs if source rows were deleted in the meantime.

Plans don't depend on statistics, which know nothing of an organization that was empty a minute ago. Pairs are one
parameter, of which PostgreSQL assumes that there are a hundred, so that it looks up a row for each. The organization is
a subquery, so that it plans for an average one (rokka.core.fields.Unseen).
"""

# ruff: noqa: S608 (what is put into the statements are the names of our own tables and columns)

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connection, models
from django.utils import timezone

from organizations.audit import Actor
from organizations.models import AuditEvent, Organization
from sourceimages.models import ImageVersion, MetadataField, MetadataIndexEntry, ShortHash, SourceImage, StoredFile
from sourceimages.versions import FIELDS as VERSIONED

IMAGES, FILES = SourceImage._meta.db_table, StoredFile._meta.db_table
FIELDS, VERSIONS = MetadataField._meta.db_table, ImageVersion._meta.db_table
SHORT_HASHES = ShortHash._meta.db_table

# Fields that a copy takes from the source image and from the file at the destination. Not the lock.
IMAGE_FIELDS = ("identity", "name", "created", "user_metadata", "dynamic_metadata", "protected")
FILE_FIELDS = ("binary_hash", "size", "format", "mimetype", "width", "height")
RESET_FIELDS = ("content_since", "verified_at", "optimize_started_at", "optimized_from")  # of a new file
COLUMN_SOURCES = {
    "file_id": "file.id",
    **{column: f"image.{column}" for column in IMAGE_FIELDS},
    **{column: f"file.{column}" for column in FILE_FIELDS},
}

# A column's value as JSON text.
AS_JSON = {
    "postgresql": dict.fromkeys(VERSIONED, "CAST(to_jsonb({}) AS text)"),
    "sqlite": dict.fromkeys(VERSIONED, "json_quote({})")
    | {"user_metadata": "{}", "dynamic_metadata": "{}", "protected": "iif({}, 'true', 'false')"},
}

Pairs = Sequence[tuple[Any, Any]]
ID, TEXT = "bigint", "varchar"


def copy_file_rows(keys: Pairs, destination: Organization) -> int:
    """Copy file rows; pairs of the key of the source file and the key of its copy."""
    own = {"organization_id": "%s", "key": "pair.column2", "created": "%s"} | dict.fromkeys(RESET_FIELDS, "NULL")
    columns = _columns(StoredFile, own | {name: f"file.{name}" for name in _names(StoredFile) if name not in own})
    return _execute(
        keys,
        f"INSERT INTO {FILES} ({', '.join(columns)}) SELECT {', '.join(columns.values())} "
        f"FROM {_pairs(TEXT, TEXT)} JOIN {FILES} file ON file.key = pair.column1 ORDER BY file.binary_hash",
        [_id_of(destination), connection.ops.adapt_datetimefield_value(timezone.now()), keys],
    )


def insert_short_hashes(hashes: Pairs, organization: Organization) -> int:
    """Assign short hashes; pairs of the short and the full hash."""
    return _execute(
        hashes,
        f"INSERT INTO {SHORT_HASHES} (organization_id, short_hash, hash) "
        f"SELECT %s, pair.column1, pair.column2 FROM {_pairs(TEXT, TEXT)}",
        [_id_of(organization), hashes],
    )


def copy_image_rows(short_hashes: Pairs, destination: Organization) -> dict[str, int]:
    """Copy image rows; pairs of the ID of the source image and the short hash of the copy. Returns new IDs by hash."""
    own = {"organization_id": "%s", "hash": "image.hash", "short_hash": "pair.column2"}
    columns = _columns(SourceImage, own | COLUMN_SOURCES | {"locked": "%s", "tombstone_id": "NULL"})
    if not short_hashes:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {IMAGES} ({', '.join(columns)}) SELECT {', '.join(columns.values())} "
            f"FROM {_pairs(ID, TEXT)} JOIN {IMAGES} image ON image.id = pair.column1 "
            f"JOIN {FILES} file ON file.organization_id = (SELECT %s) AND file.binary_hash = image.binary_hash "
            "ORDER BY image.hash RETURNING hash, id",
            [_id_of(destination), False, json.dumps(short_hashes), _id_of(destination)],
        )
        return dict(cursor.fetchall())


def overwrite_image_rows(targets: Pairs, destination: Organization, actor: Actor) -> int:
    """Overwrite image rows; pairs of source ID and target ID. Records versions of the targets."""
    changes = ", ".join(f"{column} = {value}" for column, value in COLUMN_SOURCES.items())
    update = (
        f"UPDATE {IMAGES} AS target SET {changes} "
        f"FROM {_pairs(ID, ID)} JOIN {IMAGES} image ON image.id = pair.column1 "
        f"JOIN {FILES} file ON file.organization_id = (SELECT %s) AND file.binary_hash = image.binary_hash "
        f"WHERE target.id = pair.column2"
    )
    insert, values = _insert_overwritten_versions(actor)
    parameters = [targets, _id_of(destination)]
    if connection.vendor == "postgresql":
        # One statement sees one snapshot: the source images are not locked and may change between two.
        return _execute(targets, f"WITH version AS ({insert}) {update}", [*values, targets, *parameters])
    _execute(targets, insert, [*values, targets])
    return _execute(targets, update, parameters)


def _insert_overwritten_versions(actor: Actor) -> tuple[str, list[Any]]:
    """A statement that records the fields of the targets that will change, and its first parameters.

    The JSON is concatenated as text: merging objects in the databases would lose nulls, or merge nested objects.
    """
    changed = " || ".join(
        f"CASE WHEN target.{name} <> image.{name} THEN ',\"{name}\":' || {text.format(f'target.{name}')} ELSE '' END"
        for name, text in AS_JSON[connection.vendor].items()
    )
    before = "'{' || substr(old.changed, 2) || '}'"
    if connection.vendor == "postgresql":
        before = f"CAST({before} AS jsonb)"
    values, parameters = _version_values(ImageVersion.Kind.OVERWRITTEN, actor)
    return (
        f'INSERT INTO {VERSIONS} (organization_id, image_id, hash, "before", {", ".join(values)}) '
        f"SELECT old.organization_id, old.id, old.hash, {before}, {', '.join(values.values())} "
        f"FROM (SELECT target.organization_id, target.id, target.hash, {changed} AS changed "
        f"FROM {_pairs(ID, ID)} JOIN {IMAGES} image ON image.id = pair.column1 "
        f"JOIN {IMAGES} target ON target.id = pair.column2) old WHERE old.changed <> ''",
        parameters,
    )


def insert_created_versions(images: Mapping[str, int], destination: Organization, actor: Actor) -> int:
    """Record that a job created these copies, given as IDs by hash, so that the job can be undone."""
    values, parameters = _version_values(ImageVersion.Kind.CREATED, actor)
    pairs = list(images.items())
    return _execute(
        pairs,
        f'INSERT INTO {VERSIONS} (organization_id, hash, image_id, "before", {", ".join(values)}) '
        f"SELECT %s, pair.column1, pair.column2, '{{}}', {', '.join(values.values())} FROM {_pairs(TEXT, ID)}",
        [_id_of(destination), *parameters, pairs],
    )


def insert_events(event: AuditEvent, images: Mapping[str, int]) -> int:
    """Insert an audit event for each of the images, given as IDs by hash, like the given one, which is not saved."""
    fields = [field for field in AuditEvent._meta.concrete_fields if not field.primary_key]
    own = {"target": "pair.column1", "target_id": "CAST(pair.column2 AS varchar(40))"}
    columns = _columns(AuditEvent, {str(field.column): "%s" for field in fields} | own)
    shared = [field for field in fields if field.column not in own]
    values = [field.get_db_prep_save(getattr(event, field.attname), connection) for field in shared]
    pairs = list(images.items())
    return _execute(
        pairs,
        f"INSERT INTO {AuditEvent._meta.db_table} ({', '.join(columns)}) SELECT {', '.join(columns.values())} "
        f"FROM {_pairs(TEXT, ID)} ORDER BY pair.column1",
        [*values, pairs],
    )


def _version_values(kind: ImageVersion.Kind, actor: Actor) -> tuple[dict[str, str], list[Any]]:
    """The columns that all versions of a change share, with placeholders, and their parameters."""
    columns = dict.fromkeys(("kind", "source", "user_id", "api_key_id", "job_id"), "%s")
    ids = (actor.user.pk if actor.user else None, actor.api_key_id, actor.job_id)
    return columns, [kind.value, actor.source, *map(_uuid, ids)]


def copy_index_rows(table: type[MetadataIndexEntry], images: Pairs, destination: Organization) -> int:
    """Copy index entries; pairs of the ID of the source image and the ID of its copy.

    The metadata fields must exist at the destination.
    """
    name = table._meta.db_table
    return _execute(
        images,
        # Materialized, so that entries are looked up by image, never by field.
        f"WITH entry AS MATERIALIZED (SELECT original.field_id, original.value, pair.column2 AS image_id "
        f"FROM {_pairs(ID, ID)} JOIN {name} original ON original.image_id = pair.column1) "
        f"INSERT INTO {name} (field_id, value, image_id) SELECT field.id, entry.value, entry.image_id "
        f"FROM entry JOIN {FIELDS} source ON source.id = entry.field_id "
        f"JOIN {FIELDS} field ON field.organization_id = (SELECT %s) "
        f"AND field.name = source.name AND field.type = source.type",
        [images, _id_of(destination)],
    )


def _names(model: type[models.Model]) -> list[str]:
    return [str(field.column) for field in model._meta.concrete_fields if not field.primary_key]


def _columns(model: type[models.Model], values: Mapping[str, str]) -> dict[str, str]:
    """The values in the order of the columns. Raises KeyError for a column without a value, such as a new one."""
    return {name: values[name] for name in _names(model)}


def _pairs(first: str, second: str) -> str:
    """A table of the pairs in a parameter, which is JSON, with columns of these types."""
    if connection.vendor == "postgresql":
        columns = f"CAST(value ->> 0 AS {first}) AS column1, CAST(value ->> 1 AS {second}) AS column2"
        return f"(SELECT {columns} FROM json_array_elements(%s)) AS pair"
    columns = "json_extract(value, '$[0]') AS column1, json_extract(value, '$[1]') AS column2"
    return f"(SELECT {columns} FROM json_each(%s)) AS pair"


def _execute(pairs: Pairs, statement: str, parameters: Sequence[Any]) -> int:
    """Execute a statement if there are pairs, and return the number of rows. Its parameters can contain the pairs."""
    if not pairs:
        return 0
    encoded = json.dumps(pairs)
    with connection.cursor() as cursor:
        cursor.execute(statement, [encoded if one is pairs else one for one in parameters])
        return int(cursor.rowcount)


def _id_of(organization: Organization) -> Any:
    return _uuid(organization.pk)


def _uuid(value: UUID | None) -> Any:
    """The UUID as the database stores it: SQLite has no such type."""
    return Organization._meta.pk.get_db_prep_value(value, connection)
