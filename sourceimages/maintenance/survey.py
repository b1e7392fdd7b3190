"""A survey of all storage keys: finds orphaned files, and counts foreign ones."""

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

BATCH = 500  # keys looked up in the database at once
KEYS_PER_STEP = 10_000  # minimum number of keys per run
RUNS = 100  # to complete a survey; the schedule has more in a day
EXAMPLES = 5

Item = TypeVar("Item")


@dataclass(slots=True)
class Survey:
    """What a scan of the keys has found so far."""

    limit: int | None = None  # of orphans that are listed; all of them are counted
    seen: int = 0
    orphans: list[str] = field(default_factory=list)  # keys of files without a row
    count: int = 0  # of orphans
    bytes: int = 0  # of orphans
    foreign: int = 0  # files that rokka didn't create, and never touches
    foreign_bytes: int = 0
    foreign_examples: list[str] = field(default_factory=list)  # URL-encoded: foreign keys can have any characters

    def add_orphan(self, file: storage.StoredObject) -> None:
        self.count += 1
        self.bytes += file.size
        if self.limit is None or len(self.orphans) < self.limit:
            self.orphans.append(file.key)

    def add_foreign(self, file: storage.StoredObject) -> None:
        self.foreign += 1
        self.foreign_bytes += file.size
        if len(self.foreign_examples) < EXAMPLES:
            self.foreign_examples.append(quote(file.key, errors="surrogateescape"))


class Owners:
    """The organizations of this database, to distinguish its own files from foreign ones."""

    def __init__(self) -> None:
        now = database_now()
        organizations = Organization.objects.values_list("pk", "created")
        self.ages: dict[UUID, float] = {pk: (now - created).total_seconds() for pk, created in organizations}

    def own(self, file: storage.StoredObject) -> bool:
        """Whether the key is one of rokka's, of an organization of this database, and the file not older than it."""
        parts = storage.parse_key(file.key)
        age = self.ages.get(parts.organization_id) if parts else None
        return age is not None and file.age <= age + doubts.TOLERANCE.total_seconds()


def survey_all() -> Survey:
    """Scan all keys at once, and list all orphans."""
    survey = Survey()
    _scan(storage.originals().list_objects(), survey)
    return survey


def survey_step(task: str, *, limit: int) -> Survey | None:
    """Scan the next keys, from the position saved by the task; the survey if it is complete, else None.

    Up to `limit` orphans are listed.
    """
    before = task_state.get(task)
    survey = Survey(**before.progress.get("survey", {"limit": limit}))
    step = max(KEYS_PER_STEP, StoredFile.objects.count() // RUNS)
    seen, after = survey.seen, unquote(before.position, errors="surrogateescape")
    last = _scan(islice(storage.originals().list_objects(after), step), survey)
    with transaction.atomic():
        row = task_state.get_for_update(task)
        if row.position != before.position:
            return None  # another process has scanned the same keys
        row.position = quote(last, errors="surrogateescape") if survey.seen - seen == step else ""
        row.progress["survey"] = asdict(survey)
        if not row.position:
            del row.progress["survey"]
        row.save(update_fields=["position", "progress"])
    return None if row.position else survey


def _scan(files: Iterable[storage.StoredObject], survey: Survey) -> str:
    """Add the files to the survey; return the key of the last one."""
    owners, grace_time, last = Owners(), grace_period.seconds(), ""
    for batch in batched(files, BATCH):
        survey.seen += len(batch)
        last = batch[-1].key
        own = []
        for file in batch:
            if owners.own(file):
                own.append(file)
            else:
                survey.add_foreign(file)
        referenced = stored_files.referenced_keys([file.key for file in own])
        for file in own:
            # A key is written before its row and never reused: an old one without a row will never get a row.
            if file.key not in referenced and file.age > grace_time:
                survey.add_orphan(file)
    return last


def batched(items: Iterable[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items in batches of this size. itertools has this from Python 3.12 on."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
