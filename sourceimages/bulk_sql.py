"""SQL that copies rows within the database, without loading them in Python.

Each function takes pairs of a source row and a value of its copy, and returns the number of rows it wrote: fewer than
there are pairs if source rows were deleted in the meantime.
"""

# ruff: noqa: S608 (what is put into the statements are the names of our own tables and columns)

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any
from uuid import UUID

from django.db import connection, models
from django.utils import timezone

from organizations.audit import Actor
from organizations.models import AuditEvent, Organization
from sourceimages.models import ImageVersion, MetadataField, MetadataIndexEntry, SourceImage, StoredFile
from sourceimages.versions import FIELDS as VERSIONED

IMAGES, FILES = SourceImage._meta.db_table, StoredFile._meta.db_table
FIELDS, VERSIONS = MetadataField._meta.db_table, ImageVersion._meta.db_table

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


def copy_file_rows(keys: Pairs, destination: Organization) -> int:
    """Copy file rows; pairs of the key of the source file and the key of its copy."""
    own = {"organization_id": "%s", "key": "pair.column2", "created": "%s"} | dict.fromkeys(RESET_FIELDS, "NULL")
    columns = _columns(StoredFile, own | {name: f"file.{name}" for name in _names(StoredFile) if name not in own})
    return _execute(
        keys,
        f"INSERT INTO {FILES} ({', '.join(columns)}) SELECT {', '.join(columns.values())} "
        f"FROM {_values_clause(keys)} JOIN {FILES} file ON file.key = pair.column1 ORDER BY file.binary_hash",
        [_id_of(destination), connection.ops.adapt_datetimefield_value(timezone.now()), *chain(*keys)],
    )


def copy_image_rows(short_hashes: Pairs, destination: Organization) -> int:
    """Copy image rows; pairs of the ID of the source image and the short hash of the copy."""
    own = {"organization_id": "%s", "hash": "image.hash", "short_hash": "pair.column2"}
    columns = _columns(SourceImage, own | COLUMN_SOURCES | {"locked": "%s", "tombstone_id": "NULL"})
    return _execute(
        short_hashes,
        f"INSERT INTO {IMAGES} ({', '.join(columns)}) SELECT {', '.join(columns.values())} "
        f"FROM {_values_clause(short_hashes)} JOIN {IMAGES} image ON image.id = pair.column1 "
        f"JOIN {FILES} file ON file.organization_id = %s AND file.binary_hash = image.binary_hash ORDER BY image.hash",
        [_id_of(destination), False, *chain(*short_hashes), _id_of(destination)],
    )


def overwrite_image_rows(targets: Pairs, destination: Organization, actor: Actor) -> int:
    """Overwrite image rows; pairs of source ID and target ID. Records versions of the targets."""
    changes = ", ".join(f"{column} = {value}" for column, value in COLUMN_SOURCES.items())
    update = (
        f"UPDATE {IMAGES} AS target SET {changes} "
        f"FROM {_values_clause(targets)} JOIN {IMAGES} image ON image.id = pair.column1 "
        f"JOIN {FILES} file ON file.organization_id = %s AND file.binary_hash = image.binary_hash "
        f"WHERE target.id = pair.column2"
    )
    insert, values = _insert_overwritten_versions(targets, actor)
    parameters = [*chain(*targets), _id_of(destination)]
    if connection.vendor == "postgresql":
        # One statement sees one snapshot: the source images are not locked and may change between two.
        return _execute(targets, f"WITH version AS ({insert}) {update}", [*values, *chain(*targets), *parameters])
    _execute(targets, insert, [*values, *chain(*targets)])
    return _execute(targets, update, parameters)


def _insert_overwritten_versions(targets: Pairs, actor: Actor) -> tuple[str, list[Any]]:
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
        f"FROM {_values_clause(targets)} JOIN {IMAGES} image ON image.id = pair.column1 "
        f"JOIN {IMAGES} target ON target.id = pair.column2) old WHERE old.changed <> ''",
        parameters,
    )


def insert_created_versions(hashes: Sequence[str], destination: Organization, actor: Actor) -> int:
    """Record that a job created these copies, so that the job can be undone."""
    values, parameters = _version_values(ImageVersion.Kind.CREATED, actor)
    return _execute(
        [(hash, None) for hash in hashes],
        f'INSERT INTO {VERSIONS} (organization_id, image_id, hash, "before", {", ".join(values)}) '
        f"SELECT organization_id, id, hash, '{{}}', {', '.join(values.values())} FROM {IMAGES} "
        f"WHERE organization_id = %s AND tombstone_id IS NULL AND hash IN ({', '.join(['%s'] * len(hashes))})",
        [*parameters, _id_of(destination), *hashes],
    )


def insert_events(event: AuditEvent, hashes: Sequence[str], destination: Organization) -> int:
    """Insert an audit event for each of the images with these hashes, like the given one, which is not saved."""
    fields = [field for field in AuditEvent._meta.concrete_fields if not field.primary_key]
    own = {"target": "hash", "target_id": "CAST(id AS varchar(40))"}
    columns = _columns(AuditEvent, {str(field.column): "%s" for field in fields} | own)
    shared = [field for field in fields if field.column not in own]
    values = [field.get_db_prep_save(getattr(event, field.attname), connection) for field in shared]
    return _execute(
        [(hash, None) for hash in hashes],
        f"INSERT INTO {AuditEvent._meta.db_table} ({', '.join(columns)}) SELECT {', '.join(columns.values())} "
        f"FROM {IMAGES} WHERE organization_id = %s AND tombstone_id IS NULL "
        f"AND hash IN ({', '.join(['%s'] * len(hashes))}) ORDER BY hash",
        [*values, _id_of(destination), *hashes],
    )


def _version_values(kind: ImageVersion.Kind, actor: Actor) -> tuple[dict[str, str], list[Any]]:
    """The columns that all versions of a change share, with placeholders, and their parameters."""
    columns = dict.fromkeys(("kind", "source", "user_id", "api_key_id", "job_id"), "%s")
    ids = (actor.user.pk if actor.user else None, actor.api_key_id, actor.job_id)
    return columns, [kind.value, actor.source, *map(_uuid, ids)]


def copy_index_rows(table: type[MetadataIndexEntry], hashes: Pairs, destination: Organization) -> int:
    """Copy index entries; pairs of the ID of the source image and the hash of its copy.

    The metadata fields must exist at the destination.
    """
    name = table._meta.db_table
    return _execute(
        hashes,
        f"INSERT INTO {name} (field_id, value, image_id) SELECT field.id, original.value, image.id "
        f"FROM {_values_clause(hashes)} JOIN {name} original ON original.image_id = pair.column1 "
        f"JOIN {FIELDS} source ON source.id = original.field_id "
        f"JOIN {FIELDS} field ON field.organization_id = %s AND field.name = source.name AND field.type = source.type "
        f"JOIN {IMAGES} image ON image.organization_id = %s AND image.hash = pair.column2 "
        f"AND image.tombstone_id IS NULL",
        [*chain(*hashes), _id_of(destination), _id_of(destination)],
    )


def _names(model: type[models.Model]) -> list[str]:
    return [str(field.column) for field in model._meta.concrete_fields if not field.primary_key]


def _columns(model: type[models.Model], values: Mapping[str, str]) -> dict[str, str]:
    """The values in the order of the columns. Raises KeyError for a column without a value, such as a new one."""
    return {name: values[name] for name in _names(model)}


def _values_clause(pairs: Pairs) -> str:
    """The pairs as a table; both databases call its columns column1 and column2."""
    return f"(VALUES {', '.join(['(%s, %s)'] * len(pairs))}) AS pair"


def _execute(pairs: Pairs, statement: str, parameters: Sequence[Any]) -> int:
    if not pairs:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)


def _id_of(organization: Organization) -> Any:
    return _uuid(organization.pk)


def _uuid(value: UUID | None) -> Any:
    """The UUID as the database stores it: SQLite has no such type."""
    return Organization._meta.pk.get_db_prep_value(value, connection)
