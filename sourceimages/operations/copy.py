"""Copying images to another organization: one, a list of hashes, or a batch of a job."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import structlog
from django.db import transaction

from organizations.audit import Actor, event_of
from organizations.auth import credentials
from organizations.models import Organization
from organizations.permissions import Permission
from organizations.usage import counters
from rokka.core import failpoints
from rokka.core.database import StaleRead, retry_on_conflict
from rokka.core.errors import Conflict, DomainError
from sourceimages import bulk_sql, storage
from sourceimages.conflicts import FILE_REFERENCE, IMAGE_CONSTRAINTS
from sourceimages.errors import ExistsAtDestination, ImageLocked, ImageNotFound, ProtectedOriginal
from sourceimages.models import SourceImage, SourceImageQuerySet, StoredFile, unseen
from sourceimages.operations.delete import record_events
from sourceimages.operations.heal import DamagedFile, damaged_files, replace_by_copies
from sourceimages.operations.short_hashes import assign_short_hashes
from sourceimages.operations.staging import StagedFiles, discard_replaced
from sourceimages.operations.verify import verify_file
from sourceimages.outcomes import Outcome
from sourceimages.search import indexing
from sourceimages.stored_files import recover_missing

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CopyResult:
    """The hashes of several images, by outcome."""

    existing: list[str]
    created: list[str]
    notfound: list[str]
    protected: list[str]  # also in `notfound`


def copy_image(image: SourceImage, destination: Organization, *, overwrite: bool, actor: Actor) -> Outcome:
    """Copy the image; return CREATED or OVERWRITTEN.

    Raises ExistsAtDestination, ImageLocked, ImageNotFound, Conflict, ProtectedOriginal.
    """
    outcomes = copy_images(image.organization, [image.pk], destination, overwrite=overwrite, actor=actor)
    outcome = outcomes[image.pk]
    match outcome:
        case Outcome.NOT_PERMITTED:
            raise ProtectedOriginal(f"Image {image.hash} is protected. You don't have permission to copy it.")
        case Outcome.SKIPPED_EXISTING:
            raise ExistsAtDestination(f"Image {image.hash} already exists in {destination.name!r}.")
        case Outcome.LOCKED:
            raise ImageLocked(f"Image {image.hash} is locked in {destination.name!r}. Unlock it to overwrite it.")
        case Outcome.NOT_FOUND:
            raise ImageNotFound(f"No source image found for {image.hash!r}. The image or its file no longer exists.")
        case Outcome.HASH_COLLISION:
            raise Conflict(f"A different file with the SHA-1 {image.binary_hash} exists in {destination.name!r}.")
    return outcome


def copy_by_hashes(
    source: Organization, names: Iterable[str], destination: Organization, *, overwrite: bool, actor: Actor
) -> CopyResult:
    """Copy the active images with these hashes or short hashes in one transaction, or one by one if that fails."""
    ids: dict[str, int] = {}  # by hash
    hashes: dict[str, None] = {}  # full hashes of existing images, and unknown names, in the given order
    by_name = source.images.active().ids_by_name(set(names := list(names)))
    for name in names:
        image_id, hash = by_name.get(name, (None, name))
        hashes[hash] = None
        if image_id is not None:
            ids[hash] = image_id
    outcomes = _copy_all_or_each(source, list(ids.values()), destination, overwrite=overwrite, actor=actor)
    result = CopyResult([], [], [], [])
    for hash in hashes:
        match outcomes.get(ids[hash], Outcome.NOT_FOUND) if hash in ids else Outcome.NOT_FOUND:
            case Outcome.CREATED:
                result.created.append(hash)
            case Outcome.NOT_FOUND | Outcome.HASH_COLLISION:
                result.notfound.append(hash)
            case Outcome.NOT_PERMITTED:  # clients of rokka.io only know `notfound` for images that were not copied
                result.notfound.append(hash)
                result.protected.append(hash)
            case _:
                result.existing.append(hash)
    return result


def _copy_all_or_each(
    source: Organization, ids: Sequence[int], destination: Organization, *, overwrite: bool, actor: Actor
) -> dict[int, Outcome]:
    """The outcomes by ID, without images that failed. One that fails doesn't affect the others."""
    outcomes: dict[int, Outcome] = {}
    try:
        outcomes |= copy_images(source, ids, destination, overwrite=overwrite, actor=actor) if ids else {}
    except DomainError as error:
        log.info("copy.one_by_one", images=len(ids), reason=error.reason)
        for image_id in ids:
            try:
                outcomes |= copy_images(source, [image_id], destination, overwrite=overwrite, actor=actor)
            except DomainError as error:
                log.warning("copy.failed", image=image_id, reason=error.reason)
    return outcomes


BeforeCommit = Callable[[Mapping[int, Outcome]], bool]


def copy_images(
    source: Organization,
    ids: Sequence[int],
    destination: Organization,
    *,
    overwrite: bool,
    actor: Actor,
    before_commit: BeforeCommit = lambda outcomes: True,
) -> dict[int, Outcome]:
    """Copy the images with these IDs to another organization in one transaction; return the outcomes by ID.

    Copies have all properties except lock and aliases. Overwritten images keep their row; the replaced values are in
    their history. A job records one audit event for all its copies, other actors one for each image. Files are copied
    by the storage, then rows by the database. Protected images need the permission to download protected originals.
    `before_commit` is called with the outcomes within the transaction; if it returns False, the transaction is rolled
    back, and no outcomes are returned.
    """
    allow_protected = credentials.allows(actor, Permission.PROTECTED_ORIGINALS_DOWNLOAD, source)
    with StagedCopies(destination) as staged:
        outcomes = _stage_and_write(source, ids, staged, overwrite, allow_protected, actor, before_commit)
    discard_replaced(staged.replaced)
    return outcomes


@retry_on_conflict(*IMAGE_CONSTRAINTS, references=[FILE_REFERENCE])
def _stage_and_write(
    source: Organization,
    ids: Sequence[int],
    staged: "StagedCopies",
    overwrite: bool,
    allow_protected: bool,
    actor: Actor,
    before_commit: BeforeCommit,
) -> dict[int, Outcome]:
    """Of concurrent copies of the same image, one violates a constraint; its retry finds the other's image."""
    found = load_sources(source, ids)
    refused = {} if allow_protected else {one.id: Outcome.NOT_PERMITTED for one in found if one.protected}
    sources = [one for one in found if one.id not in refused]
    not_found = dict.fromkeys(set(ids) - {one.id for one in found}, Outcome.NOT_FOUND)
    unavailable = not_found | refused | staged.stage(sources, overwrite=overwrite)
    return _write(source, sources, unavailable, staged, overwrite, actor, before_commit)


class CopySource(NamedTuple):
    """The properties of a source image that are needed before the database copies the others."""

    id: int
    hash: str
    binary_hash: str
    key: str
    size: int  # bytes
    uploaded_sha256: str
    protected: bool


def load_sources(source: Organization, ids: Sequence[int]) -> list[CopySource]:
    """The active images with these IDs, by ascending hash, as rows are inserted in that order to avoid deadlocks."""
    columns = "id", "hash", "binary_hash", "file__key", "file__size", "file__uploaded_sha256", "protected"
    images = SourceImage.objects.active().filter(pk__one_of=ids)
    # By their ids alone: with the organization, an index of it could be read from end to end.
    rows = images.values_list(*columns, "organization")
    found = (CopySource(*row) for *row, organization in rows if organization == source.pk)
    return sorted(found, key=lambda one: one.hash)


class StagedCopies(StagedFiles):
    """Copies files to the destination."""

    def __init__(self, organization: Organization) -> None:
        super().__init__(organization)
        self.copies: dict[str, tuple[str, str]] = {}  # keys of source file and copy, by binary hash
        self.damaged: dict[str, DamagedFile] = {}  # files at the destination to repair, by binary hash
        self.replaced: list[str] = []  # keys that are no longer used

    def __enter__(self) -> "StagedCopies":
        return self

    def stage(self, sources: Sequence[CopySource], *, overwrite: bool) -> dict[int, Outcome]:
        """Copy the files that the destination lacks; return the outcomes, by ID, of images whose files can't be copied.

        Safe to call again after a conflict: files are copied once.
        """
        by_hash = {one.binary_hash: one for one in sources}
        known = self._known(by_hash)
        collisions = {hash for hash, file in known.items() if by_hash[hash].uploaded_sha256 != file.uploaded_sha256}
        needed = self._needed(sources, overwrite) if known else set()
        checked = [file for hash, file in known.items() if hash in needed and hash not in collisions]
        self.damaged = damaged_files(checked) if checked else {}
        corrupt = {by_hash[hash].key for hash in self.damaged if not _is_intact(by_hash[hash].key)}
        self.damaged = {hash: one for hash, one in self.damaged.items() if by_hash[hash].key not in corrupt}
        lacking = (by_hash.keys() - known.keys()) | self.damaged.keys()
        self.copies = {hash: pair for hash, pair in self.copies.items() if hash in lacking}
        pairs = {}
        for hash in lacking:
            key = by_hash[hash].key
            if hash not in self.copies or self.copies[hash][0] != key:  # not copied yet, or the source was replaced
                pairs[hash] = (key, storage.new_key(self.organization.pk, hash))
        self.written |= {copy_key for _, copy_key in pairs.values()}
        missing = self.storage.copy(list(pairs.values())) if pairs else set()
        if missing and (recovered := recover_missing(missing)):
            retried = [pair for pair in pairs.values() if pair[0] in recovered]
            missing = missing - recovered | self.storage.copy(retried)
        if missing and StoredFile.objects.filter(key__in=missing).count() < len(missing):
            raise StaleRead  # files were optimized in the meantime, and have new keys
        self.copies |= {hash: pair for hash, pair in pairs.items() if pair[0] not in missing}
        return {one.id: Outcome.NOT_FOUND for one in sources if one.key in missing | corrupt} | {
            one.id: Outcome.HASH_COLLISION for one in sources if one.binary_hash in collisions
        }

    def _known(self, binary_hashes: Iterable[str]) -> dict[str, StoredFile]:
        """The files that the destination has, by binary hash."""
        columns = "organization", "binary_hash", "uploaded_sha256", "key", "size", "damage"
        files = StoredFile.objects.filter(organization=unseen(self.organization)).only(*columns)
        files = files.filter(binary_hash__one_of=binary_hashes)
        return {file.binary_hash: file for file in files}

    def _needed(self, sources: Sequence[CopySource], overwrite: bool) -> set[str]:
        """Binary hashes of the images that will not be skipped."""
        hashes = [] if overwrite else [one.hash for one in sources]
        skipped = set(_active(self.organization, hashes).values_list("hash", flat=True)) if hashes else set()
        return {one.binary_hash for one in sources if one.hash not in skipped}


def _is_intact(key: str) -> bool:
    """Verify a file that is to replace a damaged one; its damage is recorded. Raises StaleRead.

    On a local storage, both keys may be hard links to the same damaged file.
    """
    file = StoredFile.objects.filter(key=key).first()
    verified = file and verify_file(file)
    if not verified:
        raise StaleRead  # it was replaced or removed in the meantime
    return not verified.damage


def _write(
    source: Organization,
    sources: Sequence[CopySource],
    unavailable: Mapping[int, Outcome],
    staged: StagedCopies,
    overwrite: bool,
    actor: Actor,
    before_commit: BeforeCommit,
) -> dict[int, Outcome]:
    """Write files, short hashes, images, audit events and counters in one transaction; return the outcomes by ID."""
    destination = staged.organization
    with transaction.atomic():
        existing = _get_existing(destination, sources, for_update=overwrite)
        outcomes = dict(unavailable)
        for one in sources:
            outcome = _outcome(existing.get(one.hash), overwrite)
            if outcome not in WRITTEN or one.id not in unavailable:
                outcomes[one.id] = outcome
        created = {one.hash: one for one in sources if outcomes[one.id] is Outcome.CREATED}
        changed = {one.id: existing[one.hash][0] for one in sources if outcomes[one.id] is Outcome.OVERWRITTEN}
        files = {one.binary_hash: one for one in sources if outcomes[one.id] in WRITTEN}
        repaired = {hash: staged.damaged[hash] for hash in files.keys() & staged.damaged.keys() & staged.copies.keys()}
        new = sorted(files.keys() & staged.copies.keys() - repaired.keys())
        # Files first, then images, each by ascending hash: or two copies of the same images deadlock.
        _check_row_count(len(new), bulk_sql.copy_file_rows([staged.copies[hash] for hash in new], destination))
        size_change = replace_by_copies(repaired, staged.copies, actor) if repaired else 0
        short_hashes = assign_short_hashes(destination, created)
        failpoints.failpoint("copy.stored")
        if actor.job_id is None and changed:
            _record_overwritten(changed.values(), source, destination, actor)
        copies = bulk_sql.copy_image_rows(
            [(created[hash].id, short) for hash, short in short_hashes.items()], destination
        )
        _check_row_count(len(created), len(copies))
        _check_row_count(len(changed), bulk_sql.overwrite_image_rows(list(changed.items()), destination, actor))
        _check_protection(sources)
        _index(source, destination, {copies[hash]: one for hash, one in created.items()}, changed, set(new))
        if actor.job_id is None:
            _record_created(copies, source, destination, actor)
        else:
            bulk_sql.insert_created_versions(copies, destination, actor)
        if not before_commit(outcomes):
            transaction.set_rollback(True)
            return {}
        counters.add(destination, images=len(created), bytes=size_change + sum(files[hash].size for hash in new))
        staged.check_deadline()
    failpoints.failpoint("copy.committed")
    staged.committed |= {staged.copies[hash][1] for hash in [*new, *repaired]}
    staged.replaced = [file.key for file, _ in repaired.values()]
    return outcomes


def _index(
    source: Organization,
    destination: Organization,
    created: Mapping[int, CopySource],
    changed: Mapping[int, int],
    new: set[str],
) -> None:
    """Index the copies, created ones by their new ID: by copying the entries of the source, if they are the same.

    They differ if the organizations have different languages, or if the destination had the file before, whose
    metadata may differ.
    """
    same_entries = indexing.have_same_entries(source, destination)
    to_copy = {one.id: pk for pk, one in created.items() if same_entries and one.binary_hash in new}
    indexing.copy(source, to_copy, destination)
    if to_copy and not indexing.have_same_entries(source, destination):
        raise StaleRead  # the language of the source was changed in the meantime
    others = created.keys() - set(to_copy.values()) | set(changed.values())
    if changed:
        indexing.remove(changed.values())
    if others:
        images = SourceImage.objects.select_related("organization", "file").filter(pk__one_of=others)
        if found := list(images):  # none if their files were deleted in the meantime: then the commit fails
            indexing.add(found)


def _active(organization: Organization, hashes: Iterable[str]) -> SourceImageQuerySet:
    """The active images with these hashes."""
    return SourceImage.objects.active().filter(organization=unseen(organization), hash__one_of=hashes)


def _get_existing(
    destination: Organization, sources: Sequence[CopySource], *, for_update: bool
) -> dict[str, tuple[int, bool]]:
    """ID and lock of the active images with these hashes at the destination, by hash."""
    images = _active(destination, [one.hash for one in sources])
    if for_update:
        images = images.order_by("id").select_for_update()
    return {hash: (id, locked) for hash, id, locked in images.values_list("hash", "id", "locked")}


def _outcome(target: tuple[int, bool] | None, overwrite: bool) -> Outcome:
    """The outcome for an image with this target, given as ID and lock, at the destination."""
    if target is None:
        return Outcome.CREATED
    if not overwrite:
        return Outcome.SKIPPED_EXISTING
    _, locked = target
    return Outcome.LOCKED if locked else Outcome.OVERWRITTEN


def _check_row_count(expected: int, written: int) -> None:
    """Raises StaleRead if source rows were deleted in the meantime."""
    if written != expected:
        raise StaleRead


def _check_protection(sources: Sequence[CopySource]) -> None:
    """Raises StaleRead if an image was protected in the meantime: copying it needs a permission."""
    unprotected = [one.id for one in sources if not one.protected]
    if SourceImage.objects.filter(pk__one_of=unprotected, protected=True).exists():
        raise StaleRead


def _record_overwritten(ids: Collection[int], source: Organization, destination: Organization, actor: Actor) -> None:
    targets = list(destination.images.filter(pk__in=ids).order_by("hash"))
    before = {target.pk: {field: _json_value(target, field) for field in bulk_sql.IMAGE_FIELDS} for target in targets}
    details = {id: {"before": before[id], "source": source.name} for id in before}
    record_events(actor, "image.overwritten", targets, details)


def _record_created(copies: Mapping[str, int], source: Organization, destination: Organization, actor: Actor) -> None:
    event = event_of(actor, "image.copied", organization=destination, details={"source": source.name})
    bulk_sql.insert_events(event, copies)


def _json_value(image: SourceImage, field: str) -> Any:
    value = getattr(image, field)
    return value.isoformat() if hasattr(value, "isoformat") else value


WRITTEN = (Outcome.CREATED, Outcome.OVERWRITTEN)
