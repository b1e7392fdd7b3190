"""Decisions of an operator: this database and this storage belong together from now on."""

from dataclasses import dataclass
from itertools import islice

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from organizations.audit import Actor, record
from rokka.core.errors import Conflict
from sourceimages import storage
from sourceimages.models import Instance, StoredFile
from sourceimages.ownership.checks import current, write_mark
from sourceimages.ownership.marks import ACCEPT, ADOPT, SAMPLE, Finding, examine, is_stored

KEY_LIMIT = 100_000  # keys that an inventory examines
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Inventory:
    """How well rows and files match, in the newest rows and the first keys of the storage."""

    rows: int  # that were examined
    rows_with_file: int
    keys: int  # that were examined
    keys_without_row: int
    complete: bool  # whether these were all keys


def inventory() -> Inventory:
    newest = list(StoredFile.objects.order_by("-id")[:SAMPLE])
    keys = unknown = 0
    names = islice((file.key for file in storage.originals().list_objects()), KEY_LIMIT + 1)
    while batch := list(islice(names, BATCH)):
        known = StoredFile.objects.filter(key__in=batch).count()
        keys, unknown = keys + len(batch), unknown + len(batch) - known
    return Inventory(len(newest), sum(map(is_stored, newest)), keys, unknown, keys <= KEY_LIMIT)


def adopt_storage(*, actor: Actor) -> Finding:
    """Make this database the owner of a storage without a mark, or with that of another instance. Raises Conflict."""
    return _decide(ADOPT, "storage.adopted", actor)


def accept_restore(*, actor: Actor) -> Finding:
    """Accept a storage that is newer or older than the database, or a moved database. Raises Conflict."""
    return _decide(ACCEPT, "restore.accepted", actor)


def _decide(command: str, action: str, actor: Actor) -> Finding:
    finding = examine()
    if finding.problem is None:
        raise Conflict("Database and storage belong together. There is nothing to accept.")
    if finding.problem.command != command:
        raise Conflict(f"{command} can't resolve this mismatch. {finding.problem.error.message}")
    mark, own, identity = finding.in_storage, finding.in_database, finding.identity
    with transaction.atomic():
        Instance.objects.bulk_create([Instance(database=identity.name)], ignore_conflicts=True)
        Instance.objects.select_for_update().get()
        Instance.objects.update(
            database=identity.name,
            counter=max(mark.counter if mark else 0, own.counter if own else 0) + 1,
            newest_file=identity.newest_file,
            newest_image=identity.newest_image,
            accepted=F("accepted") + 1,
            accepted_at=Now(),
            raised_at=Now(),
        )
        record(
            actor,
            action,
            target=storage.OWNER_MARK,
            target_id=Instance.objects.get().instance_id,
            problem=finding.problem.name.lower(),
            in_storage=mark.serialized() if mark else None,
            in_database=own.serialized() if own else None,
            database=identity.name,
        )
    write_mark()
    return current(fresh=True)
