"""The most frequent requests as few statements, which the database plans once.

Looking up an image is a query of the ORM that is compiled once, on every database. Adding and deleting an image are one
statement each on PostgreSQL, instead of one per table; on SQLite, where a statement is a function call, the ORM writes
the tables. Both write the same rows (tests/sourceimages/test_hot_path.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from organizations.models import AuditEvent, Organization
from organizations.usage import counters
from rokka.core.prepared import PreparedQuery, column_names, next_instance
from rokka.core.statements import Statement, insert, parameters_of
from sourceimages import hashes
from sourceimages.metadata.index_entries import NUMBER, STRING, TOKEN
from sourceimages.metadata.stemming import DEFAULT_LANGUAGE
from sourceimages.models import (
    MetadataIndexEntry,
    MetadataNumber,
    MetadataString,
    MetadataToken,
    ShortHash,
    SourceImage,
    StoredFile,
    Tombstone,
)
from sourceimages.models.images import FULL_HASH_LENGTH, HASH
from sourceimages.search import index_state

# --- Look up ----------------------------------------------------------------------------------------------------------


def active_image(organization: Organization, hash: str) -> SourceImage | None:
    """The active image with this hash or short hash, with its file."""
    if not HASH.match(hash):
        return None
    row = (BY_HASH if len(hash) == FULL_HASH_LENGTH else BY_SHORT_HASH).first(organization.pk, hash)
    if row is None:
        return None
    values = iter(row)
    image = next_instance(SourceImage, values)
    image.file, image.organization = next_instance(StoredFile, values), organization
    return image


def stored_file(organization: Organization, binary_hash: str) -> StoredFile | None:
    """The file of this content."""
    row = BY_BINARY_HASH.first(organization.pk, binary_hash)
    return None if row is None else next_instance(StoredFile, iter(row))


def _images_by(field: str) -> PreparedQuery:
    def build(organization_id: UUID, hash: str) -> QuerySet[SourceImage, Any]:
        images = SourceImage.objects.active().filter(organization=organization_id, **{field: hash})
        return images.values_list(*column_names(SourceImage), *column_names(StoredFile, "file__"))

    return PreparedQuery(build, UUID, str)


def _files_by_binary_hash(organization_id: UUID, binary_hash: str) -> QuerySet[StoredFile, Any]:
    files = StoredFile.objects.filter(organization=organization_id, binary_hash=binary_hash)
    return files.values_list(*column_names(StoredFile))


BY_HASH, BY_SHORT_HASH = _images_by("hash"), _images_by("short_hash")
BY_BINARY_HASH = PreparedQuery(_files_by_binary_hash, UUID, str)


# --- Add --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Preparation:
    """What has to be known to build the rows of an image."""

    language: str  # of the search index
    short_hash: str
    is_new: bool  # the short hash is not assigned yet


def prepare_to_add(organization: Organization, hash: str) -> Preparation | None:
    """Lock the search index and read what `add_image` needs, or None if the ORM has to write the rows.

    This is the case on SQLite, while the search index is rebuilt, and if no short hash is free. Call it in the
    transaction that adds the image.
    """
    if connection.vendor != "postgresql":
        return None
    prefixes = [hash[:length] for length in range(hashes.MIN_SHORT_HASH, hashes.MIN_SHORT_HASH + 4)]
    lock = index_state.lock_number(organization.pk)
    values = {"lock": lock, "organization": organization.pk, "hash": hash, "prefixes": prefixes}
    _, language, made_for, building, taken = PREPARE.first(values)
    wanted = index_state.current_version(language)
    if made_for != wanted or building not in ("", wanted):
        return None
    assigned = dict(pair.split() for pair in taken)
    for short_hash, full_hash in assigned.items():
        if full_hash == hash:
            return Preparation(language, short_hash, is_new=False)
    free = next((prefix for prefix in prefixes if prefix not in assigned), None)
    return None if free is None else Preparation(language, free, is_new=True)


def add_image(
    image: SourceImage, event: AuditEvent, entries: Sequence[tuple[str, int, Any]], prepared: Preparation
) -> bool:
    """Insert the image and its new file with index entries (kind, field, value), count them, and record the event.

    Returns False, without having inserted anything, if the search index was changed in the meantime.
    """
    file, organization = image.file, image.organization
    short_hash = ShortHash(organization=organization, short_hash=image.short_hash, hash=image.hash)
    values = parameters_of(file) | parameters_of(image) | parameters_of(short_hash) | parameters_of(event)
    values |= {
        "organization": organization.pk,
        "language": prepared.language,
        "index": index_state.current_version(prepared.language),
        "short_hash_is_new": prepared.is_new,
        "slot": counters.random_slot(),
        "bytes": file.size,
    }
    for kind in TABLES:
        found = sorted((field, value) for one, field, value in entries if one == kind)
        values |= {f"{kind}_fields": [field for field, _ in found], f"{kind}_values": [value for _, value in found]}
    row = ADD.first(values)
    if row is None:
        return False
    file.pk, image.pk = row
    for one in (file, image):
        one._state.adding, one._state.db = False, connection.alias
    image.file = file
    return True


TABLES: dict[str, tuple[type[MetadataIndexEntry], str]] = {
    STRING: (MetadataString, "varchar"),
    TOKEN: (MetadataToken, "varchar"),
    NUMBER: (MetadataNumber, "double precision"),
}


def _insert_entries(kind: str) -> Callable[[], str]:
    table, type = TABLES[kind]
    return lambda: (
        f"INSERT INTO {table._meta.db_table} (field_id, value, image_id) SELECT entry.field, entry.value, new_image.id "  # noqa: S608
        f"FROM new_image, unnest(%({kind}_fields)s::bigint[], %({kind}_values)s::{type}[]) AS entry (field, value)"
    )


LANGUAGE = f"COALESCE(organization.options ->> 'search_language', '{DEFAULT_LANGUAGE}')"

PREPARE = Statement(
    """
    SELECT pg_advisory_xact_lock_shared(%(lock)s), {language}, search_index.made_for, search_index.building,
        ARRAY(
            SELECT short_hash || ' ' || hash FROM sourceimages_shorthash
            WHERE organization_id = organization.id AND (hash = %(hash)s OR short_hash = ANY(%(prefixes)s))
        )
    FROM organizations_organization organization
    LEFT JOIN sourceimages_searchindex search_index ON search_index.organization_id = organization.id
    WHERE organization.id = %(organization)s
    """,
    language=lambda: LANGUAGE,
)

# The search index is checked again: what PREPARE has read may be older than its lock.
ADD = Statement(
    """
    WITH checked AS (
        SELECT FROM organizations_organization organization
        JOIN sourceimages_searchindex search_index ON search_index.organization_id = organization.id
        WHERE organization.id = %(organization)s
            AND {language} = %(language)s
            AND search_index.made_for = %(index)s AND search_index.building IN ('', %(index)s)
    ),
    new_file AS ({file} RETURNING id),
    new_image AS ({image} RETURNING id),
    short_hash AS ({short_hash}),
    strings AS ({strings}),
    tokens AS ({tokens}),
    numbers AS ({numbers}),
    event AS ({event}),
    counter AS (
        UPDATE organizations_usagecounter SET images = images + 1, bytes = bytes + %(bytes)s
        WHERE organization_id = %(organization)s AND slot = %(slot)s AND EXISTS (SELECT FROM new_image)
    )
    SELECT new_file.id, new_image.id FROM new_file, new_image
    """,
    language=lambda: LANGUAGE,
    file=insert(StoredFile, "checked"),
    image=insert(SourceImage, "new_file", file_id="new_file.id"),
    short_hash=insert(ShortHash, "new_image WHERE %(short_hash_is_new)s"),
    strings=_insert_entries(STRING),
    tokens=_insert_entries(TOKEN),
    numbers=_insert_entries(NUMBER),
    event=insert(AuditEvent, "new_image", target_id="new_image.id"),
)

# --- Delete -----------------------------------------------------------------------------------------------------------


def delete_image(image: SourceImage, tombstone: Tombstone, event: AuditEvent) -> bool:
    """Move the image to the trash by the unsaved deletion, count it, and record the event.

    Returns False, without having changed anything, if the image is locked or in the trash, and on SQLite.
    """
    if connection.vendor != "postgresql":
        return False
    values = parameters_of(tombstone) | parameters_of(event)
    values |= {
        "image": image.pk,
        "organization": image.organization_id,
        "days": settings.TRASH_RETENTION_DAYS,
        "slot": counters.random_slot(),
    }
    row = DELETE.first(values)
    if row is None:
        return False
    tombstone.deleted_at, tombstone.expires_at = row
    return True


DELETE = Statement(
    """
    WITH image AS (
        UPDATE sourceimages_sourceimage SET tombstone_id = %(sourceimages_tombstone_id)s
        WHERE id = %(image)s AND tombstone_id IS NULL AND NOT locked
        RETURNING id
    ),
    tombstone AS ({tombstone} RETURNING deleted_at, expires_at),
    event AS ({event}),
    counter AS (
        UPDATE organizations_usagecounter SET images = images - 1
        WHERE organization_id = %(organization)s AND slot = %(slot)s AND EXISTS (SELECT FROM image)
    )
    SELECT deleted_at, expires_at FROM tombstone
    """,
    tombstone=insert(
        Tombstone,
        "image",
        deleted_at="statement_timestamp()",
        expires_at="statement_timestamp() + make_interval(days => %(days)s)",
    ),
    event=insert(AuditEvent, "image"),
)
