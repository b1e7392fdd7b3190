"""The two marks, and what is wrong if they do not agree."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Self
from uuid import UUID

from sourceimages import storage
from sourceimages.errors import OriginalMissing, StorageMismatch
from sourceimages.models import Instance, StoredFile
from sourceimages.ownership import database
from sourceimages.ownership.database import DatabaseIdentity

SAMPLE = 20  # files that are looked for in a storage without a mark
LOOKS = 4

ADOPT, ACCEPT = "adopt_storage", "accept_restore"


class Problem(Enum):
    """Why database and storage do not agree: what an operator is told, and the command that accepts it."""

    FOREIGN_FILES = "The storage holds files and no owner mark, and this database knows no files.", ADOPT
    NO_MARK = (
        "The storage has no owner mark, and this database knows files. "
        "Check that its disk is mounted and that STORAGE_URL is right.",
        ADOPT,
    )
    UNREADABLE_MARK = f"The owner mark of the storage ({storage.OWNER_MARK}) cannot be read.", ADOPT
    OTHER_OWNER = (
        "The storage belongs to another instance of rokka. Check STORAGE_URL and DATABASE_URL, "
        "and that no dump is being restored at this moment.",
        ADOPT,
    )
    OTHER_DATABASE = (
        "This database is a copy of the one that the storage belongs to, or was moved. "
        "Check that STORAGE_URL and DATABASE_URL are of the same installation.",
        ACCEPT,
    )
    OLDER_DATABASE = (
        "The database is older than the storage: a dump or a copy of it was restored, or is being restored.",
        ACCEPT,
    )
    OLDER_STORAGE = "The storage is older than the database: a backup of the storage was restored.", ACCEPT

    def __init__(self, sentence: str, command: str) -> None:
        self.sentence = sentence
        self.command = command

    @property
    def error(self) -> StorageMismatch:
        return StorageMismatch(
            f"{self.sentence} Nothing is written or removed. `manage.py {self.command}` accepts it as it is."
        )


@dataclass(frozen=True, slots=True)
class Mark:
    """What the storage says of its owner, and the database of itself."""

    instance: UUID
    database: str
    counter: int
    newest_file: int
    newest_image: int

    @classmethod
    def read(cls, sent: dict[str, Any]) -> Self | None:
        """None if this is no mark."""
        try:
            numbers = {name: int(sent[name]) for name in ("counter", "newest_file", "newest_image")}
            return cls(UUID(sent["instance"]), str(sent["database"]), **numbers)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    @classmethod
    def of(cls, row: Instance) -> Self:
        return cls(row.instance_id, row.database, row.counter, row.newest_file, row.newest_image)

    def serialized(self) -> dict[str, Any]:
        return {
            "instance": str(self.instance),
            "database": self.database,
            "counter": self.counter,
            "newest_file": self.newest_file,
            "newest_image": self.newest_image,
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look at both has found. `new`: neither has a mark yet, and they may get one."""

    in_storage: Mark | None
    in_database: Mark | None
    facts: DatabaseIdentity
    accepted: int
    problem: Problem | None = None
    new: bool = False

    @property
    def generation(self) -> str:
        """Changes with every restore and every decision of an operator: what was remembered before means nothing."""
        instance = self.in_database.instance if self.in_database else None
        return f"{instance}:{self.accepted}:{self.facts.identity}:{self.facts.build}"


def examine() -> Finding:
    """Look at both. A problem has to be seen twice, as maintenance may raise the counter between our two looks."""
    before = None
    for _ in range(LOOKS):
        found = _look()
        if found.problem is None or found == before:
            break
        before = found
    return found


def _look() -> Finding:
    """The mark before the row: it is written after it."""
    sent = storage.originals().read_mark()
    row = Instance.objects.first()
    found = Finding(
        in_storage=Mark.read(sent) if sent is not None else None,
        in_database=Mark.of(row) if row else None,
        facts=database.identify(),
        accepted=row.accepted if row else 0,
    )
    if sent is None:
        problem = _problem_without_mark(found)
        return replace(found, problem=problem, new=problem is None)
    return replace(found, problem=_problem(found))


def _problem(found: Finding) -> Problem | None:
    mark, own, facts = found.in_storage, found.in_database, found.facts
    if mark is None:
        return Problem.UNREADABLE_MARK
    if own is None or own.instance != mark.instance:
        return Problem.OTHER_OWNER
    if not facts.identity == mark.database == own.database:
        return Problem.OTHER_DATABASE
    if mark.counter > own.counter or mark.newest_file > facts.newest_file or mark.newest_image > facts.newest_image:
        return Problem.OLDER_DATABASE
    if own.counter > mark.counter + 1:
        return Problem.OLDER_STORAGE
    return None


def _problem_without_mark(found: Finding) -> Problem | None:
    """None where both are new, or were filled by a version of rokka that wrote no marks and still fit each other."""
    if found.in_database and found.in_database.counter:
        return Problem.NO_MARK
    newest = list(StoredFile.objects.order_by("-id")[:SAMPLE])
    if newest:
        return None if all(is_there(file) for file in newest) else Problem.NO_MARK
    return Problem.FOREIGN_FILES if next(storage.originals().list_objects(), None) else None


def is_there(file: StoredFile) -> bool:
    """Does the storage hold the file, in the size that its row says?"""
    try:
        return storage.originals().size(file.key) == file.size
    except OriginalMissing:
        return False
