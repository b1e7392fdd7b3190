"""Looking over all keys of the storage: which of them are orphans, and what there is that is not ours."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import TypeVar
from urllib.parse import quote, unquote
from uuid import UUID

from django.db import transaction

from organizations.models import Organization
from rokka.core.clock import database_now
from sourceimages import grace_period, storage, stored_files, task_state
from sourceimages.maintenance import doubts
from sourceimages.models import StoredFile

BATCH = 500  # keys that are looked up in the database at once
KEYS_PER_STEP = 10_000  # keys of one run, at least
RUNS = 100  # in which one has come round; the schedule has some more in a day
EXAMPLES = 5

Item = TypeVar("Item")


@dataclass(slots=True)
class Survey:
    """What a look over all keys has found until now."""

    limit: int | None = None  # of the orphans that are remembered, and not only counted
    seen: int = 0
    orphans: list[str] = field(default_factory=list)  # keys of files without a row
    count: int = 0  # of them
    bytes: int = 0  # of them
    foreign: int = 0  # files that are not ours, and are never touched
    foreign_bytes: int = 0
    foreign_examples: list[str] = field(default_factory=list)  # quoted, as names of strangers may be anything

    def add_orphan(self, held: storage.StoredObject) -> None:
        self.count += 1
        self.bytes += held.size
        if self.limit is None or len(self.orphans) < self.limit:
            self.orphans.append(held.key)

    def add_foreign(self, held: storage.StoredObject) -> None:
        self.foreign += 1
        self.foreign_bytes += held.size
        if len(self.foreign_examples) < EXAMPLES:
            self.foreign_examples.append(quote(held.key, errors="surrogateescape"))


class Owners:
    """Tells whether a key may be ours: of our own form, of an organization of this database, and not older than it."""

    def __init__(self) -> None:
        now = database_now()
        created = Organization.objects.values_list("pk", "created")
        self.ages: dict[UUID, float] = {pk: (now - moment).total_seconds() for pk, moment in created}

    def own(self, held: storage.StoredObject) -> bool:
        parts = storage.parse_key(held.key)
        age = self.ages.get(parts.organization_id) if parts else None
        return age is not None and held.age <= age + doubts.TOLERANCE.total_seconds()


def survey_all() -> Survey:
    """A look over all keys at once. Every orphan is remembered."""
    found = Survey()
    _scan(storage.originals().list_objects(), found)
    return found


def survey_step(task: str, *, limit: int) -> Survey | None:
    """Go on with the look that the task remembers; the whole of it when it has come round, else None.

    Up to `limit` orphans are remembered.
    """
    before = task_state.get(task)
    found = Survey(**before.progress.get("survey", {"limit": limit}))
    step = max(KEYS_PER_STEP, StoredFile.objects.count() // RUNS)
    seen, after = found.seen, unquote(before.position, errors="surrogateescape")
    last = _scan(islice(storage.originals().list_objects(after), step), found)
    with transaction.atomic():
        row = task_state.get_for_update(task)
        if row.position != before.position:
            return None  # another process has gone on from the same place
        row.position = quote(last, errors="surrogateescape") if found.seen - seen == step else ""
        row.progress["survey"] = asdict(found)
        if not row.position:
            del row.progress["survey"]
        row.save(update_fields=["position", "progress"])
    return None if row.position else found


def _scan(keys: Iterable[storage.StoredObject], found: Survey) -> str:
    """Add what these keys are; answer the last one."""
    owners, grace_time, last = Owners(), grace_period.seconds(), ""
    for batch in batched(keys, BATCH):
        found.seen += len(batch)
        last = batch[-1].key
        ours = []
        for held in batch:
            if owners.own(held):
                ours.append(held)
            else:
                found.add_foreign(held)
        named = stored_files.referenced_keys([held.key for held in ours])
        for held in ours:
            # A key is written before its row and is never reused: old and without a row, it will never have one.
            if held.key not in named and held.age > grace_time:
                found.add_orphan(held)
    return last


def batched(items: Iterable[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items, so many at a time. itertools has this from Python 3.12 on."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
