"""The interface of a storage, and the place where errors of providers become ours."""

import json
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast
from uuid import UUID

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.storage import storages

from sourceimages.errors import OriginalMissing, StorageUnavailable

BLOCK = 256 * 1024  # bytes read at a time
TRASH = "trash/"  # before the keys of files in the trash
OWNER_MARK = "rokka-owner.json"  # the key that says whose storage it is
OUR_KEY = re.compile(r"([0-9a-f]{32})/([0-9a-f]{2})/(\2[0-9a-f]{38})-[0-9a-f]{16}\Z")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A key that is there, with its size in bytes and the seconds since it came there, by the storage's own clock."""

    key: str
    size: int
    age: float
    read_only: bool = True  # whether the storage refuses to change the file in place


class KeyParts(NamedTuple):
    """What a key of our own form says of its file."""

    organization_id: UUID
    binary_hash: str  # sha1 of what was uploaded


class Storage(Protocol):
    temp_dir: Path  # where files are written on their way in

    def put(self, spooled: Path, key: str) -> None:
        """Keep the file under the key, durably; `spooled` is gone afterwards."""

    def copy(self, pairs: Sequence[tuple[str, str]]) -> set[str]:
        """Copy from each first key to the second, durably, without the bytes passing through here.

        The answer is the first keys that are not there.
        """

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from `start`, in blocks. BytesMissing before the first block if there are none."""

    def local_path(self, key: str) -> AbstractContextManager[Path]:
        """The bytes as a file of this machine, to read only, and no longer than the context lasts. BytesMissing."""

    def move_to_trash(self, keys: Iterable[str]) -> set[str]:
        """Move the files to the storage's trash, where they begin to age anew; answer those that were there.

        Killed in the middle, each file is at its place, in the trash, or both. ValueError for keys of another form.
        """

    def recover(self, key: str) -> bool:
        """Put the file back from the trash; False if it is not there. What is at its place is never overwritten."""

    def list_trash(self, after: str = "") -> Iterator[StoredObject]:
        """Everything in the trash by its key at its place, in the order of keys, from behind `after` on."""

    def empty_trash(self, keys: Iterable[str]) -> None:
        """Remove the files of these keys from the trash for ever. Nothing else ever removes a file."""

    def size(self, key: str) -> int:
        """How many bytes are there. BytesMissing if none."""

    def sizes(self, keys: Collection[str]) -> dict[str, int]:
        """How many bytes are under each of the keys; those that are missing are not in the answer."""

    def list_objects(self, after: str = "") -> Iterator[StoredObject]:
        """Everything that is there, but the trash and the spool, in the order of keys, from behind `after` on."""

    def now(self) -> float:
        """The time by the storage's own clock, in seconds since 1970."""

    def check(self) -> None:
        """StorageUnavailable unless it could serve now."""

    def read_mark(self) -> dict[str, Any] | None:
        """The owner mark; None if there is none, empty if it cannot be understood."""

    def write_mark(self, mark: dict[str, Any]) -> None:
        """Write the owner mark, durably, in the place of the one that was there. The first one makes the storage."""

    def place(self) -> object:
        """What changes when another storage takes the place of this one, such as the folder below a disk that was
        unmounted. It is asked before every write, so it costs nothing; None where it cannot be told for nothing.
        """


def originals() -> Storage:
    """The storage that STORAGE_URL names."""
    return cast(Storage, storages["originals"])


def new_key(organization_id: UUID, binary_hash: str) -> str:
    """A key that nobody else will ever choose: two uploads of the same bytes must not share one."""
    return f"{organization_id.hex}/{binary_hash[:2]}/{binary_hash}-{secrets.token_hex(8)}"


def parse_key(key: str) -> KeyParts | None:
    """Whose file it is and what was uploaded; None for a key that `new_key` never makes."""
    match = OUR_KEY.match(key)
    return KeyParts(UUID(match[1]), match[3]) if match else None


def trash_key(key: str) -> str:
    """Where the file lies in the trash. ValueError for a key that is not ours: such files are never touched."""
    if parse_key(key) is None:
        raise ValueError(f"{key!r} is not a key of ours")
    return TRASH + key


def mark_from(content: bytes) -> dict[str, Any]:
    """The owner mark as it was written; empty if this is none."""
    try:
        mark = json.loads(content)
    except ValueError:
        return {}
    return mark if isinstance(mark, dict) else {}


@contextmanager
def translate_errors(key: str) -> Iterator[None]:
    """Errors of the file system and of S3 as ours."""
    try:
        yield
    except FileNotFoundError as error:
        raise OriginalMissing(f"The bytes under {key} are missing.") from error
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in ("404", "NoSuchKey"):
            raise OriginalMissing(f"The bytes under {key} are missing.") from error
        raise StorageUnavailable("The storage refused or failed. Try again later.") from error
    except (OSError, BotoCoreError, Boto3Error) as error:
        raise StorageUnavailable("The storage does not answer or is full. Try again later.") from error
