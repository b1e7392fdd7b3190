"""Adding pictures: bytes before rows, so that a crash leaves at most bytes without a row, never a row without bytes."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction

from organizations.audit import Actor, record
from organizations.models import Organization
from organizations.usage import counters
from rokka.core import failpoints
from rokka.core.database import StaleRead, retry_on_conflict
from rokka.core.errors import DomainError, Unavailable
from sourceimages import metadata, probing, storage, versions
from sourceimages.conflicts import FILE_REFERENCE, IMAGE_CONSTRAINTS
from sourceimages.errors import FormatNotAllowed, HashCollision, ImageLocked, UnreadableImage
from sourceimages.models import ImageVersion, SourceImage, StoredFile
from sourceimages.operations.dominant_colors import next_attempt
from sourceimages.operations.heal import (
    Reason,
    Replacement,
    forget_options,
    replace_files,
    replacement_reason,
)
from sourceimages.operations.short_hashes import assign_short_hashes
from sourceimages.operations.staging import StagedFiles, set_aside
from sourceimages.probing import Probe
from sourceimages.search import indexing
from sourceimages.uploads.filename import or_default
from sourceimages.uploads.upload import Upload

PROBE_BUDGET_SECONDS = 20  # for telling what all files of a request are
OPTIMIZABLE = {"tif", "psd"}
TEXT = {"txt", "csv"}  # formats without a signature: anything that can be read as text is one
TEXT_NAMES = {  # endings of the names of text
    *("txt", "text", "log", "md", "markdown", "rst", "csv", "tsv", "tab", "psv", "json", "jsonl", "ndjson", "geojson"),
    *("yaml", "yml", "toml", "ini", "cfg", "conf", "properties", "srt", "vtt", "ics", "vcf", "bib", "tex", "cube"),
    *("css", "sql", "diff", "patch"),
}


@dataclass(frozen=True, slots=True)
class UploadResult:
    """The picture that an upload is now; `created` tells whether this upload made it."""

    upload: Upload
    image: SourceImage
    created: bool


def add_images(
    organization: Organization, uploads: Sequence[Upload], *, can_update: bool, actor: Actor
) -> list[UploadResult]:
    """Add the uploads to the organization, all or none, and answer in their order.

    The same content twice is the same picture: it keeps its name, and metadata fields that the upload mentions are
    set, unless `can_update` is false. If its stored file is lost or rotten, this one takes its place (`heal`). Raises
    what `probing` raises, FormatNotAllowed, HashCollision, ImageLocked.
    """
    failpoints.failpoint("upload.spooled")
    with StagedUploads(organization, can_update=can_update) as keeper:
        return _stage_and_insert(organization, uploads, keeper, can_update=can_update, actor=actor)


@retry_on_conflict(*IMAGE_CONSTRAINTS, references=[FILE_REFERENCE])
def _stage_and_insert(
    organization: Organization, uploads: Sequence[Upload], keeper: "StagedUploads", *, can_update: bool, actor: Actor
) -> list[UploadResult]:
    """Unique constraints decide between uploads of the same content: the loser reads again, and finds it there."""
    files = keeper.stage(uploads)
    added = _insert(organization, uploads, files, keeper, can_update=can_update, actor=actor)
    keeper.set_aside_replaced()
    return added


class StagedUploads(StagedFiles):
    """Keeps the bytes of uploads, after telling what they are."""

    def __init__(self, organization: Organization, *, can_update: bool) -> None:
        super().__init__(organization)
        self.can_update = can_update
        self.keys: dict[str, str] = {}  # by binary hash: where this request has put its bytes
        self.kept: dict[str, StoredFile] = {}  # by binary hash: unsaved rows for them
        self.probes: dict[str, Probe] = {}  # by binary hash
        self.replacements: list[Replacement] = []  # of files that we had
        self.optimization_cancelled: list[int] = []  # ids of files that shall not be optimized any more
        self.replaced: list[str] = []  # keys that no row names any more

    def __enter__(self) -> "StagedUploads":
        return self

    def stage(self, uploads: Sequence[Upload]) -> list[StoredFile]:
        """For each upload the row of a file we had, or an unsaved one for a file that is in its place now.

        `replacements` are what has to take the place of files that we had.
        """
        there = self.organization.files.filter(binary_hash__in={upload.file.sha1 for upload in uploads})
        known = {file.binary_hash: file for file in there}
        for upload in uploads:
            _check_same(upload, known.get(upload.file.sha1))
        # Of the same content twice in a request, the one with an option to optimize speaks for both.
        by_hash = {upload.file.sha1: upload for upload in sorted(uploads, key=lambda upload: bool(upload.optimize_to))}
        whys = {sha1: self._replacement_reason(file, by_hash[sha1]) for sha1, file in known.items()}
        wanted = {sha1: upload for sha1, upload in by_hash.items() if whys.get(sha1, True)}
        for sha1, upload in wanted.items():
            if sha1 not in self.probes:
                self.probes[sha1] = _probed(upload, seconds=self.since + PROBE_BUDGET_SECONDS - time.monotonic())
        for upload in uploads:
            had = known.get(upload.file.sha1)
            _check_name(upload, had.format if had else self.probes[upload.file.sha1].format)
        failpoints.failpoint("upload.probed")
        for sha1, upload in wanted.items():
            key = self._put(upload)
            if sha1 not in known and sha1 not in self.kept:
                self.kept[sha1] = self._new_stored_file(upload, self.probes[sha1], key)
        failpoints.failpoint("upload.stored")
        self.replacements = [
            self._replacement(known[sha1], why, by_hash[sha1]) for sha1, why in whys.items() if why is not None
        ]
        self.optimization_cancelled = [
            file.pk
            for sha1, file in known.items()
            if self.can_update and file.optimize_to and not by_hash[sha1].optimize_to
        ]
        files = [known.get(upload.file.sha1) or self.kept[upload.file.sha1] for upload in uploads]
        for upload, file in zip(uploads, files, strict=True):
            _check_same(upload, file)
            metadata.check_bounds(upload.dynamic_metadata, file.width, file.height)
            upload.name = or_default(upload.name, file.format)
        return files

    def set_aside_replaced(self) -> None:
        """The transaction is through: what no row names any more goes."""
        set_aside(self.replaced)

    def _replacement_reason(self, file: StoredFile, upload: Upload) -> Reason | None:
        return replacement_reason(file, as_sent=self.can_update and not upload.optimize_to)

    def _put(self, upload: Upload) -> str:
        """The key of the bytes, which are moved to their place once, whatever comes to name them."""
        sha1 = upload.file.sha1
        if sha1 not in self.keys:
            key = storage.new_key(self.organization.pk, sha1)
            self.placed.add(key)
            self.storage.put(upload.file.path, key)
            self.keys[sha1] = key
        return self.keys[sha1]

    def _replacement(self, file: StoredFile, why: Reason, upload: Upload) -> Replacement:
        probe = self.probes[file.binary_hash]
        return Replacement(
            file,
            why,
            self.keys[file.binary_hash],
            probe=None if file.as_uploaded else probe,
            optimize_to=upload.optimize_to if probe.format in OPTIMIZABLE else "",
        )

    def _new_stored_file(self, upload: Upload, probe: Probe, key: str) -> StoredFile:
        return StoredFile(
            organization=self.organization,
            binary_hash=upload.file.sha1,
            uploaded_size=upload.file.size,
            uploaded_sha256=upload.file.sha256,
            key=key,
            size=upload.file.size,
            content_hash=upload.file.sha256,
            format=probe.format,
            mimetype=probe.mimetype,
            width=probe.width,
            height=probe.height,
            opaque=probe.opaque,
            animated=probe.animated,
            static_metadata=probe.static_metadata,
            colors_pending=probe.format in probing.FORMATS_WITH_COLORS,
            optimize_to=upload.optimize_to if probe.format in OPTIMIZABLE else "",
            read_again_at=next_attempt(probe),
        )


def _check_same(upload: Upload, file: StoredFile | None) -> None:
    """Two different files with the same sha1 must not become one."""
    if file and (file.uploaded_size, file.uploaded_sha256) != (upload.file.size, upload.file.sha256):
        raise HashCollision(f"{upload.file.label}: another file with the sha1 {upload.file.sha1} is kept here.")


def _check_name(upload: Upload, format: str) -> None:
    """Text has no signature, so a file is text only if its name says so too: a broken image could be read as one."""
    ending = upload.name.rpartition(".")[2].lower() if "." in upload.name else ""
    if format in TEXT and ending not in TEXT_NAMES:
        named = f"its name ends in .{ending[:20]}" if ending else "its name has no ending"
        raise FormatNotAllowed(
            f"{upload.file.label}: The content is plain text, but {named}. Give text a name that ends in .txt or .csv."
        )


def _probed(upload: Upload, *, seconds: float) -> Probe:
    if seconds <= 0:  # a few files made to be slow must not keep the readers from everybody else
        raise Unavailable("Reading the files of this request takes too long. Send fewer at a time.")
    try:
        probe = probing.probe(upload.file.path, seconds=seconds)
    except DomainError as error:
        raise type(error)(f"{upload.file.label}: {error.message}", **error.details) from error
    if probe.format not in settings.ALLOWED_FORMATS:
        raise FormatNotAllowed(
            f"{upload.file.label}: {probe.format} files are not kept here, only {' '.join(settings.ALLOWED_FORMATS)}."
        )
    if settings.REFUSE_DAMAGED_FILES and (damaged := probe.static_metadata.get("damaged")):
        raise UnreadableImage(
            f"{upload.file.label}: The file is damaged: a part of the image is missing ({_missing(damaged)})."
        )
    return probe


def _missing(damaged: dict[str, Any]) -> str:
    """What of an image cannot be decoded."""
    decoded, total = damaged.get("decoded"), damaged.get("total")
    known = f", {decoded} of {total} can be decoded" if total else f", {decoded} can be decoded" if decoded else ""
    return f"{damaged['missing']}{known}"


def _insert(
    organization: Organization,
    uploads: Sequence[Upload],
    files: Sequence[StoredFile],
    keeper: StagedUploads,
    *,
    can_update: bool,
    actor: Actor,
) -> list[UploadResult]:
    """One transaction: rows, counters, audit events. Rows come in the order of hashes, or two requests deadlock."""
    added: dict[int, UploadResult] = {}
    # Of bytes that nobody had there can be no picture yet, until this request makes one.
    unknown = {upload.identity for upload, file in zip(uploads, files, strict=True) if file.pk is None}
    with _reset_pks_on_error(files), transaction.atomic():
        rows, replaced, new_bytes = replace_files(keeper.replacements, actor) if keeper.replacements else ({}, [], 0)
        forget_options(keeper.optimization_cancelled)
        files = [rows.get(file.binary_hash, file) for file in files]
        for file in sorted(_unique(files), key=lambda file: file.binary_hash):
            if file.pk is None:
                file.save(force_insert=True)
                new_bytes += file.size
        failpoints.failpoint("upload.file_inserted")
        for position in sorted(range(len(uploads)), key=lambda position: uploads[position].identity):
            upload, file = uploads[position], files[position]
            image = None if upload.identity in unknown else _existing(organization, upload.identity)
            unknown.discard(upload.identity)
            added[position] = _create_or_merge(organization, upload, file, image, can_update, actor)
        failpoints.failpoint("upload.image_inserted")
        counters.add(organization, images=sum(one.created for one in added.values()), bytes=new_bytes)
        failpoints.failpoint("upload.counted")
        keeper.check_deadline()
    keeper.needed |= {file.key for file in files}
    keeper.replaced = replaced
    failpoints.failpoint("upload.committed")
    return [added[position] for position in range(len(uploads))]


@contextmanager
def _reset_pks_on_error(files: Sequence[StoredFile]) -> Iterator[None]:
    """Take back the ids that a transaction gave, if it fails: another attempt has to insert the rows anew."""
    new = [file for file in files if file.pk is None]
    try:
        yield
    except BaseException:
        for file in new:
            file.pk = None
        raise


def _unique(files: Sequence[StoredFile]) -> list[StoredFile]:
    """The files without repetition; unsaved rows cannot be hashed."""
    return list({file.binary_hash: file for file in files}.values())


def _create_or_merge(
    organization: Organization,
    upload: Upload,
    file: StoredFile,
    image: SourceImage | None,
    can_update: bool,
    actor: Actor,
) -> UploadResult:
    if image is None:
        return UploadResult(upload, _create(organization, upload, file, actor), created=True)
    if can_update and metadata.apply_changes(image.user_metadata, upload.user_metadata) != image.user_metadata:
        image = _merge(image, upload.user_metadata, actor)
    return UploadResult(upload, image, created=False)


def _existing(organization: Organization, identity: str) -> SourceImage | None:
    found = organization.images.active().same_content(identity).select_related("file").order_by("id")
    return min(found, key=lambda image: image.identity != identity, default=None)  # the same content comes first


def _create(organization: Organization, upload: Upload, file: StoredFile, actor: Actor) -> SourceImage:
    image = SourceImage.objects.create(
        organization=organization,
        file=file,
        hash=upload.identity,
        identity=upload.identity,
        short_hash=assign_short_hashes(organization, [upload.identity])[upload.identity],
        name=upload.name,
        user_metadata=metadata.apply_changes({}, upload.user_metadata),
        dynamic_metadata=upload.dynamic_metadata,
        protected=upload.protected,
        binary_hash=file.binary_hash,
        size=file.size,
        format=file.format,
        mimetype=file.mimetype,
        width=file.width,
        height=file.height,
    )
    indexing.add([image])
    record(actor, "image.created", organization=organization, target=image.hash, target_id=image.pk, name=image.name)
    return image


def _merge(image: SourceImage, changes: dict[str, Any], actor: Actor) -> SourceImage:
    try:
        image = SourceImage.objects.active().select_related("file").get_for_update(image)
    except SourceImage.DoesNotExist as error:  # deleted since we looked for it
        raise StaleRead from error
    before, after = image.user_metadata, metadata.apply_changes(image.user_metadata, changes)
    if image.locked:
        raise ImageLocked(f"Source image {image.short_hash} is locked: its metadata cannot be changed.")
    image.user_metadata = after
    image.save(update_fields=["user_metadata"])
    indexing.replace([image])
    versions.record_versions(ImageVersion.Kind.METADATA_UPDATED, {image: {"user_metadata": before}}, actor)
    record(
        actor,
        "image.metadata_updated",
        organization=image.organization,
        target=image.hash,
        target_id=image.pk,
        before={key: value for key, value in before.items() if after.get(key) != value},
        after={key: value for key, value in after.items() if before.get(key) != value},
    )
    return image
