"""Consistency checks over all rows and all storage keys, for operators and for tests of races and crashes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from django.db.models import Count, Exists, F, OuterRef, Q, Subquery, Sum

from organizations.models import Job, Organization
from organizations.usage import counters
from rokka.core.clock import database_now
from sourceimages import grace_period, hashes, ownership, storage
from sourceimages.errors import OriginalMissing
from sourceimages.jobs import snapshot
from sourceimages.maintenance.garbage_collection import files_without_images
from sourceimages.maintenance.survey import Owners
from sourceimages.models import ImageVersion, JobImage, MetadataField, ShortHash, SourceImage, StoredFile
from sourceimages.operations.verify import content_hash
from sourceimages.search import index_state, indexing

CHUNK = 1000  # rows read at a time


class Severity(StrEnum):
    ERROR = "ERROR"
    WARNING = "WARNING"  # scheduled tasks will resolve it


@dataclass(frozen=True, slots=True)
class Finding:
    """A violated invariant."""

    message: str
    severity: Severity = Severity.ERROR


def check(*, verify_checksums: bool = False) -> Iterator[Finding]:
    """Run all checks. `verify_checksums` also reads all stored files, which is slow."""
    for run_check in CHECKS:
        yield from run_check()
    yield from check_files(verify_checksums=verify_checksums)


def check_files(*, verify_checksums: bool) -> Iterator[Finding]:
    """Each row has its file, with the same content; no file without a row is older than the grace period."""
    originals = storage.originals()
    # List keys before reading rows: files are stored before their rows, so no file of a new row seems to be missing.
    objects = {stored.key: stored for stored in originals.list_objects()}
    trashed: set[str] | None = None  # listed when the first file is missing
    for file in StoredFile.objects.iterator(CHUNK):
        stored = objects.pop(file.key, None)
        try:
            size = stored.size if stored else originals.size(file.key)
        except OriginalMissing:
            trashed = {in_trash.key for in_trash in originals.list_trash()} if trashed is None else trashed
            hint = "; it is in the storage trash: run manage.py recover_files" if file.key in trashed else ""
            yield Finding(f"file {file.pk}: {file.key} is missing{hint}")
            continue
        if size != file.size:
            yield Finding(f"file {file.pk}: {file.key} has {size} bytes, expected {file.size}")
        elif verify_checksums and content_hash(originals.open(file.key)) != file.content_hash:
            yield Finding(f"file {file.pk}: {file.key} does not match its SHA-256")
    owners, grace_time = Owners(), grace_period.seconds()
    for orphan in objects.values():
        if orphan.age > grace_time and owners.own(orphan):
            yield Finding(f"orphaned file {orphan.key}: no row refers to it", Severity.WARNING)


def storage_notes() -> Iterator[str]:
    """Facts about the storage that are not problems."""
    originals, owners = storage.originals(), Owners()
    sizes = [stored.size for stored in originals.list_trash()]
    if sizes:
        yield f"{len(sizes)} files ({sum(sizes)} bytes) are in the storage trash."
    writable = foreign = foreign_bytes = 0
    for stored in originals.list_objects():
        if owners.own(stored):
            writable += not stored.read_only
        else:
            foreign, foreign_bytes = foreign + 1, foreign_bytes + stored.size
    if foreign:
        yield f"{foreign} files ({foreign_bytes} bytes) in the storage were not created by rokka and are ignored."
    if writable:
        yield f"{writable} stored files are not read-only: an earlier version stored them."


def check_hashes() -> Iterator[Finding]:
    """Identity, hash and short hash match each other and the table of short hashes."""
    assigned = ShortHash.objects.filter(organization=OuterRef("organization"), hash=OuterRef("hash"))
    images = SourceImage.objects.annotate(assigned=Subquery(assigned.values("short_hash")))
    for image in images.iterator(CHUNK):
        identity = hashes.identity(image.binary_hash, image.dynamic_metadata, protected=image.protected)
        if image.identity != identity:
            yield Finding(f"image {image.pk}: identity is {image.identity}, expected {identity}")
        if image.assigned != image.short_hash:
            yield Finding(f"image {image.pk}: short hash is {image.short_hash}, but {image.assigned} is assigned")
        if not image.hash.startswith(image.short_hash):
            yield Finding(f"image {image.pk}: short hash {image.short_hash} is not a prefix of hash {image.hash}")


def check_denormalized_fields() -> Iterator[Finding]:
    """Fields that an image copies from its file have the same values."""
    copied = ["organization", "binary_hash", "size", "format", "mimetype", "width", "height"]
    differs = Q()
    for name in copied:
        differs |= ~Q(**{name: F(f"file__{name}")})
    for image in SourceImage.objects.filter(differs).iterator(CHUNK):
        yield Finding(f"image {image.pk}: fields differ from those of its file {image.file_id}")


def check_orphaned_files() -> Iterator[Finding]:
    """Each row of a file belongs to an image; garbage collection removes the others."""
    for file in files_without_images().iterator(CHUNK):
        yield Finding(f"file {file.pk}: no image refers to it", Severity.WARNING)


def check_owner() -> Iterator[Finding]:
    """Database and storage belong together."""
    if problem := ownership.examine().problem:
        yield Finding(problem.error.message)


def check_locked_not_deleted() -> Iterator[Finding]:
    for image in SourceImage.objects.filter(locked=True, tombstone__isnull=False).iterator(CHUNK):
        yield Finding(f"image {image.pk}: is both locked and in the trash")


def check_unique_hashes() -> Iterator[Finding]:
    counts = SourceImage.objects.active().values("organization", "hash").annotate(rows=Count("id"))
    for duplicate in counts.filter(rows__gt=1):
        yield Finding(
            f"organization {duplicate['organization']}: {duplicate['rows']} active images "
            f"have the hash {duplicate['hash']}"
        )


def check_tombstone_organization() -> Iterator[Finding]:
    foreign = SourceImage.objects.exclude(tombstone=None).exclude(tombstone__organization=F("organization"))
    for image in foreign.iterator(CHUNK):
        yield Finding(f"image {image.pk}: belongs to a deletion of another organization")


def check_references() -> Iterator[Finding]:
    """References that the database does not check, except those that other checks compare."""
    for model, name, target in ((ShortHash, "organization", Organization), (JobImage, "job", Job)):
        exists = Exists(target._default_manager.filter(pk=OuterRef(f"{name}_id")))
        if count := model._default_manager.filter(~exists).count():
            yield Finding(f"{model._meta.db_table}: {count} rows refer to no {name}")


def check_versions() -> Iterator[Finding]:
    """Each version belongs to an existing image, and has its organization and hash."""
    images = SourceImage.objects.filter(pk=OuterRef("image_id"))
    for version in ImageVersion.objects.filter(~Exists(images)).iterator(CHUNK):
        yield Finding(f"version {version.pk}: image {version.image_id} does not exist")
    own = images.filter(organization=OuterRef("organization"), hash=OuterRef("hash"))
    for version in ImageVersion.objects.filter(Exists(images), ~Exists(own)).iterator(CHUNK):
        yield Finding(f"version {version.pk}: image {version.image_id} has a different organization or hash")


def expected_totals(organization: Organization) -> counters.Totals:
    """The totals that the usage counters should have, counted from the rows."""
    size = organization.files.aggregate(total=Sum("size"))["total"]
    return counters.Totals(images=organization.images.active().count(), bytes=size or 0)


def check_counters() -> Iterator[Finding]:
    """Usage counters match the rows."""
    for organization in Organization.objects.iterator(CHUNK):
        expected = expected_totals(organization)
        if counters.totals(organization) != expected:
            yield Finding(
                f"organization {organization}: counters are {counters.totals(organization)}, expected {expected}"
            )


def check_search_index() -> Iterator[Finding]:
    """Index entries match the metadata of the images, except while an index is being rebuilt."""
    building = [organization for organization, _ in index_state.stale()]
    for organization in building:
        yield Finding(f"organization {organization}: search index is being rebuilt", Severity.WARNING)
    languages = {one.pk: indexing.language_of(one) for one in Organization.objects.iterator(CHUNK)}
    images = SourceImage.objects.exclude(organization__in=building).select_related("file").order_by("id")
    last = 0
    while batch := list(images.filter(pk__gt=last)[:CHUNK]):
        last = batch[-1].pk
        stored = indexing.stored_entries(batch)
        for image in batch:
            expected = indexing.index_entries(image, languages[image.organization_id])
            if stored[image.pk] != expected:
                missing, extra = len(expected - stored[image.pk]), len(stored[image.pk] - expected)
                yield Finding(f"image {image.pk}: {missing} index entries missing, {extra} unexpected")
    for table in indexing.TABLES.values():
        for name, model in (("image", SourceImage), ("field", MetadataField)):
            exists = Exists(model._default_manager.filter(pk=OuterRef(f"{name}_id")))
            if count := table.objects.filter(~exists).count():  # type: ignore[attr-defined]
                yield Finding(f"{table._meta.db_table}: {count} entries refer to no {name}")


def check_jobs() -> Iterator[Finding]:
    """The processed and the pending images of a job add up to its total."""
    pending = Count("images", filter=Q(images__message=""))
    retained = Q(finished=None) | Q(finished__gt=database_now() - snapshot.RETENTION)
    for job in Job.objects.filter(retained, frozen=True).annotate(pending=pending).iterator(CHUNK):
        if job.processed + job.pending != job.total:
            yield Finding(f"job {job.pk}: {job.processed} processed and {job.pending} pending, expected {job.total}")


CHECKS: list[Callable[[], Iterator[Finding]]] = [
    check_owner,
    check_hashes,
    check_denormalized_fields,
    check_orphaned_files,
    check_locked_not_deleted,
    check_unique_hashes,
    check_tombstone_organization,
    check_references,
    check_versions,
    check_counters,
    check_search_index,
    check_jobs,
]
