"""Adding images. Files are stored before rows are inserted: a crash leaves at most orphaned files."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction

from organizations.audit import Actor, record
from organizations.models import AuditEvent, Organization
from organizations.usage import counters
from rokka.core import failpoints
from rokka.core.connections import release_connection
from rokka.core.database import StaleRead, retry_on_conflict
from rokka.core.errors import DomainError, Unavailable
from sourceimages import hot_path, metadata, probing, storage, versions
from sourceimages.conflicts import FILE_REFERENCE, IMAGE_CONSTRAINTS
from sourceimages.errors import FormatNotAllowed, HashCollision, ImageLocked, UnreadableImage
from sourceimages.models import ImageVersion, SourceImage, StoredFile
from sourceimages.operations.delete import image_event
from sourceimages.operations.dominant_colors import next_attempt
from sourceimages.operations.heal import (
    Reason,
    Replacement,
    cancel_optimization,
    replace_files,
    replacement_reason,
)
from sourceimages.operations.short_hashes import assign_short_hashes
from sourceimages.operations.staging import StagedFiles, discard_replaced
from sourceimages.probing import Probe
from sourceimages.search import indexing
from sourceimages.uploads.filename import or_default
from sourceimages.uploads.upload import Upload

PROBE_BUDGET_SECONDS = 20  # for all files of a request
OPTIMIZABLE = {"tif", "psd"}
TEXT = {"txt", "csv"}  # formats without a signature: any file that can be decoded as text matches
TEXT_EXTENSIONS = {
    *("txt", "text", "log", "md", "markdown", "rst", "csv", "tsv", "tab", "psv", "json", "jsonl", "ndjson", "geojson"),
    *("yaml", "yml", "toml", "ini", "cfg", "conf", "properties", "srt", "vtt", "ics", "vcf", "bib", "tex", "cube"),
    *("css", "sql", "diff", "patch"),
}


@dataclass(frozen=True, slots=True)
class UploadResult:
    """The image of an upload; `created` is false if it existed."""

    upload: Upload
    image: SourceImage
    created: bool


def add_images(
    organization: Organization, uploads: Sequence[Upload], *, can_update: bool, actor: Actor
) -> list[UploadResult]:
    """Add the uploads to the organization, all or none; the results are in the same order.

    An upload of existing content returns the existing image. It keeps its name; the uploaded metadata fields are set
    unless `can_update` is false. A missing or corrupt stored file is replaced by the uploaded one (`heal`). Raises
    FormatNotAllowed, HashCollision, ImageLocked and the errors of `probing`.
    """
    failpoints.failpoint("upload.received")
    with StagedUploads(organization, can_update=can_update) as staged:
        return _stage_and_insert(organization, uploads, staged, can_update=can_update, actor=actor)


@retry_on_conflict(*IMAGE_CONSTRAINTS, references=[FILE_REFERENCE])
def _stage_and_insert(
    organization: Organization, uploads: Sequence[Upload], staged: "StagedUploads", *, can_update: bool, actor: Actor
) -> list[UploadResult]:
    """Of concurrent uploads of the same content, one violates a constraint; its retry finds the other's image."""
    files = staged.stage(uploads)
    results = _insert(organization, uploads, files, staged, can_update=can_update, actor=actor)
    discard_replaced(staged.replaced)
    return results


class StagedUploads(StagedFiles):
    """Probes and stores uploaded files."""

    def __init__(self, organization: Organization, *, can_update: bool) -> None:
        super().__init__(organization)
        self.can_update = can_update
        self.keys: dict[str, str] = {}  # keys of the stored uploads, by binary hash
        self.new_files: dict[str, StoredFile] = {}  # unsaved rows, by binary hash
        self.probes: dict[str, Probe] = {}  # by binary hash
        self.replacements: list[Replacement] = []  # of existing files
        self.optimization_cancelled: list[int] = []  # IDs of existing files
        self.replaced: list[str] = []  # keys that are no longer used

    def __enter__(self) -> "StagedUploads":
        return self

    def stage(self, uploads: Sequence[Upload]) -> list[StoredFile]:
        """For each upload the row of its file: an existing one, or an unsaved one after its file was stored.

        Sets `replacements` and `optimization_cancelled` for existing files. Safe to call again after a conflict.
        """
        known = self._known_files({upload.file.sha1 for upload in uploads})
        release_connection()  # reading and storing the files takes long, compared with the queries
        for upload in uploads:
            _check_same_content(upload, known.get(upload.file.sha1))
        # If a request has the same content twice, an upload with the option to optimize wins.
        by_hash = {upload.file.sha1: upload for upload in sorted(uploads, key=lambda upload: bool(upload.optimize_to))}
        reasons = {sha1: self._replacement_reason(file, by_hash[sha1]) for sha1, file in known.items()}
        to_store = {sha1: upload for sha1, upload in by_hash.items() if reasons.get(sha1, True)}
        for sha1, upload in to_store.items():
            if sha1 not in self.probes:
                self.probes[sha1] = _probe(upload, seconds=self.started + PROBE_BUDGET_SECONDS - time.monotonic())
        for upload in uploads:
            file = known.get(upload.file.sha1)
            _check_name(upload, file.format if file else self.probes[upload.file.sha1].format)
        failpoints.failpoint("upload.probed")
        for sha1, upload in to_store.items():
            key = self._put(upload)
            if sha1 not in known and sha1 not in self.new_files:
                self.new_files[sha1] = self._new_stored_file(upload, self.probes[sha1], key)
        failpoints.failpoint("upload.stored")
        self.replacements = [
            self._replacement(known[sha1], reason, by_hash[sha1])
            for sha1, reason in reasons.items()
            if reason is not None
        ]
        self.optimization_cancelled = [
            file.pk
            for sha1, file in known.items()
            if self.can_update and file.optimize_to and not by_hash[sha1].optimize_to
        ]
        files = [known.get(upload.file.sha1) or self.new_files[upload.file.sha1] for upload in uploads]
        for upload, stored_file in zip(uploads, files, strict=True):
            _check_same_content(upload, stored_file)
            metadata.check_bounds(upload.dynamic_metadata, stored_file.width, stored_file.height)
            upload.name = or_default(upload.name, stored_file.format)
        return files

    def _known_files(self, binary_hashes: set[str]) -> dict[str, StoredFile]:
        """The existing files, by binary hash."""
        if len(binary_hashes) == 1:
            (binary_hash,) = binary_hashes
            file = hot_path.stored_file(self.organization, binary_hash)
            return {binary_hash: file} if file else {}
        return {file.binary_hash: file for file in self.organization.files.filter(binary_hash__in=binary_hashes)}

    def _replacement_reason(self, file: StoredFile, upload: Upload) -> Reason | None:
        return replacement_reason(file, as_sent=self.can_update and not upload.optimize_to)

    def _put(self, upload: Upload) -> str:
        """Store the file once, even if the transaction is retried; return its key."""
        sha1 = upload.file.sha1
        if sha1 not in self.keys:
            key = storage.new_key(self.organization.pk, sha1)
            self.written.add(key)
            self.storage.put(upload.file.source, key)
            self.keys[sha1] = key
        return self.keys[sha1]

    def _replacement(self, file: StoredFile, reason: Reason, upload: Upload) -> Replacement:
        probe = self.probes[file.binary_hash]
        return Replacement(
            file,
            reason,
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


def _check_same_content(upload: Upload, file: StoredFile | None) -> None:
    """Raises HashCollision if a different file has the same SHA-1."""
    if file and (file.uploaded_size, file.uploaded_sha256) != (upload.file.size, upload.file.sha256):
        raise HashCollision(f"{upload.file.label}: A different file with the SHA-1 {upload.file.sha1} exists.")


def _check_name(upload: Upload, format: str) -> None:
    """Text has no signature, so its name must have a text extension: a broken image could be decoded as text."""
    extension = upload.name.rpartition(".")[2].lower() if "." in upload.name else ""
    if format in TEXT and extension not in TEXT_EXTENSIONS:
        found = f"the file extension is .{extension[:20]}" if extension else "the name has no file extension"
        raise FormatNotAllowed(
            f"{upload.file.label}: The content is plain text, but {found}. Use a name that ends in .txt or .csv."
        )


def _probe(upload: Upload, *, seconds: float) -> Probe:
    """Probe the file; errors start with its label. Raises FormatNotAllowed, UnreadableImage, Unavailable."""
    if seconds <= 0:  # a few files that are crafted to be slow must not block the probe workers
        raise Unavailable("Reading the files of this request takes too long. Send fewer files per request.")
    try:
        probe = probing.probe(upload.file.source, seconds=seconds)
    except DomainError as error:
        raise type(error)(f"{upload.file.label}: {error.message}", **error.details) from error
    if probe.format not in settings.ALLOWED_FORMATS:
        raise FormatNotAllowed(
            f"{upload.file.label}: {probe.format} files are not allowed. "
            f"Allowed formats: {', '.join(settings.ALLOWED_FORMATS)}."
        )
    if settings.REFUSE_DAMAGED_FILES and (damaged := probe.static_metadata.get("damaged")):
        raise UnreadableImage(
            f"{upload.file.label}: The file is damaged, a part of the image is missing ({_describe_damage(damaged)})."
        )
    return probe


def _describe_damage(damaged: dict[str, Any]) -> str:
    """Which parts of the image are missing, and how much of it can be decoded."""
    decoded, total = damaged.get("decoded"), damaged.get("total")
    extent = f", {decoded} of {total} can be decoded" if total else f", {decoded} can be decoded" if decoded else ""
    return f"{damaged['missing']}{extent}"


def _insert(
    organization: Organization,
    uploads: Sequence[Upload],
    files: Sequence[StoredFile],
    staged: StagedUploads,
    *,
    can_update: bool,
    actor: Actor,
) -> list[UploadResult]:
    """Insert rows, counters and audit events in one transaction; rows by ascending hash, to avoid deadlocks."""
    replaced: list[str] = []
    with _reset_pks_on_error(files), transaction.atomic():
        results = _insert_with_one_statement(organization, uploads, files, actor)
        if results is None:
            files, results, replaced = _insert_rows(
                organization, uploads, files, staged, can_update=can_update, actor=actor
            )
        failpoints.failpoint("upload.counted")
        staged.check_deadline()
    staged.committed |= {file.key for file in files}
    staged.replaced = replaced
    failpoints.failpoint("upload.committed")
    return results


def _insert_with_one_statement(
    organization: Organization, uploads: Sequence[Upload], files: Sequence[StoredFile], actor: Actor
) -> list[UploadResult] | None:
    """Insert the rows of one upload of new content; None if this is not one, or not possible."""
    if len(uploads) != 1 or files[0].pk is not None:
        return None
    upload, file = uploads[0], files[0]
    prepared = hot_path.prepare_to_add(organization, upload.identity)
    if prepared is None:
        return None
    image = _new_image(organization, upload, file, prepared.short_hash)
    rows = indexing.rows_to_add(image, prepared.language)
    if not hot_path.add_image(image, _created_event(image, actor), rows, prepared):
        return None
    return [UploadResult(upload, image, created=True)]


def _insert_rows(
    organization: Organization,
    uploads: Sequence[Upload],
    files: Sequence[StoredFile],
    staged: StagedUploads,
    *,
    can_update: bool,
    actor: Actor,
) -> tuple[Sequence[StoredFile], list[UploadResult], list[str]]:
    """Insert the rows table by table; returns the rows of the files, the results, and the keys of replaced files."""
    results: dict[int, UploadResult] = {}
    # A new file has no images yet, until this request creates one: no need to look for them.
    without_image = {upload.identity for upload, file in zip(uploads, files, strict=True) if file.pk is None}
    rows, replaced, new_bytes = replace_files(staged.replacements, actor) if staged.replacements else ({}, [], 0)
    cancel_optimization(staged.optimization_cancelled)
    files = [rows.get(file.binary_hash, file) for file in files]
    for file in sorted(_unique(files), key=lambda file: file.binary_hash):
        if file.pk is None:
            file.save(force_insert=True)
            new_bytes += file.size
    failpoints.failpoint("upload.file_inserted")
    for position in sorted(range(len(uploads)), key=lambda position: uploads[position].identity):
        upload, file = uploads[position], files[position]
        image = None if upload.identity in without_image else _get_existing(organization, upload.identity)
        without_image.discard(upload.identity)
        results[position] = _create_or_merge(organization, upload, file, image, can_update, actor)
    failpoints.failpoint("upload.image_inserted")
    counters.add(organization, images=sum(result.created for result in results.values()), bytes=new_bytes)
    return files, [results[position] for position in range(len(uploads))], replaced


@contextmanager
def _reset_pks_on_error(files: Sequence[StoredFile]) -> Iterator[None]:
    """Reset the IDs that a failed transaction assigned, so that a retry inserts the rows again."""
    new = [file for file in files if file.pk is None]
    try:
        yield
    except BaseException:
        for file in new:
            file.pk = None
        raise


def _unique(files: Sequence[StoredFile]) -> list[StoredFile]:
    """The files without duplicates; by binary hash, as unsaved rows are not hashable."""
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


def _get_existing(organization: Organization, identity: str) -> SourceImage | None:
    images = organization.images.active().same_content(identity).select_related("file").order_by("id")
    return min(images, key=lambda image: image.identity != identity, default=None)  # prefer the same content


def _create(organization: Organization, upload: Upload, file: StoredFile, actor: Actor) -> SourceImage:
    short_hash = assign_short_hashes(organization, [upload.identity])[upload.identity]
    image = _new_image(organization, upload, file, short_hash)
    image.save(force_insert=True)
    indexing.add([image])
    event = _created_event(image, actor)
    event.save(force_insert=True)
    return image


def _new_image(organization: Organization, upload: Upload, file: StoredFile, short_hash: str) -> SourceImage:
    return SourceImage(
        organization=organization,
        file=file,
        hash=upload.identity,
        identity=upload.identity,
        short_hash=short_hash,
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


def _created_event(image: SourceImage, actor: Actor) -> AuditEvent:
    return image_event(actor, "image.created", image, details={"name": image.name})


def _merge(image: SourceImage, changes: dict[str, Any], actor: Actor) -> SourceImage:
    try:
        image = SourceImage.objects.active().select_related("file").get_for_update(image)
    except SourceImage.DoesNotExist as error:  # deleted in the meantime
        raise StaleRead from error
    before, after = image.user_metadata, metadata.apply_changes(image.user_metadata, changes)
    if image.locked:
        raise ImageLocked(f"Source image {image.short_hash} is locked. Unlock it to change its metadata.")
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
