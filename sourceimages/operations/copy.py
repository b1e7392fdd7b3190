"""Copying to another organization: one picture, up to a hundred, or a batch of all of them."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import structlog
from django.db import DatabaseError, transaction

from organizations import counters
from organizations.audit import Actor
from organizations.models import Organization
from rokka import faults
from rokka.errors import Conflict, DomainError
from sourceimages import storage
from sourceimages.errors import ExistsAtDestination, ImageLocked, ImageNotFound
from sourceimages.keeping import FileKeeper, unsaved_again
from sourceimages.models import SourceImage, StoredFile
from sourceimages.operations.delete import record_of
from sourceimages.races import lost_race
from sourceimages.shorthashes import names_of

ATTEMPTS = 5

log = structlog.get_logger()


class Outcome(Enum):
    """What became of a picture at its destination."""

    CREATED = "created"
    OVERWRITTEN = "overwritten"
    EXISTING = "existing"  # was there, and was not to be overwritten
    LOCKED = "locked"  # is there, locked, and was to be overwritten
    GONE = "gone"  # its bytes were removed before they could be copied
    COLLISION = "collision"  # other bytes with the same sha1 are kept at the destination


@dataclass(frozen=True, slots=True)
class Copied:
    """What copying several pictures came to, by their hashes."""

    existing: list[str]
    created: list[str]
    notfound: list[str]


def copy_image(image: SourceImage, destination: Organization, *, overwrite: bool, actor: Actor) -> Outcome:
    """Copy the picture: CREATED or OVERWRITTEN. Raises ExistsAtDestination, ImageLocked, ImageNotFound, Conflict."""
    (outcome,) = copy_images([image], destination, overwrite=overwrite, actor=actor)
    match outcome:
        case Outcome.EXISTING:
            raise ExistsAtDestination(f"The picture {image.hash} exists in {destination.name!r}.")
        case Outcome.LOCKED:
            raise ImageLocked(f"The picture {image.hash} is locked in {destination.name!r}: it cannot be overwritten.")
        case Outcome.GONE:
            raise ImageNotFound(f"There is no picture {image.hash!r} any more.")
        case Outcome.COLLISION:
            raise Conflict(f"Other bytes with the sha1 {image.binary_hash} are kept in {destination.name!r}.")
    return outcome


def copy_named(
    source: Organization, names: Iterable[str], destination: Organization, *, overwrite: bool, actor: Actor
) -> Copied:
    """Copy the living pictures of these hashes or short hashes, each by itself: one that fails spoils no other."""
    copied = Copied([], [], [])
    for name in dict.fromkeys(names):
        image = source.images.living().select_related("organization", "file").named(name).first()
        outcome = Outcome.GONE
        if image is not None:
            try:
                (outcome,) = copy_images([image], destination, overwrite=overwrite, actor=actor)
            except DomainError as error:
                log.warning("copy.failed", hash=image.hash, reason=error.reason)
        hash = image.hash if image is not None else name
        if hash in copied.existing + copied.created + copied.notfound:
            continue  # named by hash and by short hash
        match outcome:
            case Outcome.CREATED:
                copied.created.append(hash)
            case Outcome.GONE | Outcome.COLLISION:
                copied.notfound.append(hash)
            case _:
                copied.existing.append(hash)
    return copied


def copy_images(
    images: Sequence[SourceImage],
    destination: Organization,
    *,
    overwrite: bool,
    actor: Actor,
    each_is_recorded: bool = True,
    along: Callable[[Counter[Outcome]], bool] = lambda outcomes: True,
) -> list[Outcome]:
    """Copy living pictures of one organization to another one: all of them in one transaction.

    Everything goes along but lock and aliases; what is overwritten keeps its row. Bytes are copied by the storage,
    before the rows. `along` is called within the transaction with the numbers of what was done; if it answers False,
    nothing was done after all, and there are no outcomes.
    """
    with CopyKeeper(destination) as keeper:
        for _ in range(ATTEMPTS):
            # As with uploads, unique constraints decide between two that copy the same, and the loser looks again.
            try:
                lost = keeper.keep(images, overwrite=overwrite)
                return _write(images, lost, keeper, overwrite, actor, each_is_recorded, along)
            except (DatabaseError, Overtaken) as error:
                if isinstance(error, DatabaseError) and not lost_race(error):
                    raise
                log.info("copy.lost_race", organization=destination.name)
        raise Conflict("Others are changing the same pictures at this moment. Try again.")


class Overtaken(Exception):
    """Somebody changed the destination between our look at it and our transaction."""


class CopyKeeper(FileKeeper):
    """Has the bytes of pictures copied to where the destination keeps its own."""

    def __init__(self, organization: Organization) -> None:
        super().__init__(organization)
        self.wanted: set[str] = set()  # binary hashes of what this attempt will write

    def __enter__(self) -> "CopyKeeper":
        return self

    def keep(self, images: Sequence[SourceImage], *, overwrite: bool) -> dict[int, Outcome]:
        """Copy what the destination lacks, once for each bytes; answer the pictures that cannot be copied, by id."""
        there = self._left_alone(images, overwrite)
        wanted = {image.binary_hash: image.file for image in images if image.hash not in there}
        self.wanted = set(wanted)
        known = self.known(self.wanted)
        lost: dict[int, Outcome] = {}
        pairs = {}
        for binary_hash, file in wanted.items():
            if binary_hash not in known and binary_hash not in self.kept:
                pairs[binary_hash] = (file.key, storage.new_key(self.organization.pk, binary_hash))
        missing = self.storage.copy(list(pairs.values())) if pairs else set()
        for binary_hash, (key, to) in pairs.items():
            if key not in missing:
                self.kept[binary_hash] = _copy_of(wanted[binary_hash], self.organization, to)
        for image in images:
            if image.hash in there:
                continue
            copy = known.get(image.binary_hash) or self.kept.get(image.binary_hash)
            if copy is None:
                lost[image.pk] = Outcome.GONE
            elif copy.uploaded_sha256 != image.file.uploaded_sha256:
                lost[image.pk] = Outcome.COLLISION
        return lost

    def _left_alone(self, images: Sequence[SourceImage], overwrite: bool) -> set[str]:
        """Hashes of what is at the destination and stays as it is."""
        there = _at(self.organization, images)
        return set((there.filter(locked=True) if overwrite else there).values_list("hash", flat=True))


def _at(destination: Organization, images: Sequence[SourceImage]) -> Any:
    return destination.images.living().filter(hash__in=[image.hash for image in images])


def _copy_of(file: StoredFile, organization: Organization, key: str) -> StoredFile:
    copy = StoredFile(**{field.attname: getattr(file, field.attname) for field in FILE_FIELDS})
    copy.organization, copy.key = organization, key
    return copy


def _write(
    images: Sequence[SourceImage],
    lost: dict[int, Outcome],
    keeper: CopyKeeper,
    overwrite: bool,
    actor: Actor,
    each_is_recorded: bool,
    along: Callable[[Counter[Outcome]], bool],
) -> list[Outcome]:
    """One transaction: files, short hashes, pictures, audit, counters."""
    destination = keeper.organization
    with unsaved_again(list(keeper.kept.values())), transaction.atomic():
        # Files, then pictures, each in an order that everybody keeps to, or two copies of the same deadlock.
        files = keeper.known(keeper.wanted)
        new_files = [keeper.kept[one] for one in sorted(keeper.wanted & keeper.kept.keys()) if one not in files]
        StoredFile.objects.bulk_create(new_files)
        files |= {file.binary_hash: file for file in new_files}
        there = {image.hash: image for image in _at(destination, images).hold_all()}
        outcomes = [lost.get(image.pk) or _outcome(there.get(image.hash), overwrite) for image in images]
        todo = [(image, one) for image, one in zip(images, outcomes, strict=True) if one in WRITTEN]
        used = {image.binary_hash for image, _ in todo}
        if not used <= files.keys() or not {file.binary_hash for file in new_files} <= used:
            raise Overtaken
        created = sorted((image for image, one in todo if one is Outcome.CREATED), key=lambda image: image.hash)
        names = names_of(destination, [image.hash for image in created])
        faults.point("copy.stored")
        made = [_made(image, destination, files, names[image.hash]) for image in created]
        SourceImage.objects.bulk_create(made)
        changed = [(there[image.hash], image) for image, outcome in todo if outcome is Outcome.OVERWRITTEN]
        for target, image in changed:
            if each_is_recorded:
                before = {field: _said(target, field) for field in SAID}
                record_of(actor, "image.overwritten", target, before=before, source=image.organization.name)
            _overwrite(target, image, files)
            target.save(update_fields=OVERWRITTEN)  # one by one: Django's bulk_update takes ten times as long
        if each_is_recorded:
            for target in made:
                record_of(actor, "image.copied", target, source=images[0].organization.name)
        if not along(Counter(outcomes)):
            transaction.set_rollback(True)
            return []
        counters.add(destination, images=len(made), bytes=sum(file.size for file in new_files))
        keeper.check_time()
    faults.point("copy.committed")
    keeper.needed |= {file.key for file in new_files}
    return outcomes


def _outcome(target: SourceImage | None, overwrite: bool) -> Outcome:
    if target is None:
        return Outcome.CREATED
    if not overwrite:
        return Outcome.EXISTING
    return Outcome.LOCKED if target.locked else Outcome.OVERWRITTEN


def _made(image: SourceImage, destination: Organization, files: dict[str, StoredFile], short_hash: str) -> SourceImage:
    made = SourceImage(organization=destination, hash=image.hash, short_hash=short_hash)
    _overwrite(made, image, files)
    return made


def _overwrite(target: SourceImage, image: SourceImage, files: dict[str, StoredFile]) -> None:
    """Give the target what the picture has. What it says of its file is what that says of itself."""
    target.file = file = files[image.binary_hash]
    for field in SAID:
        setattr(target, field, getattr(image, field))
    for field in OF_FILE:
        setattr(target, field, getattr(file, field))


def _said(image: SourceImage, field: str) -> Any:
    value = getattr(image, field)
    return value.isoformat() if hasattr(value, "isoformat") else value


ITS_OWN = ("id", "organization", "key", "created", "verified_at")  # of a file, and not of its copy
FILE_FIELDS = [field for field in StoredFile._meta.concrete_fields if field.name not in ITS_OWN]
WRITTEN = (Outcome.CREATED, Outcome.OVERWRITTEN)
SAID = ("identity", "name", "created", "user_metadata", "dynamic_metadata", "protected")
OF_FILE = ("binary_hash", "size", "format", "mimetype", "width", "height")
OVERWRITTEN = ("file", *SAID, *OF_FILE)
