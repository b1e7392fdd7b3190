"""Write index rows, in the transaction that changes the metadata."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef

from organizations.models import Organization
from sourceimages import bulk_sql, ownership
from sourceimages.metadata.index_entries import NUMBER, STRING, TOKEN, Entry, Value, build_entries
from sourceimages.models import (
    MetadataField,
    MetadataIndexEntry,
    MetadataNumber,
    MetadataString,
    MetadataToken,
    SourceImage,
)
from sourceimages.search import index_state

TABLES: dict[str, type[MetadataIndexEntry]] = {STRING: MetadataString, TOKEN: MetadataToken, NUMBER: MetadataNumber}
FIELD_CACHE_SIZE = 50_000  # field ids cached per process

FieldKey = tuple[str, UUID, str, str]  # generation of the database, organization, name, type
_field_ids: dict[FieldKey, int] = {}  # ids of committed fields, which are never removed


def language_of(organization: Organization) -> str:
    return index_state.language_in(organization.options)


def index_entries(image: SourceImage, language: str) -> set[Entry]:
    """The index entries of the image, whose file must be loaded."""
    return build_entries(image.name, image.user_metadata, image.dynamic_metadata, image.file.static_metadata, language)


def rows_to_add(image: SourceImage, language: str) -> list[tuple[str, int, Value]]:
    """Kind, field ID and value of the rows of a new image. Fields that don't exist are created."""
    entries = index_entries(image, language)
    fields = _fields(image.organization_id, {(one.name, one.type) for one in entries})
    return [(one.kind, fields[one.name, one.type], one.value) for one in entries]


def add(images: Sequence[SourceImage]) -> None:
    """Write the rows of new images of one organization."""
    language = index_state.language_to_write(images[0].organization_id)
    found = {image.pk: index_entries(image, language) for image in images}
    fields = _fields(images[0].organization_id, {(one.name, one.type) for all in found.values() for one in all})
    for kind, table in TABLES.items():
        rows = [
            table(field_id=fields[one.name, one.type], value=one.value, image_id=pk)  # type: ignore[misc]
            for pk, all in found.items()
            for one in sorted(all)
            if one.kind == kind
        ]
        if rows:
            table.objects.bulk_create(rows)  # type: ignore[attr-defined]


def replace(images: Sequence[SourceImage]) -> None:
    """Update the rows of images of one organization, locked by the caller, after their metadata has changed."""
    if images:
        remove([image.pk for image in images])
        add(images)


def remove(ids: Collection[int]) -> None:
    for table in TABLES.values():
        table.objects.filter(image_id__one_of=ids).delete()  # type: ignore[attr-defined]


def stored_entries(images: Sequence[SourceImage]) -> dict[int, set[Entry]]:
    """The current index entries, by image."""
    found: dict[int, set[Entry]] = {image.pk: set() for image in images}
    for kind, table in TABLES.items():
        rows = table.objects.filter(image_id__in=list(found))  # type: ignore[attr-defined]
        for pk, name, type, value in rows.values_list("image_id", "field__name", "field__type", "value"):
            found[pk].add(Entry(name, type, kind, value))
    return found


def have_same_entries(source: Organization, destination: Organization) -> bool:
    """Return whether images of one organization get the same rows in the other."""
    wanted = index_state.current_version(index_state.language_to_write(destination.pk))
    return index_state.state_of(source.pk).made_for == wanted


def copy(source: Organization, ids: Mapping[int, int], destination: Organization) -> None:
    """Write the rows of new images of the destination; `ids` are those of the copies, by those of their sources."""
    if not ids:
        return
    _create_fields(source, ids, destination)
    for table in TABLES.values():
        bulk_sql.copy_index_rows(table, list(ids.items()), destination)


def _create_fields(source: Organization, ids: Iterable[int], destination: Organization) -> None:
    """Create the fields of these images of the source that the destination doesn't have."""
    existing = MetadataField.objects.filter(organization=destination, name=OuterRef("name"), type=OuterRef("type"))
    missing = source.metadata_fields.filter(~Exists(existing)).in_bulk()
    used = set[int]()
    for table in TABLES.values() if missing else ():
        rows = table.objects.filter(image_id__one_of=ids, field_id__one_of=missing)  # type: ignore[attr-defined]
        used |= set(rows.values_list("field_id", flat=True).distinct())
    _fields(destination.pk, {(missing[pk].name, missing[pk].type) for pk in used})


def _fields(organization_id: UUID, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Ids of fields by name and type. New fields are created in a fixed order, to avoid deadlocks."""
    generation = ownership.generation()  # after a restore, the same ids can belong to other fields
    keys: dict[tuple[str, str], FieldKey] = {pair: (generation, organization_id, *pair) for pair in wanted}
    found = {pair: _field_ids[key] for pair, key in keys.items() if key in _field_ids}
    missing = sorted(wanted - found.keys())
    if not missing:
        return found
    existing = MetadataField.objects.filter(organization=organization_id, name__in={name for name, _ in missing})
    found |= _by_name_and_type(existing)
    if new := [pair for pair in missing if pair not in found]:
        MetadataField.objects.bulk_create(
            [MetadataField(organization_id=organization_id, name=name, type=type) for name, type in new],
            ignore_conflicts=True,  # another transaction may create the same ones
        )
        found |= _by_name_and_type(existing.all())
    transaction.on_commit(lambda: _cache_fields(generation, organization_id, found))
    return found


def _by_name_and_type(fields: Iterable[MetadataField]) -> dict[tuple[str, str], int]:
    return {(field.name, field.type): field.pk for field in fields}


def _cache_fields(generation: str, organization_id: UUID, found: dict[tuple[str, str], int]) -> None:
    if len(_field_ids) > FIELD_CACHE_SIZE:
        _field_ids.clear()
    _field_ids.update({(generation, organization_id, *pair): pk for pair, pk in found.items()})


def clear_cache() -> None:
    """For tests, which empty the database of a running process."""
    _field_ids.clear()
