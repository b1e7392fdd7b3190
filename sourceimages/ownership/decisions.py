"""What an operator decides who has looked: this database and this storage belong together from now on."""

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
from sourceimages.ownership.marks import ACCEPT, ADOPT, SAMPLE, Finding, examine, is_there

KEY_LIMIT = 100_000  # keys that are looked at, at most
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Inventory:
    """How far rows and files fit each other: the newest rows, and the keys that the storage lists first."""

    rows: int  # newest rows that were looked at
    rows_with_file: int
    keys: int  # keys that were looked at
    keys_without_row: int
    everything: bool  # whether these were all keys


def inventory() -> Inventory:
    newest = list(StoredFile.objects.order_by("-id")[:SAMPLE])
    keys = unknown = 0
    names = islice((held.key for held in storage.originals().list_objects()), KEY_LIMIT + 1)
    while batch := list(islice(names, BATCH)):
        known = StoredFile.objects.filter(key__in=batch).count()
        keys, unknown = keys + len(batch), unknown + len(batch) - known
    return Inventory(len(newest), sum(map(is_there, newest)), keys, unknown, keys <= KEY_LIMIT)


def adopt_storage(*, actor: Actor) -> Finding:
    """This database takes over the storage, whose mark is missing or another's. Raises Conflict."""
    return _decide(ADOPT, "storage.adopted", actor)


def accept_restore(*, actor: Actor) -> Finding:
    """The database goes on beside a storage that is newer, older, or was beside another database. Raises Conflict."""
    return _decide(ACCEPT, "restore.accepted", actor)


def _decide(command: str, action: str, actor: Actor) -> Finding:
    finding = examine()
    if finding.problem is None:
        raise Conflict("Database and storage agree: there is nothing to decide.")
    if finding.problem.command != command:
        raise Conflict(f"This is not for {command}. {finding.problem.error.message}")
    mark, own, facts = finding.in_storage, finding.in_database, finding.facts
    with transaction.atomic():
        Instance.objects.bulk_create([Instance(database=facts.identity)], ignore_conflicts=True)
        Instance.objects.select_for_update().get()
        Instance.objects.update(
            database=facts.identity,
            counter=max(mark.counter if mark else 0, own.counter if own else 0) + 1,
            newest_file=facts.newest_file,
            newest_image=facts.newest_image,
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
            database=facts.identity,
        )
    write_mark()
    return current(fresh=True)
