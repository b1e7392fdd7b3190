"""The organization, the stack and the image of a render URL in one query, which is compiled once.

Cached results are the most frequent requests by far, and looking up three rows with the ORM takes longer than all other
work for them. What is not found here is looked up again by `lookups`, which knows the reasons.
"""

from typing import Any

from django.db.models import FilteredRelation, Model, Q, QuerySet

from organizations.models import Organization
from rendering.grammar import DYNAMIC, RenderURL
from rendering.lookups import RowLookup
from rendering.models import Stack
from rokka.core.prepared import PreparedQuery, column_names, next_instance
from sourceimages.models import SourceImage, StoredFile
from sourceimages.models.images import FULL_HASH_LENGTH

NOT_LOADED = {"static_metadata"}  # of which only the orientation is needed: it can be large
ORIENTATION = "file__static_metadata__exif__orientation"
NO_STACK = ""  # no stack has this name
MODELS: dict[str, type[Model]] = {
    "": SourceImage,
    "file__": StoredFile,
    "organization__": Organization,
    "asked__": Stack,
}


def find_rows(url: RenderURL) -> tuple[RowLookup, Stack | None, SourceImage] | None:
    """What the URL names by a hash; None if it names an image otherwise, or if something is not found."""
    if url.image.kind != "hash":
        return None
    query = BY_HASH if len(url.image.value) == FULL_HASH_LENGTH else BY_SHORT_HASH
    row = query.first(url.organization, url.image.value, NO_STACK if url.stack == DYNAMIC else url.stack)
    if row is None:
        return None
    orientation, values = row[0], iter(row[1:])
    image = next_instance(SourceImage, values, without=NOT_LOADED)
    image.file = next_instance(StoredFile, values, without=NOT_LOADED)
    image.organization = next_instance(Organization, values, without=NOT_LOADED)
    stack = next_instance(Stack, values, without=NOT_LOADED)
    lookup = RowLookup(image.organization)
    lookup.orientations[image.file.content_hash] = orientation
    if url.stack == DYNAMIC:
        return lookup, None, image
    if stack.pk is None:
        return None
    stack.organization = image.organization
    return lookup, stack, image


def _query(hash_field: str) -> PreparedQuery:
    def build(organization: str, hash: str, stack: str) -> QuerySet[SourceImage, Any]:
        asked = FilteredRelation("organization__stacks", condition=Q(organization__stacks__name=stack))
        names = [name for prefix, model in MODELS.items() for name in column_names(model, prefix, without=NOT_LOADED)]
        images = SourceImage.objects.active().filter(organization__name=organization, **{hash_field: hash})
        return images.annotate(asked=asked).values_list(ORIENTATION, *names)

    return PreparedQuery(build, str, str, str)


BY_HASH, BY_SHORT_HASH = _query("hash"), _query("short_hash")
