"""What operators bring back: files from the storage's trash, and images of files that have lost their row."""

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
    """Which files are meant: all conditions that are given have to hold."""

    keys: frozenset[str] = frozenset()
    organization: Organization | None = None
    since: datetime | None = None  # when they came to where they are
    until: datetime | None = None

    def matches(self, held: storage.StoredObject, now: datetime) -> bool:
        came = now - timedelta(seconds=held.age)
        return (
            (not self.keys or held.key in self.keys)
            and (self.organization is None or held.key.startswith(f"{self.organization.pk.hex}/"))
            and (self.since is None or came >= self.since)
            and (self.until is None or came <= self.until)
        )


def files_in_trash(wanted: FileFilter) -> Iterator[storage.StoredObject]:
    """Files of organizations of this database that lie in the storage's trash."""
    return _matching(storage.originals().list_trash(), wanted)


def orphans(wanted: FileFilter, *, recent: bool) -> Iterator[storage.StoredObject]:
    """Files at their place, of organizations of this database, that no row names.

    Those younger than the grace time, which may be uploads under way, only if `recent`, or if their keys are given.
    """
    # Ages may be a little less than zero where the storage tells its time in whole seconds.
    old = float("-inf") if recent or wanted.keys else grace_period.seconds()
    for batch in batched(_matching(storage.originals().list_objects(), wanted), BATCH):
        named = stored_files.referenced_keys([held.key for held in batch])
        yield from (held for held in batch if held.key not in named and held.age >= old)


def _matching(found: Iterator[storage.StoredObject], wanted: FileFilter) -> Iterator[storage.StoredObject]:
    owners, now = Owners(), database_now()
    return (held for held in found if wanted.matches(held, now) and owners.own(held))


class Outcome(Enum):
    """What became of a file without a row."""

    RECOVERED = "recovered"
    KNOWN = "known"  # the organization has a file of the same content already
    CHANGED = "changed"  # the content is not what was uploaded under this hash: optimized, or damaged


def recover_orphan(key: str, *, protected: bool, actor: Actor) -> Outcome:
    """Make an image of a file without a row, as if it were uploaded again; the file itself goes to the trash then.

    Raises what an upload raises.
    """
    parts = storage.parse_key(key)
    if parts is None:
        raise ValueError(f"{key!r} is not a key of ours")
    organization = Organization.objects.get(pk=parts.organization_id)
    if organization.files.filter(binary_hash=parts.binary_hash).exists():
        return Outcome.KNOWN
    originals = storage.originals()
    spooled = TempUpload(originals.temp_dir, label=key, limit=originals.size(key))
    try:
        for block in originals.open(key):
            spooled.write(block)
        spooled.close()
        if spooled.sha1 != parts.binary_hash:
            return Outcome.CHANGED
        name = f"{parts.binary_hash}.{probing.probe(spooled.path).format}"
        upload = Upload(spooled, name=name, protected=protected)
        (added,) = add_images(organization, [upload], can_update=False, actor=actor)
    finally:
        spooled.discard()
    record_event(actor, "image.recovered", added.image, key=key)
    stored_files.move_to_trash([key])
    return Outcome.RECOVERED
