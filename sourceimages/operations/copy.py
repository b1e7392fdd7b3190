"""Copying to another organization: one picture, up to a hundred, or a batch of all of them."""

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
from sourceimages.models import SourceImage, StoredFile
from sourceimages.operations.delete import record_events
from sourceimages.operations.heal import DamagedFile, damaged_files, replace_by_copies
from sourceimages.operations.short_hashes import assign_short_hashes
from sourceimages.operations.staging import StagedFiles, set_aside
from sourceimages.operations.verify import verify_file
from sourceimages.outcomes import Outcome
from sourceimages.search import indexing
from sourceimages.stored_files import recover_missing

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What copying several pictures came to, by their hashes."""

    existing: list[str]
    created: list[str]
    notfound: list[str]
    protected: list[str]  # of those in `notfound`


def copy_image(image: SourceImage, destination: Organization, *, overwrite: bool, actor: Actor) -> Outcome:
    """Copy the picture: CREATED or OVERWRITTEN.

    Raises ExistsAtDestination, ImageLocked, ImageNotFound, Conflict, ProtectedOriginal.
    """
    outcomes = copy_images(image.organization, [image.pk], destination, overwrite=overwrite, actor=actor)
    outcome = outcomes[image.pk]
    match outcome:
        case Outcome.NOT_PERMITTED:
            raise ProtectedOriginal(f"The image {image.hash} is protected; your roles do not allow copying it.")
        case Outcome.SKIPPED_EXISTING:
            raise ExistsAtDestination(f"The picture {image.hash} exists in {destination.name!r}.")
        case Outcome.LOCKED:
            raise ImageLocked(f"The picture {image.hash} is locked in {destination.name!r}: it cannot be overwritten.")
        case Outcome.NOT_FOUND:
            raise ImageNotFound(f"No source image found for {image.hash!r} any more.")
        case Outcome.HASH_COLLISION:
            raise Conflict(f"Other bytes with the sha1 {image.binary_hash} are kept in {destination.name!r}.")
    return outcome


def copy_by_hashes(
    source: Organization, names: Iterable[str], destination: Organization, *, overwrite: bool, actor: Actor
) -> CopyResult:
    """Copy the active images of these hashes or short hashes, all at once; each by itself if that fails."""
    found: dict[str, int] = {}  # by hash
    hashes: dict[str, None] = {}  # of those that were found, and names of those that were not, in the order of names
    by_name = source.images.active().ids_by_name(set(names := list(names)))
    for name in names:
        image_id, hash = by_name.get(name, (None, name))
        hashes[hash] = None
        if image_id is not None:
            found[hash] = image_id
    outcomes = _copy_all_or_each(source, list(found.values()), destination, overwrite=overwrite, actor=actor)
    copied = CopyResult([], [], [], [])
    for hash in hashes:
        match outcomes.get(found[hash], Outcome.NOT_FOUND) if hash in found else Outcome.NOT_FOUND:
            case Outcome.CREATED:
                copied.created.append(hash)
            case Outcome.NOT_FOUND | Outcome.HASH_COLLISION:
                copied.notfound.append(hash)
            case Outcome.NOT_PERMITTED:  # clients know no other list of what was not copied
                copied.notfound.append(hash)
                copied.protected.append(hash)
            case _:
                copied.existing.append(hash)
    return copied


def _copy_all_or_each(
    source: Organization, ids: Sequence[int], destination: Organization, *, overwrite: bool, actor: Actor
) -> dict[int, Outcome]:
    """What became of each; nothing is said of those that failed. One that fails spoils no other."""
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
    """Copy the pictures with these ids to another organization, all of them in one transaction; what became of each.

    Everything goes along but lock and aliases; what is overwritten keeps its row, and its history has what it was.
    A job writes one audit event about all that it copies, others one for each image. Bytes are copied by the storage,
    before the rows, which are copied by the database. Protected ones are copied for an actor who may download them.
    `before_commit` is called within the transaction with what became of each; if it answers False, nothing was done
    after all, and there are no outcomes.
    """
    protected_too = credentials.allows(actor, Permission.PROTECTED_ORIGINALS_DOWNLOAD, source)
    with StagedCopies(destination) as keeper:
        outcomes = _stage_and_write(source, ids, keeper, overwrite, protected_too, actor, before_commit)
    set_aside(keeper.replaced)
    return outcomes


@retry_on_conflict(*IMAGE_CONSTRAINTS, references=[FILE_REFERENCE])
def _stage_and_write(
    source: Organization,
    ids: Sequence[int],
    keeper: "StagedCopies",
    overwrite: bool,
    protected_too: bool,
    actor: Actor,
    before_commit: BeforeCommit,
) -> dict[int, Outcome]:
    """As with uploads, unique constraints decide between two that copy the same, and the loser looks again."""
    found = load_sources(source, ids)
    refused = {} if protected_too else {one.id: Outcome.NOT_PERMITTED for one in found if one.protected}
    originals = [one for one in found if one.id not in refused]
    gone = dict.fromkeys(set(ids) - {one.id for one in found}, Outcome.NOT_FOUND)
    lost = gone | refused | keeper.stage(originals, overwrite=overwrite)
    return _write(source, originals, lost, keeper, overwrite, actor, before_commit)


class CopySource(NamedTuple):
    """What has to be known of a picture, so that the database can copy the rest."""

    id: int
    hash: str
    binary_hash: str
    key: str
    size: int  # bytes
    uploaded_sha256: str
    protected: bool


def load_sources(source: Organization, ids: Sequence[int]) -> list[CopySource]:
    """Those that there are still, in the order of their hashes, which everybody keeps to who makes several."""
    columns = "id", "hash", "binary_hash", "file__key", "file__size", "file__uploaded_sha256", "protected"
    rows = source.images.active().filter(pk__in=ids).values_list(*columns)
    return sorted((CopySource(*row) for row in rows), key=lambda one: one.hash)


class StagedCopies(StagedFiles):
    """Has the bytes of pictures copied to where the destination keeps its own."""

    def __init__(self, organization: Organization) -> None:
        super().__init__(organization)
        self.copies: dict[str, tuple[str, str]] = {}  # by binary hash: the key of the bytes, and that of their copy
        self.harmed: dict[
            str, DamagedFile
        ] = {}  # by binary hash: what is kept at the destination, and has to be mended
        self.replaced: list[str] = []  # keys that no row names any more

    def __enter__(self) -> "StagedCopies":
        return self

    def stage(self, originals: Sequence[CopySource], *, overwrite: bool) -> dict[int, Outcome]:
        """Copy the bytes that the destination lacks, once; answer the pictures whose bytes cannot be had, by id."""
        wanted = {one.binary_hash: one for one in originals}
        known = self._known(wanted)
        collisions = {hash for hash, file in known.items() if wanted[hash].uploaded_sha256 != file.uploaded_sha256}
        needed = self._needed(originals, overwrite) if known else set()
        checked = [file for hash, file in known.items() if hash in needed and hash not in collisions]
        self.harmed = damaged_files(checked) if checked else {}
        damaged = {wanted[hash].key for hash in self.harmed if not _is_intact(wanted[hash].key)}
        self.harmed = {hash: one for hash, one in self.harmed.items() if wanted[hash].key not in damaged}
        lacking = (wanted.keys() - known.keys()) | self.harmed.keys()
        self.copies = {hash: pair for hash, pair in self.copies.items() if hash in lacking}
        pairs = {}
        for hash in lacking:
            key = wanted[hash].key
            if hash not in self.copies or self.copies[hash][0] != key:  # not yet, or not the bytes that it has by now
                pairs[hash] = (key, storage.new_key(self.organization.pk, hash))
        self.placed |= {to for _, to in pairs.values()}
        missing = self.storage.copy(list(pairs.values())) if pairs else set()
        if missing and (recovered := recover_missing(missing)):
            again = [pair for pair in pairs.values() if pair[0] in recovered]
            missing = missing - recovered | self.storage.copy(again)
        if missing and StoredFile.objects.filter(key__in=missing).count() < len(missing):
            raise StaleRead  # they have been rewritten, and have another key by now
        self.copies |= {hash: pair for hash, pair in pairs.items() if pair[0] not in missing}
        return {one.id: Outcome.NOT_FOUND for one in originals if one.key in missing | damaged} | {
            one.id: Outcome.HASH_COLLISION for one in originals if one.binary_hash in collisions
        }

    def _known(self, binary_hashes: Iterable[str]) -> dict[str, StoredFile]:
        """What is kept at the destination already, by binary hash."""
        columns = "organization", "binary_hash", "uploaded_sha256", "key", "size", "damage"
        files = self.organization.files.filter(binary_hash__in=list(binary_hashes)).only(*columns)
        return {file.binary_hash: file for file in files}

    def _needed(self, originals: Sequence[CopySource], overwrite: bool) -> set[str]:
        """Binary hashes of what an image at the destination is going to show: of those that exist, nothing is said."""
        hashes = [] if overwrite else [one.hash for one in originals]
        existing = self.organization.images.active().filter(hash__in=hashes).values_list("hash", flat=True)
        skipped = set(existing) if hashes else set()
        return {one.binary_hash for one in originals if one.hash not in skipped}


def _is_intact(key: str) -> bool:
    """Whether the file may take the place of a damaged one: it is read for that, and what is wrong is written down.

    On local disks both may be names of one file.
    """
    file = StoredFile.objects.filter(key=key).first()
    verified = file and verify_file(file)
    if not verified:
        raise StaleRead  # it has been rewritten or removed since we looked
    return not verified.damage


def _write(
    source: Organization,
    originals: Sequence[CopySource],
    lost: Mapping[int, Outcome],
    keeper: StagedCopies,
    overwrite: bool,
    actor: Actor,
    before_commit: BeforeCommit,
) -> dict[int, Outcome]:
    """One transaction: files, short hashes, pictures, audit, counters; files and pictures in the order of hashes."""
    destination = keeper.organization
    with transaction.atomic():
        there = _existing(destination, originals, held=overwrite)
        outcomes = dict(lost)
        for one in originals:
            outcome = _outcome(there.get(one.hash), overwrite)
            if outcome not in WRITTEN or one.id not in lost:
                outcomes[one.id] = outcome
        created = {one.hash: one for one in originals if outcomes[one.id] is Outcome.CREATED}
        changed = {one.id: there[one.hash][0] for one in originals if outcomes[one.id] is Outcome.OVERWRITTEN}
        files = {one.binary_hash: one for one in originals if outcomes[one.id] in WRITTEN}
        mended = {hash: keeper.harmed[hash] for hash in files.keys() & keeper.harmed.keys() & keeper.copies.keys()}
        new = sorted(files.keys() & keeper.copies.keys() - mended.keys())
        # Files, then pictures, each in an order that everybody keeps to, or two copies of the same deadlock.
        _check_row_count(len(new), bulk_sql.copy_file_rows([keeper.copies[hash] for hash in new], destination))
        more = replace_by_copies(mended, keeper.copies, actor) if mended else 0
        names = assign_short_hashes(destination, created)
        failpoints.failpoint("copy.stored")
        if actor.job_id is None and changed:
            _record_overwritten(changed.values(), source, destination, actor)
        _check_row_count(
            len(created), bulk_sql.copy_image_rows([(created[hash].id, names[hash]) for hash in names], destination)
        )
        _check_row_count(len(changed), bulk_sql.overwrite_image_rows(list(changed.items()), destination, actor))
        _expect_protection(source, originals)
        _index(source, destination, created, changed, set(new))
        if actor.job_id is None:
            _record_created(list(created), source, destination, actor)
        else:
            bulk_sql.insert_created_versions(list(created), destination, actor)
        if not before_commit(outcomes):
            transaction.set_rollback(True)
            return {}
        counters.add(destination, images=len(created), bytes=more + sum(files[hash].size for hash in new))
        keeper.check_deadline()
    failpoints.failpoint("copy.committed")
    keeper.needed |= {keeper.copies[hash][1] for hash in [*new, *mended]}
    keeper.replaced = [file.key for file, _ in mended.values()]
    return outcomes


def _index(
    source: Organization,
    destination: Organization,
    created: Mapping[str, CopySource],
    changed: Mapping[int, int],
    new: set[str],
) -> None:
    """What is searched of the copies: the rows of what they are copies of, unless it may say something else here.

    That is so where stems are of another language, and where the bytes were here before, and described then.
    """
    same_rows = indexing.have_same_entries(source, destination)
    alike = [(one.id, hash) for hash, one in created.items() if same_rows and one.binary_hash in new]
    indexing.copy(alike, destination)
    if alike and not indexing.have_same_entries(source, destination):
        raise StaleRead  # the source has begun to be indexed in another language
    others = created.keys() - {hash for _, hash in alike}
    indexing.remove(changed.values())
    here = destination.images.active().select_related("organization", "file")
    if images := [*here.filter(hash__in=others), *here.filter(pk__in=changed.values())]:
        indexing.add(images)


def _existing(destination: Organization, originals: Sequence[CopySource], *, held: bool) -> dict[str, tuple[int, bool]]:
    """The living pictures of these hashes at the destination: their ids, and whether they are locked."""
    images = destination.images.active().filter(hash__in=[one.hash for one in originals])
    if held:
        images = images.order_by("id").select_for_update()
    return {hash: (id, locked) for hash, id, locked in images.values_list("hash", "id", "locked")}


def _outcome(target: tuple[int, bool] | None, overwrite: bool) -> Outcome:
    """What becomes of a picture that finds this one at the destination."""
    if target is None:
        return Outcome.CREATED
    if not overwrite:
        return Outcome.SKIPPED_EXISTING
    _, locked = target
    return Outcome.LOCKED if locked else Outcome.OVERWRITTEN


def _check_row_count(wanted: int, found: int) -> None:
    """What is gone since we looked was not copied: look again."""
    if found != wanted:
        raise StaleRead


def _expect_protection(source: Organization, originals: Sequence[CopySource]) -> None:
    """An image that was protected since we looked, without another hash, is not one that anybody may copy."""
    unprotected = [one.id for one in originals if not one.protected]
    if source.images.filter(pk__in=unprotected, protected=True).exists():
        raise StaleRead


def _record_overwritten(ids: Collection[int], source: Organization, destination: Organization, actor: Actor) -> None:
    targets = list(destination.images.filter(pk__in=ids).order_by("hash"))
    before = {target.pk: {field: _json_value(target, field) for field in bulk_sql.IMAGE_FIELDS} for target in targets}
    details = {id: {"before": before[id], "source": source.name} for id in before}
    record_events(actor, "image.overwritten", targets, details)


def _record_created(hashes: Sequence[str], source: Organization, destination: Organization, actor: Actor) -> None:
    event = event_of(actor, "image.copied", organization=destination, details={"source": source.name})
    bulk_sql.insert_events(event, hashes, destination)


def _json_value(image: SourceImage, field: str) -> Any:
    value = getattr(image, field)
    return value.isoformat() if hasattr(value, "isoformat") else value


WRITTEN = (Outcome.CREATED, Outcome.OVERWRITTEN)
