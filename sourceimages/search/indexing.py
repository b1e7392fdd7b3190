"""The rows that are searched, written in the transaction that changes the documents they are made of."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from django.db import transaction

from organizations.models import Organization
from sourceimages import bulk_sql, ownership
from sourceimages.metadata.index_entries import NUMBER, STRING, TOKEN, Entry, build_entries
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
FIELD_CACHE_SIZE = 50_000  # fields that a process remembers

FieldKey = tuple[str, UUID, str, str]  # generation of the rows, organization, name, type
_field_ids: dict[FieldKey, int] = {}  # ids of fields that are committed; they are never removed


def language_of(organization: Organization) -> str:
    return index_state.language_in(organization.options)


def index_entries(image: SourceImage, language: str) -> set[Entry]:
    """What the image's documents say; its file has to be at hand."""
    return build_entries(image.name, image.user_metadata, image.dynamic_metadata, image.file.static_metadata, language)


def add(images: Sequence[SourceImage]) -> None:
    """Rows for new pictures of one organization."""
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
    """Rows for pictures of one organization, which are held, after their documents have changed."""
    if images:
        remove([image.pk for image in images])
        add(images)


def remove(ids: Iterable[int]) -> None:
    for table in TABLES.values():
        table.objects.filter(image_id__in=list(ids)).delete()  # type: ignore[attr-defined]


def stored_entries(images: Sequence[SourceImage]) -> dict[int, set[Entry]]:
    """The entries that the index has, by picture."""
    found: dict[int, set[Entry]] = {image.pk: set() for image in images}
    for kind, table in TABLES.items():
        rows = table.objects.filter(image_id__in=list(found))  # type: ignore[attr-defined]
        for pk, name, type, value in rows.values_list("image_id", "field__name", "field__type", "value"):
            found[pk].add(Entry(name, type, kind, value))
    return found


def have_same_entries(source: Organization, destination: Organization) -> bool:
    """Whether images of one organization have the same rows in another."""
    wanted = index_state.current_version(index_state.language_to_write(destination.pk))
    return index_state.state_of(source.pk).made_for == wanted


def copy(pairs: Sequence[tuple[int, str]], destination: Organization) -> None:
    """Rows for new pictures of the destination, by the ids of what they are copies of, and by their hash."""
    ids = [pk for pk, _ in pairs]
    used = set[tuple[str, str]]()
    for table in TABLES.values():
        fields = table.objects.filter(image_id__in=ids).values("field")  # type: ignore[attr-defined]
        used |= set(MetadataField.objects.filter(pk__in=fields).values_list("name", "type"))
    _fields(destination.pk, used)
    for table in TABLES.values():
        bulk_sql.copy_index_rows(table, pairs, destination)


def _fields(organization_id: UUID, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Ids of fields by name and type; new ones are made, in an order that everybody keeps to."""
    generation = ownership.generation()  # a restored database may have given the same ids to other fields
    keys: dict[tuple[str, str], FieldKey] = {pair: (generation, organization_id, *pair) for pair in wanted}
    found = {pair: _field_ids[key] for pair, key in keys.items() if key in _field_ids}
    missing = sorted(wanted - found.keys())
    if not missing:
        return found
    there = MetadataField.objects.filter(organization=organization_id, name__in={name for name, _ in missing})
    found |= _by_name_and_type(there)
    if new := [pair for pair in missing if pair not in found]:
        MetadataField.objects.bulk_create(
            [MetadataField(organization_id=organization_id, name=name, type=type) for name, type in new],
            ignore_conflicts=True,  # somebody else may be about to make the same
        )
        found |= _by_name_and_type(there.all())
    transaction.on_commit(lambda: _cache_fields(generation, organization_id, found))
    return found


def _by_name_and_type(fields: Iterable[MetadataField]) -> dict[tuple[str, str], int]:
    return {(field.name, field.type): field.pk for field in fields}


def _cache_fields(generation: str, organization_id: UUID, found: dict[tuple[str, str], int]) -> None:
    if len(_field_ids) > FIELD_CACHE_SIZE:
        _field_ids.clear()
    _field_ids.update({(generation, organization_id, *pair): pk for pair, pk in found.items()})


def clear_cache() -> None:
    """For tests, whose databases are emptied under this process."""
    _field_ids.clear()
