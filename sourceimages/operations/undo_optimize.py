"""Undoing optimizations while the original files are in the storage trash."""

from datetime import datetime
from enum import StrEnum
from hashlib import file_digest

from django.db import transaction
from django.db.models import Q, QuerySet

from organizations.audit import Actor, record
from organizations.models import Organization
from organizations.usage import counters
from rokka.core import failpoints
from sourceimages import ownership, storage
from sourceimages.errors import OriginalMissing
from sourceimages.models import SourceImage, StoredFile
from sourceimages.operations.contents import Content, replace_content
from sourceimages.stored_files import move_to_trash


class Undone(StrEnum):
    """The result for a file, as the command prints it."""

    DONE = "restored"
    LOCKED = "locked"
    MISSING = "no longer in the storage trash"
    DAMAGED = "damaged in the storage trash"
    CHANGED = "changed in the meantime"


def optimized_files(
    organization: Organization | None = None, names: list[str] | None = None, *, since: datetime | None = None
) -> QuerySet[StoredFile]:
    """Optimized files whose originals may still exist; `names` are hashes of images or binary hashes."""
    files = StoredFile.objects.filter(optimized_from__isnull=False).order_by("id")
    if organization is not None:
        files = files.filter(organization=organization)
    if since is not None:
        files = files.filter(optimized_from__at__gte=since.isoformat(timespec="seconds"))
    if names:
        images = Q(pk__in=[])
        for name in names:
            images |= Q(pk__in=SourceImage.objects.by_hash(name).values("file")) | Q(binary_hash=name)
        files = files.filter(images)
    return files


def undo_optimize(file_id: int, *, actor: Actor) -> Undone:
    """Replace the optimized file by its original, and move it to the storage trash. Raises StorageMismatch."""
    file = StoredFile.objects.filter(pk=file_id, optimized_from__isnull=False).first()
    if file is None or file.optimized_from is None:
        return Undone.CHANGED
    if file.images.filter(locked=True).exists():
        return Undone.LOCKED
    ownership.check_removable()
    uploaded = Content(**{name: file.optimized_from[name] for name in Content.__slots__})
    originals = storage.originals()
    if not _recover(originals, uploaded.key):
        StoredFile.objects.filter(pk=file.pk, key=file.key).update(optimized_from=None)
        return Undone.MISSING
    failpoints.failpoint("optimize.recovered")
    # If this fails from here on, garbage collection moves the recovered file to the trash again.
    if not _is_intact(originals, uploaded):
        return Undone.DAMAGED
    outcome = _switch_back(file, uploaded, actor)
    if outcome is Undone.DONE:
        failpoints.failpoint("optimize.undone")
        move_to_trash([file.key])
    return outcome


def _recover(originals: storage.Storage, key: str) -> bool:
    """Recover the file from the trash, unless an attempt that was killed has done so; False if it is missing."""
    if originals.recover(key):
        return True
    try:
        originals.size(key)
    except OriginalMissing:
        return False
    return True


def _is_intact(originals: storage.Storage, uploaded: Content) -> bool:
    with originals.local_path(uploaded.key) as path, path.open("rb") as content:
        return path.stat().st_size == uploaded.size and file_digest(content, "sha256").hexdigest() == (
            uploaded.content_hash
        )


@transaction.atomic
def _switch_back(file: StoredFile, uploaded: Content, actor: Actor) -> Undone:
    """Point the row and its images to the original, unless the row has changed or one of the images is locked."""
    rows = StoredFile.objects.select_related("organization").select_for_update(of=("self",))
    row = rows.filter(pk=file.pk, key=file.key, optimized_from__isnull=False).first()
    if row is None:
        return Undone.CHANGED
    if any(image.locked for image in row.images.order_by("id").select_for_update()):
        return Undone.LOCKED
    before = {"format": row.format, "size": row.size}
    row.optimized_from = None
    row.static_metadata = {name: group for name, group in row.static_metadata.items() if name != "optimize"}
    size_change = replace_content(row, uploaded)
    record(
        actor,
        "file.optimize_undone",
        organization=row.organization,
        target=row.binary_hash,
        before=before,
        after={"format": row.format, "size": row.size},
    )
    counters.add(row.organization, bytes=size_change)
    return Undone.DONE
