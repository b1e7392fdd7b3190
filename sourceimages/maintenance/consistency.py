"""Does what must always be true hold? Reads every row and every key, and names what contradicts.

Meant for operators, and for the last line of every test of a race or a crash.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.db.models import Count, Exists, F, OuterRef, Q, Subquery, Sum

from organizations.models import Job, Organization
from organizations.usage import counters
from rokka.core.clock import database_now
from sourceimages import grace_period, hashes, ownership, storage
from sourceimages.errors import OriginalMissing
from sourceimages.jobs import snapshot
from sourceimages.maintenance.garbage_collection import files_without_images
from sourceimages.maintenance.survey import Owners
from sourceimages.models import ImageVersion, ShortHash, SourceImage, StoredFile
from sourceimages.operations.verify import content_hash
from sourceimages.search import index_state, indexing

CHUNK = 1000  # rows read at a time


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be. `harmless`: files too many, which garbage collection will take."""

    message: str
    harmless: bool = False


def check(*, verify_checksums: bool = False) -> Iterator[Finding]:
    """Everything that is wrong; with `verify_checksums` every stored byte is hashed again, which takes its time."""
    for examine in CHECKS:
        yield from examine()
    yield from check_files(verify_checksums=verify_checksums)


def check_files(*, verify_checksums: bool) -> Iterator[Finding]:
    """Every row has its bytes, unchanged; bytes without a row are no older than the grace time."""
    originals = storage.originals()
    # Keys before rows: bytes come before their row, so a row that came meanwhile looks like nothing missing.
    held = {one.key: one for one in originals.list_objects()}
    trashed: set[str] | None = None  # listed when the first is missing
    for file in StoredFile.objects.iterator(CHUNK):
        one = held.pop(file.key, None)
        try:
            size = one.size if one else originals.size(file.key)
        except OriginalMissing:
            trashed = {lost.key for lost in originals.list_trash()} if trashed is None else trashed
            where = "; they are in the storage's trash: manage.py recover_files" if file.key in trashed else ""
            yield Finding(f"file {file.pk}: the bytes under {file.key} are missing{where}")
            continue
        if size != file.size:
            yield Finding(f"file {file.pk}: {size} bytes under {file.key}, the row says {file.size}")
        elif verify_checksums and content_hash(originals.open(file.key)) != file.content_hash:
            yield Finding(f"file {file.pk}: the bytes under {file.key} have changed")
    owners, grace_time = Owners(), grace_period.seconds()
    for stray in held.values():
        if stray.age > grace_time and owners.own(stray):
            yield Finding(f"bytes without a row under {stray.key}", harmless=True)


def remarks() -> Iterator[str]:
    """What else there is to know of the storage. None of it contradicts anything."""
    originals, owners = storage.originals(), Owners()
    sizes = [held.size for held in originals.list_trash()]
    if sizes:
        yield f"{len(sizes)} files with {sum(sizes)} bytes are in the storage's trash"
    writable = foreign = foreign_bytes = 0
    for held in originals.list_objects():
        if owners.own(held):
            writable += not held.read_only
        else:
            foreign, foreign_bytes = foreign + 1, foreign_bytes + held.size
    if foreign:
        yield f"{foreign} files with {foreign_bytes} bytes in the storage are not rokka's, and are never touched"
    if writable:
        yield f"{writable} stored files are not read-only, as they were stored by an earlier version"


def check_hashes() -> Iterator[Finding]:
    """Identity, hash and short hash agree with each other and with the table of short hashes."""
    given_out = ShortHash.objects.filter(organization=OuterRef("organization"), hash=OuterRef("hash"))
    images = SourceImage.objects.annotate(given_out=Subquery(given_out.values("short_hash")))
    for image in images.iterator(CHUNK):
        identity = hashes.identity(image.binary_hash, image.dynamic_metadata, protected=image.protected)
        if image.identity != identity:
            yield Finding(f"picture {image.pk}: its identity is {image.identity}, it should be {identity}")
        if image.given_out != image.short_hash:
            yield Finding(f"picture {image.pk}: its short hash is {image.short_hash}, given out: {image.given_out}")
        if not image.hash.startswith(image.short_hash):
            yield Finding(f"picture {image.pk}: {image.short_hash} does not begin its hash {image.hash}")


def check_denormalized_fields() -> Iterator[Finding]:
    """What a picture copies from its file is what the file says."""
    same = ["organization", "binary_hash", "size", "format", "mimetype", "width", "height"]
    differs = Q()
    for name in same:
        differs |= ~Q(**{name: F(f"file__{name}")})
    for image in SourceImage.objects.filter(differs).iterator(CHUNK):
        yield Finding(f"picture {image.pk}: it does not say the same as its file {image.file_id}")


def check_orphaned_files() -> Iterator[Finding]:
    """Files that no picture shows any more; garbage collection takes them."""
    for file in files_without_images().iterator(CHUNK):
        yield Finding(f"file {file.pk}: no picture shows it", harmless=True)


def check_owner() -> Iterator[Finding]:
    """Database and storage belong together."""
    if problem := ownership.examine().problem:
        yield Finding(problem.error.message)


def check_locked_not_deleted() -> Iterator[Finding]:
    for image in SourceImage.objects.filter(locked=True, tombstone__isnull=False).iterator(CHUNK):
        yield Finding(f"picture {image.pk}: it is locked, and deleted")


def check_unique_hashes() -> Iterator[Finding]:
    living = SourceImage.objects.active().values("organization", "hash").annotate(rows=Count("id"))
    for double in living.filter(rows__gt=1):
        yield Finding(f"organization {double['organization']}: {double['rows']} living pictures {double['hash']}")


def check_tombstone_organization() -> Iterator[Finding]:
    foreign = SourceImage.objects.exclude(tombstone=None).exclude(tombstone__organization=F("organization"))
    for image in foreign.iterator(CHUNK):
        yield Finding(f"picture {image.pk}: deleted by an act in another organization")


def check_versions() -> Iterator[Finding]:
    """History belongs to an image that exists, in the image's own organization."""
    images = SourceImage.objects.filter(pk=OuterRef("image_id"))
    for version in ImageVersion.objects.filter(~Exists(images)).iterator(CHUNK):
        yield Finding(f"version {version.pk}: there is no image {version.image_id}")
    own = images.filter(organization=OuterRef("organization"), hash=OuterRef("hash"))
    for version in ImageVersion.objects.filter(Exists(images), ~Exists(own)).iterator(CHUNK):
        yield Finding(f"version {version.pk}: the image {version.image_id} has another organization or hash")


def expected_totals(organization: Organization) -> counters.Totals:
    """What the counters should say."""
    size = organization.files.aggregate(total=Sum("size"))["total"]
    return counters.Totals(images=organization.images.active().count(), bytes=size or 0)


def check_counters() -> Iterator[Finding]:
    """The counters are what counting gives."""
    for organization in Organization.objects.iterator(CHUNK):
        counted = expected_totals(organization)
        if counters.totals(organization) != counted:
            yield Finding(f"organization {organization}: counters {counters.totals(organization)}, counted {counted}")


def check_search_index() -> Iterator[Finding]:
    """What is searched is what the documents say, in organizations whose index is not just being built."""
    building = [organization for organization, _ in index_state.stale()]
    for organization in building:
        yield Finding(f"organization {organization}: its search index is not current", harmless=True)
    languages = {one.pk: indexing.language_of(one) for one in Organization.objects.iterator(CHUNK)}
    images = SourceImage.objects.exclude(organization__in=building).select_related("file").order_by("id")
    last = 0
    while batch := list(images.filter(pk__gt=last)[:CHUNK]):
        last = batch[-1].pk
        found = indexing.stored_entries(batch)
        for image in batch:
            wanted = indexing.index_entries(image, languages[image.organization_id])
            if found[image.pk] != wanted:
                missing, wrong = len(wanted - found[image.pk]), len(found[image.pk] - wanted)
                yield Finding(f"picture {image.pk}: {missing} values missing in the index, {wrong} too many")


def check_jobs() -> Iterator[Finding]:
    """What a job has done and what it has yet to do is what it is about."""
    to_do = Count("images", filter=Q(images__message=""))
    kept = Q(finished=None) | Q(finished__gt=database_now() - snapshot.RETENTION)
    for job in Job.objects.filter(kept, frozen=True).annotate(to_do=to_do).iterator(CHUNK):
        if job.processed + job.to_do != job.total:
            yield Finding(f"job {job.pk}: {job.processed} done and {job.to_do} to do, of {job.total}")


CHECKS: list[Callable[[], Iterator[Finding]]] = [
    check_owner,
    check_hashes,
    check_denormalized_fields,
    check_orphaned_files,
    check_locked_not_deleted,
    check_unique_hashes,
    check_tombstone_organization,
    check_versions,
    check_counters,
    check_search_index,
    check_jobs,
]
