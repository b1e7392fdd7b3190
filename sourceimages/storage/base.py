"""The storage interface, and the translation of provider errors."""

import json
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast
from uuid import UUID

from django.core.files.storage import storages

from sourceimages.errors import OriginalMissing, StorageUnavailable

BLOCK = 256 * 1024  # bytes per read
TRASH = "trash/"  # prefix of keys in the trash
OWNER_MARK = "rokka-owner.json"  # key of the file that identifies the owner of the storage
UNREACHABLE = "The storage is not reachable or full. Try again later."
OUR_KEY = re.compile(r"([0-9a-f]{32})/([0-9a-f]{2})/(\2[0-9a-f]{38})-[0-9a-f]{16}\Z")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A stored file: key, size in bytes, and age in seconds by the storage's own clock."""

    key: str
    size: int
    age: float
    read_only: bool = True  # whether the storage prevents changes in place


class KeyParts(NamedTuple):
    """The parts of a key that `new_key` made."""

    organization_id: UUID
    binary_hash: str  # SHA-1 of the uploaded file


class Storage(Protocol):
    temp_dir: Path  # for incoming files

    def put(self, source: Path | bytes, key: str) -> None:
        """Store the content, or a temporary file, under the key, durably. The path of the file is removed."""

    def copy(self, pairs: Sequence[tuple[str, str]]) -> set[str]:
        """Copy each first key to the second, durably, within the storage. Return the first keys that are missing."""

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The content from `start`, in blocks. Raises OriginalMissing before the first block."""

    def internal_path(self, key: str, *, ranged: bool) -> str:
        """Where the internal location of a reverse proxy has the file: a path below INTERNAL_LOCATION, with a query.

        `ranged` files are sent in part if the client has asked for that. The path can contain a signature.
        """

    def local_path(self, key: str) -> AbstractContextManager[Path]:
        """Context with the content as a local file, read-only. Raises OriginalMissing."""

    def move_to_trash(self, keys: Iterable[str]) -> set[str]:
        """Move the files to the storage's trash, where their age restarts; return the keys that existed.

        After a crash, each file is at its place, in the trash, or both. Raises ValueError for keys in another format.
        """

    def recover(self, key: str) -> bool:
        """Move the file back from the trash; False if it is not there. An existing file is never overwritten."""

    def list_trash(self, after: str = "") -> Iterator[StoredObject]:
        """All files in the trash by their original keys, in order of keys, after `after`."""

    def empty_trash(self, keys: Iterable[str]) -> None:
        """Delete the files of these keys from the trash, permanently. No other method deletes files."""

    def size(self, key: str) -> int:
        """Size of the file in bytes. Raises OriginalMissing."""

    def sizes(self, keys: Collection[str]) -> dict[str, int]:
        """Sizes in bytes by key; missing files are omitted."""

    def list_objects(self, after: str = "") -> Iterator[StoredObject]:
        """All files except trash and temporary files, in order of keys, after `after`."""

    def now(self) -> float:
        """The storage's own time, in seconds since 1970."""

    def check(self) -> None:
        """Raises StorageUnavailable if the storage can't be used now."""

    def read_mark(self) -> dict[str, Any] | None:
        """The owner mark; empty if it is invalid, None if it is missing."""

    def write_mark(self, mark: dict[str, Any]) -> None:
        """Write or replace the owner mark, durably. Creates the storage if it does not exist."""

    def place(self) -> object:
        """A value that changes if another storage replaces this one, such as the folder below an unmounted disk.

        Called before every write, so it must be fast; None if it can't be determined without a request.
        """


def originals() -> Storage:
    """The storage configured by STORAGE_URL."""
    return cast(Storage, storages["originals"])


def new_key(organization_id: UUID, binary_hash: str) -> str:
    """A unique key: two uploads of the same content must not share one."""
    return f"{organization_id.hex}/{binary_hash[:2]}/{binary_hash}-{secrets.token_hex(8)}"


def parse_key(key: str) -> KeyParts | None:
    """Organization and binary hash in a key; None for keys that `new_key` can't make."""
    match = OUR_KEY.match(key)
    return KeyParts(UUID(match[1]), match[3]) if match else None


def trash_key(key: str) -> str:
    """The key in the trash. Raises ValueError for keys in another format, so that unrelated files are never touched."""
    if parse_key(key) is None:
        raise ValueError(f"not a key of this application: {key!r}")
    return TRASH + key


def mark_from(content: bytes) -> dict[str, Any]:
    """The parsed owner mark; empty if it is invalid."""
    try:
        mark = json.loads(content)
    except ValueError:
        return {}
    return mark if isinstance(mark, dict) else {}


@contextmanager
def translate_errors(key: str) -> Iterator[None]:
    """Translate errors of the file system to OriginalMissing and StorageUnavailable."""
    try:
        yield
    except FileNotFoundError as error:
        raise OriginalMissing(f"The file {key} is missing in the storage.") from error
    except OSError as error:
        raise StorageUnavailable(UNREACHABLE) from error
