"""The interface of a storage, and the place where errors of providers become ours."""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast
from uuid import UUID

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.storage import storages

from sourceimages.errors import BytesMissing, StorageUnavailable

BLOCK = 256 * 1024  # bytes read at a time


@dataclass(frozen=True, slots=True)
class Held:
    """A key that is there, with the size of its bytes and the seconds since it came."""

    key: str
    size: int
    age: float


class Storage(Protocol):
    spool: Path  # where files are written on their way in

    def put(self, spooled: Path, key: str) -> None:
        """Keep the file under the key, durably; `spooled` is gone afterwards."""

    def copy(self, pairs: Sequence[tuple[str, str]]) -> set[str]:
        """Copy from each first key to the second, durably, without the bytes passing through here.

        The answer is the first keys that are not there.
        """

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from `start`, in blocks. BytesMissing before the first block if there are none."""

    def local(self, key: str) -> AbstractContextManager[Path]:
        """The bytes as a file of this machine, to read only, and no longer than the context lasts. BytesMissing."""

    def remove(self, keys: Iterable[str]) -> None:
        """Forget the keys; those that are not there count as removed."""

    def size(self, key: str) -> int:
        """How many bytes are there. BytesMissing if none."""

    def keys(self) -> Iterator[Held]:
        """Everything that is there."""

    def check(self) -> None:
        """StorageUnavailable unless it could serve now."""


def originals() -> Storage:
    """The storage that STORAGE_URL names."""
    return cast(Storage, storages["originals"])


def new_key(organization_id: UUID, binary_hash: str) -> str:
    """A key that nobody else will ever choose: two uploads of the same bytes must not share one."""
    return f"{organization_id.hex}/{binary_hash[:2]}/{binary_hash}-{secrets.token_hex(8)}"


@contextmanager
def translated(key: str) -> Iterator[None]:
    """Errors of the file system and of S3 as ours."""
    try:
        yield
    except FileNotFoundError as error:
        raise BytesMissing(f"The bytes under {key} are missing.") from error
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in ("404", "NoSuchKey"):
            raise BytesMissing(f"The bytes under {key} are missing.") from error
        raise StorageUnavailable("The storage refused or failed. Try again later.") from error
    except (OSError, BotoCoreError, Boto3Error) as error:
        raise StorageUnavailable("The storage does not answer or is full. Try again later.") from error
