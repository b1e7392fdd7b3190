"""The owner marks of database and storage, and the problems if they don't match."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Self
from uuid import UUID

from sourceimages import storage
from sourceimages.errors import OriginalMissing, StorageMismatch
from sourceimages.models import Instance, StoredFile
from sourceimages.ownership import database
from sourceimages.ownership.database import DatabaseIdentity

SAMPLE = 20  # newest files that a storage without a mark must have
MAX_ATTEMPTS = 4

ADOPT, ACCEPT = "adopt_storage", "accept_restore"


class Problem(Enum):
    """Why database and storage don't belong together: a description, and the command that accepts it."""

    FOREIGN_FILES = "The storage has files but no owner mark, and this database has no files.", ADOPT
    NO_MARK = (
        "The storage has no owner mark, and this database has files. "
        "Check that the disk is mounted and that STORAGE_URL is correct.",
        ADOPT,
    )
    UNREADABLE_MARK = f"The owner mark of the storage ({storage.OWNER_MARK}) cannot be read.", ADOPT
    OTHER_OWNER = (
        "The storage belongs to another instance of rokka. Check STORAGE_URL and DATABASE_URL, "
        "and that no dump is being restored.",
        ADOPT,
    )
    OTHER_DATABASE = (
        "This database is a copy of the one that owns the storage, or was moved. "
        "Check that STORAGE_URL and DATABASE_URL belong to the same installation.",
        ACCEPT,
    )
    OLDER_DATABASE = (
        "The database is older than the storage: a dump or a copy of it was restored, or is being restored.",
        ACCEPT,
    )
    OLDER_STORAGE = "The storage is older than the database: a backup of the storage was restored.", ACCEPT

    def __init__(self, description: str, command: str) -> None:
        self.description = description
        self.command = command

    @property
    def error(self) -> StorageMismatch:
        return StorageMismatch(
            f"{self.description} Nothing is written or removed until this is resolved. "
            f"To accept it, run `manage.py {self.command}`."
        )


@dataclass(frozen=True, slots=True)
class Mark:
    """The owner according to the storage, or to the database itself."""

    instance: UUID
    database: str
    counter: int
    newest_file: int
    newest_image: int

    @classmethod
    def parse(cls, data: dict[str, Any]) -> Self | None:
        """None if the data is not a valid mark."""
        try:
            numbers = {name: int(data[name]) for name in ("counter", "newest_file", "newest_image")}
            return cls(UUID(data["instance"]), str(data["database"]), **numbers)
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
    """The marks of storage and database, and the problem, if any. `new`: both are unmarked, and can be marked."""

    in_storage: Mark | None
    in_database: Mark | None
    identity: DatabaseIdentity
    accepted: int
    problem: Problem | None = None
    new: bool = False

    @property
    def generation(self) -> str:
        """Changes with every restore and every decision of an operator, which make cached IDs invalid."""
        instance = self.in_database.instance if self.in_database else None
        return f"{instance}:{self.accepted}:{self.identity.name}:{self.identity.build}"


def examine() -> Finding:
    """Compare the marks. A problem counts if seen twice: the counter may be raised between the two reads."""
    before = None
    for _ in range(MAX_ATTEMPTS):
        finding = _compare()
        if finding.problem is None or finding == before:
            break
        before = finding
    return finding


def _compare() -> Finding:
    """Read the mark in the storage before the row, as it is written after it."""
    data = storage.originals().read_mark()
    row = Instance.objects.first()
    finding = Finding(
        in_storage=Mark.parse(data) if data is not None else None,
        in_database=Mark.of(row) if row else None,
        identity=database.identify(),
        accepted=row.accepted if row else 0,
    )
    if data is None:
        problem = _problem_without_mark(finding)
        return replace(finding, problem=problem, new=problem is None)
    return replace(finding, problem=_problem(finding))


def _problem(finding: Finding) -> Problem | None:
    mark, own, identity = finding.in_storage, finding.in_database, finding.identity
    if mark is None:
        return Problem.UNREADABLE_MARK
    if own is None or own.instance != mark.instance:
        return Problem.OTHER_OWNER
    if not identity.name == mark.database == own.database:
        return Problem.OTHER_DATABASE
    newer_rows = mark.newest_file > identity.newest_file or mark.newest_image > identity.newest_image
    if mark.counter > own.counter or newer_rows:
        return Problem.OLDER_DATABASE
    if own.counter > mark.counter + 1:
        return Problem.OLDER_STORAGE
    return None


def _problem_without_mark(finding: Finding) -> Problem | None:
    """None if both are new, or match but were written by a version of rokka without marks."""
    if finding.in_database and finding.in_database.counter:
        return Problem.NO_MARK
    newest = list(StoredFile.objects.order_by("-id")[:SAMPLE])
    if newest:
        return None if all(is_stored(file) for file in newest) else Problem.NO_MARK
    return Problem.FOREIGN_FILES if next(storage.originals().list_objects(), None) else None


def is_stored(file: StoredFile) -> bool:
    """Whether the storage has the file, with the size of its row."""
    try:
        return storage.originals().size(file.key) == file.size
    except OriginalMissing:
        return False
