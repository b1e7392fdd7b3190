"""Images, deletions, and their querysets. No manager hides rows: use `active()` or `in_trash()`."""

from __future__ import annotations

import re
import uuid
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Self, cast
from uuid import UUID

from django.db import models
from django.db.models import (
    CheckConstraint,
    DateTimeField,
    Exists,
    ExpressionWrapper,
    F,
    Index,
    OuterRef,
    Q,
    QuerySet,
    UniqueConstraint,
)
from django.db.models.functions import Greatest
from django.db.models.query import ValuesIterable
from django.utils import timezone

from organizations.models import Job, Organization, User
from rokka.core.clock import DatabaseNow
from rokka.core.fields import BytewiseCharField, Unseen
from rokka.core.prepared import column_names, stored_instance
from sourceimages.models.files import StoredFile

FULL_HASH_LENGTH = 40
IDS_CHUNK, CHUNK = 10_000, 500  # rows read at a time by in_chunks()
HASH = re.compile(r"[0-9a-f]{1,40}\Z")
ACTIVE = Q(tombstone__isnull=True)
KEPT_HASH = ~Q(identity=F("hash"))  # changed with `keepHash`, so that it has the hash of other content
SHOWN_OF_FILE = ("opaque", "animated", "static_metadata")  # columns of the file that the API shows


RESTORE_DELETION = "restore_deletion"  # the kind of jobs that restore a deletion, named in their params


def _restored_by(jobs: models.QuerySet[Job]) -> list[UUID]:
    ids = jobs.filter(kind=RESTORE_DELETION).values_list("params__deletion_id", flat=True)
    return [UUID(deletion_id) for deletion_id in ids]


class TombstoneQuerySet(models.QuerySet["Tombstone"]):
    def restorable(self) -> Self:
        return self.filter(expires_at__gt=DatabaseNow())

    def expired(self) -> Self:
        return self.filter(expires_at__lte=DatabaseNow())

    def extend(self, time: timedelta) -> int:
        """Let them expire no earlier than this time from now; return how many there are."""
        return self.update(
            expires_at=Greatest(F("expires_at"), ExpressionWrapper(DatabaseNow() + time, DateTimeField()))
        )

    def being_restored(self) -> Self:
        """Those that an unfinished job restores. They are never purged, even if expired."""
        return self.filter(pk__in=_restored_by(Job.objects.unfinished()))

    def partially_restored(self) -> Self:
        """Those of which a job restored some images and skipped others."""
        return self.filter(pk__in=_restored_by(Job.objects.all())).non_empty()

    def non_empty(self) -> Self:
        """Those that still have images."""
        return self.filter(Exists(SourceImage.objects.filter(tombstone=OuterRef("pk"))))


class Tombstone(models.Model):
    """A deletion of one or more images. Clearing their references to it restores them."""

    class Reason(models.TextChoices):
        API = "api", "API"
        BINARY_HASH = "binary_hash", "Binary hash"
        DELETE_ALL = "delete_all", "Delete all"
        REPLACED = "replaced"
        ADMIN = "admin"
        UNDO = "undo"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="tombstones", db_index=False)
    deleted_at = models.DateTimeField(default=timezone.now)
    deleted_by = models.ForeignKey(User, models.PROTECT, null=True, blank=True, related_name="+", db_index=False)
    expires_at = models.DateTimeField()
    reason = models.CharField(max_length=20, choices=Reason)
    purge_confirmed = models.BooleanField(default=False, db_default=False)  # a user expired it early

    objects = TombstoneQuerySet.as_manager()

    class Meta:
        verbose_name = "deletion"
        indexes = [
            Index(fields=["organization", "-deleted_at", "id"], name="tombstone_deleted_at"),
            Index(fields=["expires_at"], name="tombstone_expiry"),
        ]

    def __str__(self) -> str:
        return f"{self.reason} {self.deleted_at:%Y-%m-%d %H:%M}"


class ShownImages(ValuesIterable):
    """Instances of `with_shown_columns`: the ORM takes most of the time of a list to build them."""

    queryset: QuerySet[Any, Any]

    def __iter__(self) -> Iterator[SourceImage]:  # type: ignore[override]
        known = self.queryset._known_related_objects  # type: ignore[attr-defined]
        for row in super().__iter__():
            file = {name: row.pop(f"file__{name}") for name in SHOWN_OF_FILE}
            related: dict[str, Any] = {field.name: rows[row[field.attname]] for field, rows in known.items()}
            related["file"] = stored_instance(StoredFile, {"id": row["file_id"], **file})
            if row["tombstone_id"] is None:
                related["tombstone"] = None
            image = stored_instance(SourceImage, row)
            image._state.fields_cache = related
            yield image


class SourceImageQuerySet(models.QuerySet["SourceImage"]):
    def active(self) -> Self:
        return self.filter(tombstone__isnull=True)

    def in_trash(self) -> Self:
        """Deleted and not expired: expired ones may be purged at any time."""
        return self.filter(tombstone__isnull=False, tombstone__expires_at__gt=DatabaseNow())

    def with_shown_columns(self) -> Self:
        """With the columns of image and file that the API shows."""
        found = self.values(*column_names(SourceImage), *(f"file__{name}" for name in SHOWN_OF_FILE))
        found._iterable_class = ShownImages
        return cast(Self, found)

    def by_hash(self, text: str) -> Self:
        """With exactly this hash or short hash; other prefixes don't match."""
        if not HASH.match(text):
            return self.none()
        if len(text) < FULL_HASH_LENGTH:
            return self.filter(short_hash=text)
        return self.filter(hash=text)

    def ids_by_name(self, names: Iterable[str]) -> dict[str, tuple[int, str]]:
        """ID and hash of the images with these hashes or short hashes, by the given name."""
        wanted = {name for name in names if HASH.match(name)}
        found = self.filter(Q(hash__in=wanted) | Q(short_hash__in=wanted)).values_list("id", "hash", "short_hash")
        by_name: dict[str, tuple[int, str]] = {}
        for id, hash, short_hash in found:
            by_name |= dict.fromkeys({hash, short_hash} & wanted, (id, hash))
        return by_name

    def by_binary_hash(self, binary_hash: str) -> Self:
        """Created from the file with this SHA-1."""
        return self.filter(binary_hash=binary_hash) if HASH.match(binary_hash) else self.none()

    def same_content(self, hash: str) -> Self:
        """Images that equal an upload with this identity: of the same content, or with the same hash."""
        return self.filter(Q(hash=hash) | Q(KEPT_HASH, identity=hash))

    def filtered(self, filters: Mapping[str, str]) -> Self:
        """Filter by format, creation time or name prefix; see FILTERS."""
        queryset = self
        for name, value in filters.items():
            queryset = queryset.filter(FILTERS[name](value))
        return queryset

    def in_id_range(self, position: int, last_id: int) -> Self:
        """Images after the position, up to and including the last ID."""
        return self.filter(id__gt=position, id__lte=last_id)

    def get_for_update(self, image: SourceImage) -> SourceImage:
        """The current row, locked until the transaction ends. Raises SourceImage.DoesNotExist."""
        return self.select_for_update(of=("self",)).get(pk=image.pk)

    def list_for_update(self) -> list[SourceImage]:
        """The current rows, locked by ascending ID, as everywhere, to avoid deadlocks."""
        return list(
            self.select_related("organization", "file", "tombstone").order_by("id").select_for_update(of=("self",))
        )


def name_prefix(prefix: str) -> Q:
    """Condition for names with this prefix, as a range, so that an index can be used."""
    return Q(name__gte=prefix, name__lt=prefix + chr(0x10FFFF))


FILTERS: dict[str, Callable[[str], Q]] = {
    "format": lambda text: Q(format=text),
    "created_before": lambda text: Q(created__lt=datetime.fromisoformat(text)),
    "created_after": lambda text: Q(created__gt=datetime.fromisoformat(text)),
    "name": name_prefix,
}


class SourceImage(models.Model):
    """An image of an organization. Fields of the file are copied, so that listing images reads one table."""

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="images", db_index=False)
    file = models.ForeignKey(StoredFile, models.PROTECT, related_name="images")
    hash = BytewiseCharField(max_length=40)
    identity = BytewiseCharField(max_length=40)
    short_hash = BytewiseCharField(max_length=40)
    name = BytewiseCharField(max_length=500)
    created = models.DateTimeField(default=timezone.now)
    user_metadata = models.JSONField(default=dict, blank=True)
    dynamic_metadata = models.JSONField(default=dict, blank=True)
    protected = models.BooleanField(default=False)
    locked = models.BooleanField(default=False)
    tombstone = models.ForeignKey(
        Tombstone, models.PROTECT, null=True, blank=True, related_name="images", db_index=False
    )
    binary_hash = BytewiseCharField(max_length=40)
    size = models.BigIntegerField()
    format = BytewiseCharField(max_length=10)
    mimetype = BytewiseCharField(max_length=100)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()

    objects = SourceImageQuerySet.as_manager()

    class Meta:
        constraints = [
            UniqueConstraint(fields=["organization", "hash"], condition=ACTIVE, name="image_active_hash_unique"),
            CheckConstraint(condition=~Q(locked=True, tombstone__isnull=False), name="image_locked_is_not_deleted"),
        ]
        indexes = [
            # Read backwards, so that new images are appended. Inserting before all others leaves pages half empty.
            Index(fields=["organization", "created", "-hash", "-id"], condition=ACTIVE, name="image_created"),
            Index(fields=["organization", "identity"], condition=ACTIVE & KEPT_HASH, name="image_kept_hash"),
            Index(fields=["organization", "short_hash"], condition=ACTIVE, name="image_short_hash"),
            Index(fields=["organization", "binary_hash"], condition=ACTIVE, name="image_binary_hash"),
            Index(fields=["organization", "name", "hash", "id"], condition=ACTIVE, name="image_name"),
            Index(fields=["organization", "size", "hash", "id"], condition=ACTIVE, name="image_size"),
            Index(fields=["organization", "id"], condition=ACTIVE, name="image_in_batches"),
            Index(fields=["organization", "hash"], condition=~ACTIVE, name="image_trash_hash"),
            Index(fields=["tombstone", "id"], condition=~ACTIVE, name="image_tombstone"),
        ]

    def __str__(self) -> str:
        return f"{self.short_hash} {self.name}"

    @property
    def deleted(self) -> bool:
        return self.tombstone_id is not None


class ShortHash(models.Model):
    """The hash that a short hash stands for in an organization. Never deleted, so that it is never reassigned.

    Rows are written together with an image, whose reference to the organization the database checks, so it does not
    check that of the short hash; `check_consistency` does.
    """

    organization = models.ForeignKey(
        Organization, models.PROTECT, related_name="short_hashes", db_index=False, db_constraint=False
    )
    short_hash = BytewiseCharField(max_length=40)
    hash = BytewiseCharField(max_length=40)

    class Meta:
        verbose_name_plural = "short hashes"
        constraints = [
            UniqueConstraint(fields=["organization", "short_hash"], name="short_hash_unique"),
            UniqueConstraint(fields=["organization", "hash"], name="short_hash_once_per_hash"),
        ]

    def __str__(self) -> str:
        return self.short_hash


class Alias(models.Model):
    """A name for an image. It refers to the hash, not to the row, so that it survives a deletion."""

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="aliases", db_index=False)
    alias = BytewiseCharField(max_length=255)
    hash = BytewiseCharField(max_length=40)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "aliases"
        constraints = [UniqueConstraint(fields=["organization", "alias"], name="alias_unique")]
        indexes = [Index(fields=["organization", "hash"], name="alias_hash")]

    def __str__(self) -> str:
        return self.alias


def unseen(organization: Organization) -> Unseen:
    """The organization, to look up many rows of it; see Unseen."""
    return Unseen(organization.pk, Organization._meta.pk)


def in_chunks(images: models.QuerySet[SourceImage]) -> Iterator[SourceImage]:
    """The images in order, with their files: first all ids are read, and then CHUNK rows at a time.

    Unlike with `iterator()`, no query stays open while the caller waits. Rows that are deleted meanwhile are left out.
    """
    ids = array("q", images.values_list("pk", flat=True).iterator(IDS_CHUNK))
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK].tolist()
        rows = SourceImage.objects.select_related("file").in_bulk(part)
        yield from (rows[pk] for pk in part if pk in rows)
