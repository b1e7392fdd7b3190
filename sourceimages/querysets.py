"""Every way to find pictures that is used more than once. No manager hides rows: say `living()` or `in_trash()`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self
from uuid import UUID

from django.apps import apps
from django.db import models
from django.db.models import DateTimeField, Exists, ExpressionWrapper, F, OuterRef, Q
from django.db.models.functions import Greatest

from organizations.models import Job
from rokka.clock import DatabaseNow

if TYPE_CHECKING:
    from sourceimages.models import SourceImage, Tombstone  # noqa: F401 (in the base of a class below)

FULL_HASH_LENGTH = 40
HASH = re.compile(r"[0-9a-f]{1,40}\Z")


class SourceImageQuerySet(models.QuerySet["SourceImage"]):
    def living(self) -> Self:
        return self.filter(tombstone__isnull=True)

    def in_trash(self) -> Self:
        """Deleted, and not so long ago that the purge may take it at any moment."""
        return self.filter(tombstone__isnull=False, tombstone__expires_at__gt=DatabaseNow())

    def named(self, text: str) -> Self:
        """With exactly this hash or exactly this short hash; nothing in between."""
        if not HASH.match(text):
            return self.none()
        if len(text) < FULL_HASH_LENGTH:
            return self.filter(short_hash=text)
        return self.filter(hash=text)

    def ids_by_name(self, names: Iterable[str]) -> dict[str, tuple[int, str]]:
        """Id and hash of the images with these hashes or short hashes, by the name they were asked for by."""
        wanted = {name for name in names if HASH.match(name)}
        found = self.filter(Q(hash__in=wanted) | Q(short_hash__in=wanted)).values_list("id", "hash", "short_hash")
        by_name: dict[str, tuple[int, str]] = {}
        for id, hash, short_hash in found:
            by_name |= dict.fromkeys({hash, short_hash} & wanted, (id, hash))
        return by_name

    def with_bytes(self, binary_hash: str) -> Self:
        """Made of the bytes with this sha1."""
        return self.filter(binary_hash=binary_hash) if HASH.match(binary_hash) else self.none()

    def identical(self, hash: str) -> Self:
        """What an upload of this identity already is here: the same content, or the same hash from elsewhere."""
        return self.filter(Q(identity=hash) | Q(hash=hash))

    def matching(self, filters: Mapping[str, str]) -> Self:
        """Of a format, made before or after a moment, or with a name that begins so; see FILTERS."""
        found = self
        for name, value in filters.items():
            found = found.filter(FILTERS[name](value))
        return found

    def between(self, position: int, upto: int) -> Self:
        """Those whose turn it is in work that goes by id."""
        return self.filter(id__gt=position, id__lte=upto)

    def hold(self, image: SourceImage) -> SourceImage:
        """The row as it is now, locked until the transaction ends."""
        return self.select_for_update(of=("self",)).get(pk=image.pk)

    def hold_all(self) -> list[SourceImage]:
        """All rows as they are now, locked in the order that everybody locks in."""
        return list(
            self.select_related("organization", "file", "tombstone").order_by("id").select_for_update(of=("self",))
        )


def beginning_with(prefix: str) -> Q:
    """Bytewise, so that an index serves it: what begins so comes before the prefix with the last of all characters."""
    return Q(name__gte=prefix, name__lt=prefix + chr(0x10FFFF))


FILTERS: dict[str, Callable[[str], Q]] = {
    "format": lambda text: Q(format=text),
    "created_before": lambda text: Q(created__lt=datetime.fromisoformat(text)),
    "created_after": lambda text: Q(created__gt=datetime.fromisoformat(text)),
    "name": beginning_with,
}


RESTORE = "restore"  # the kind of jobs that undo a deletion, which is in their arguments


def _restored_by(jobs: models.QuerySet[Job]) -> list[UUID]:
    named = jobs.filter(kind=RESTORE).values_list("arguments__tombstone", flat=True)
    return [UUID(tombstone) for tombstone in named]


class TombstoneQuerySet(models.QuerySet["Tombstone"]):
    def restorable(self) -> Self:
        return self.filter(expires_at__gt=DatabaseNow())

    def expired(self) -> Self:
        return self.filter(expires_at__lte=DatabaseNow())

    def extend(self, time: timedelta) -> int:
        """Keep them for at least so long from now on; answer how many there are."""
        return self.update(
            expires_at=Greatest(F("expires_at"), ExpressionWrapper(DatabaseNow() + time, DateTimeField()))
        )

    def under_restore(self) -> Self:
        """Those that an unfinished job restores: not to be purged, whatever their time is."""
        return self.filter(pk__in=_restored_by(Job.objects.unfinished()))

    def left_by_restore(self) -> Self:
        """Those of which a job has restored some images and left others."""
        return self.filter(pk__in=_restored_by(Job.objects.all())).with_images()

    def with_images(self) -> Self:
        """Those that still hold a picture; a look at one of each, however many there are."""
        images = apps.get_model("sourceimages", "SourceImage").objects
        return self.filter(Exists(images.filter(tombstone=OuterRef("pk"))))
