"""Recovery by operators: of files from the storage trash, and of images from orphaned files."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from organizations.audit import Actor
from organizations.models import Organization
from rokka.core.clock import database_now
from sourceimages import grace_period, probing, storage, stored_files
from sourceimages.maintenance.survey import BATCH, Owners, batched
from sourceimages.operations import add_images
from sourceimages.operations.delete import record_event
from sourceimages.storage.temp_file import TempUpload
from sourceimages.uploads.upload import Upload


@dataclass(frozen=True, slots=True)
class FileFilter:
    """Conditions that a file has to match, all of them."""

    keys: frozenset[str] = frozenset()
    organization: Organization | None = None
    since: datetime | None = None  # stored, or moved to the trash, at or after
    until: datetime | None = None

    def matches(self, file: storage.StoredObject, now: datetime) -> bool:
        created = now - timedelta(seconds=file.age)
        return (
            (not self.keys or file.key in self.keys)
            and (self.organization is None or file.key.startswith(f"{self.organization.pk.hex}/"))
            and (self.since is None or created >= self.since)
            and (self.until is None or created <= self.until)
        )


def files_in_trash(file_filter: FileFilter) -> Iterator[storage.StoredObject]:
    """Files in the storage trash that belong to organizations of this database."""
    return _matching(storage.originals().list_trash(), file_filter)


def orphans(file_filter: FileFilter, *, recent: bool) -> Iterator[storage.StoredObject]:
    """Stored files of organizations of this database that no row refers to.

    Files younger than the grace period may be uploads in progress: they are included if `recent`, or by their keys.
    """
    # Ages can be slightly negative if the storage has timestamps in whole seconds.
    min_age = float("-inf") if recent or file_filter.keys else grace_period.seconds()
    for batch in batched(_matching(storage.originals().list_objects(), file_filter), BATCH):
        referenced = stored_files.referenced_keys([file.key for file in batch])
        yield from (file for file in batch if file.key not in referenced and file.age >= min_age)


def _matching(files: Iterator[storage.StoredObject], file_filter: FileFilter) -> Iterator[storage.StoredObject]:
    owners, now = Owners(), database_now()
    return (file for file in files if file_filter.matches(file, now) and owners.own(file))


class Outcome(Enum):
    """The result for an orphaned file."""

    RECOVERED = "recovered"
    KNOWN = "known"  # the organization has a file with the same content
    CHANGED = "changed"  # the content doesn't match the hash in its key: it was optimized, or is damaged


def recover_orphan(key: str, *, protected: bool, actor: Actor) -> Outcome:
    """Create an image from an orphaned file, as an upload would, and move the file to the storage trash.

    Raises what an upload raises.
    """
    parts = storage.parse_key(key)
    if parts is None:
        raise ValueError(f"{key!r} is not a storage key of rokka")
    organization = Organization.objects.get(pk=parts.organization_id)
    if organization.files.filter(binary_hash=parts.binary_hash).exists():
        return Outcome.KNOWN
    originals = storage.originals()
    temp_file = TempUpload(originals.temp_dir, label=key, limit=originals.size(key))
    try:
        for block in originals.open(key):
            temp_file.write(block)
        temp_file.close()
        if temp_file.sha1 != parts.binary_hash:
            return Outcome.CHANGED
        name = f"{parts.binary_hash}.{probing.probe(temp_file.source).format}"
        upload = Upload(temp_file, name=name, protected=protected)
        (added,) = add_images(organization, [upload], can_update=False, actor=actor)
    finally:
        temp_file.discard()
    record_event(actor, "image.recovered", added.image, key=key)
    stored_files.move_to_trash([key])
    return Outcome.RECOVERED
