"""The models of this app: files, images, deletions, versions, the search index, and the state of maintenance."""

from sourceimages.models.files import (
    StoredFile,
)
from sourceimages.models.images import (
    FILTERS,
    HASH,
    Alias,
    ShortHash,
    SourceImage,
    SourceImageQuerySet,
    Tombstone,
    TombstoneQuerySet,
    name_prefix,
    unseen,
)
from sourceimages.models.maintenance import (
    Instance,
    JobImage,
    MaintenanceTask,
)
from sourceimages.models.search import (
    MetadataField,
    MetadataIndexEntry,
    MetadataNumber,
    MetadataString,
    MetadataToken,
    SearchIndex,
)
from sourceimages.models.versions import (
    ImageVersion,
)

__all__ = [
    "FILTERS",
    "HASH",
    "Alias",
    "ImageVersion",
    "Instance",
    "JobImage",
    "MaintenanceTask",
    "MetadataField",
    "MetadataIndexEntry",
    "MetadataNumber",
    "MetadataString",
    "MetadataToken",
    "SearchIndex",
    "ShortHash",
    "SourceImage",
    "SourceImageQuerySet",
    "StoredFile",
    "Tombstone",
    "TombstoneQuerySet",
    "name_prefix",
    "unseen",
]
