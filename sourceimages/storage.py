"""The bytes, by key: local files or a bucket behind the same few verbs.

A key is written once, by one row, and never reused, so bytes are never changed in place. Errors of the providers
leave as StorageUnavailable and BytesMissing. No models here.
"""

import errno
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast
from uuid import UUID

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.storage import FileSystemStorage, storages
from storages.backends.s3 import S3Storage as DjangoS3Storage

from rokka import faults
from sourceimages.errors import BytesMissing, StorageUnavailable

BLOCK = 256 * 1024  # bytes read at a time
PART = 16 * 1024 * 1024  # bytes of one part of a multipart upload to S3
DELETE_BATCH = 1000  # the most that S3 removes in one call
COPIES = 16  # at once, on S3
SYNCS = 16  # folders at once, on local files
CANNOT_LINK = {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP}  # then the bytes are copied


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


class LocalStorage(FileSystemStorage):
    """Files under a folder. The spool lies within, in the same file system, so that keeping a file is a rename."""

    def __init__(self, *, links: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.links = links
        self.spool = Path(self.location) / ".spool"
        self.durable: set[Path] = set()  # folders whose own entry this process has seen reach the disk

    def put(self, spooled: Path, key: str) -> None:
        with translated(key):
            sync(spooled)
            faults.point("storage.written")
            target = Path(self.path(key))
            self._make_folders({target.parent})
            spooled.rename(target)
            faults.point("storage.placed")
            sync(target.parent)

    def copy(self, pairs: Sequence[tuple[str, str]]) -> set[str]:
        """A copy is another name for the same file, as bytes are never changed in place."""
        root = self.location  # keys are our own: joining them safely, as Django does, takes longer than linking
        missing, linked = set(), set()
        with translated("the copies"):
            self._make_folders({Path(root, folder) for folder in {os.path.dirname(to) for _, to in pairs}})
        for key, to in pairs:
            try:
                with translated(key):
                    self._link(f"{root}/{key}", f"{root}/{to}")
            except BytesMissing:
                missing.add(key)
            else:
                linked.add(os.path.dirname(to))
        with translated("the copies"):
            sync_all([Path(root, folder) for folder in linked])
        return missing

    def _link(self, source: str, target: str) -> None:
        if self.links:
            try:
                os.link(source, target)
                return
            except OSError as error:
                if error.errno not in CANNOT_LINK:
                    raise
        self.spool.mkdir(parents=True, exist_ok=True)
        draft = self.spool / f"{secrets.token_hex(16)}.part"
        try:
            shutil.copyfile(source, draft)
            sync(draft)
            draft.rename(target)
        finally:
            draft.unlink(missing_ok=True)

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:  # type: ignore[override]
        with translated(key):
            file = open(self.path(key), "rb")  # noqa: SIM115 (closed by the iterator)
        return blocks(file, start, length)

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        self.size(key)
        yield Path(self.path(key))

    def remove(self, keys: Iterable[str]) -> None:
        for key in keys:
            with translated(key):
                Path(self.path(key)).unlink(missing_ok=True)

    def size(self, key: str) -> int:
        with translated(key):
            return os.stat(self.path(key)).st_size

    def keys(self) -> Iterator[Held]:
        root, now = Path(self.location), time.time()
        for folder, subfolders, names in os.walk(root):
            if Path(folder) == root:
                subfolders[:] = [name for name in subfolders if name != self.spool.name]
            for name in names:
                path = Path(folder, name)
                try:
                    facts = path.stat()
                except FileNotFoundError:
                    continue  # removed since the folder was read
                # The inode's change time: a hard link keeps the modification time of the file it was made from.
                yield Held(path.relative_to(root).as_posix(), facts.st_size, now - facts.st_ctime)

    def check(self) -> None:
        self.spool.mkdir(parents=True, exist_ok=True)
        if not os.access(self.location, os.R_OK | os.W_OK | os.X_OK):
            raise StorageUnavailable(f"{self.location} cannot be written.")

    def _make_folders(self, folders: set[Path]) -> None:
        """Make the folders and see to it that they, not only what is in them, survive a power cut."""
        new = folders - self.durable
        if not new:
            return
        self._make_folders({folder.parent for folder in new if folder != Path(self.location)})
        for folder in new:
            folder.mkdir(parents=True, exist_ok=True)
        sync_all({folder.parent for folder in new})
        self.durable |= new


class S3Storage(DjangoS3Storage):
    """Objects in a bucket. Uploads are bounded in memory."""

    def __init__(self, *, spool: Path, **options: Any) -> None:
        super().__init__(
            client_config=Config(
                max_pool_connections=64,
                retries={"mode": "standard", "max_attempts": 4},
                connect_timeout=5,
                read_timeout=60,
                s3={"addressing_style": "path"},
                signature_version="s3v4",
            ),
            **options,
        )
        self.spool = spool

    @property
    def client(self) -> Any:
        return self.connection.meta.client

    def put(self, spooled: Path, key: str) -> None:
        faults.point("storage.written")
        with translated(key):
            config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, use_threads=False)
            self.client.upload_file(str(spooled), self.bucket_name, key, Config=config)
        faults.point("storage.placed")
        spooled.unlink()

    def copy(self, pairs: Sequence[tuple[str, str]]) -> set[str]:
        """Copied by the server, several at a time."""
        client = self.client  # made in this thread
        with ThreadPoolExecutor(min(COPIES, len(pairs)) or 1) as pool:
            done = pool.map(lambda pair: self._copy(client, *pair), pairs)
            return {key for (key, _), there in zip(pairs, done, strict=True) if not there}

    def _copy(self, client: Any, key: str, to: str) -> bool:
        """False if there is nothing under the key."""
        try:
            with translated(key):
                client.copy_object(Bucket=self.bucket_name, Key=to, CopySource={"Bucket": self.bucket_name, "Key": key})
        except BytesMissing:
            return False
        return True

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        if length == 0:
            return iter(())
        last = "" if length is None else start + length - 1
        with translated(key):
            answer = self.client.get_object(Bucket=self.bucket_name, Key=key, Range=f"bytes={start}-{last}")
        return self._blocks(key, answer["Body"])

    def _blocks(self, key: str, body: Any) -> Iterator[bytes]:
        with translated(key), body:
            yield from body.iter_chunks(BLOCK)

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        self.spool.mkdir(parents=True, exist_ok=True)
        draft = self.spool / f"{secrets.token_hex(16)}.part"
        try:
            with translated(key):
                self.client.download_file(self.bucket_name, key, str(draft), Config=TransferConfig(use_threads=False))
            yield draft
        finally:
            draft.unlink(missing_ok=True)

    def remove(self, keys: Iterable[str]) -> None:
        waiting = list(keys)
        for start in range(0, len(waiting), DELETE_BATCH):
            objects = [{"Key": key} for key in waiting[start : start + DELETE_BATCH]]
            with translated(objects[0]["Key"]):
                answer = self.client.delete_objects(Bucket=self.bucket_name, Delete={"Objects": objects, "Quiet": True})
            if answer.get("Errors"):
                raise StorageUnavailable(f"The storage did not remove {answer['Errors'][0]['Key']}.")

    def size(self, key: str) -> int:
        with translated(key):
            return int(self.client.head_object(Bucket=self.bucket_name, Key=key)["ContentLength"])

    def keys(self) -> Iterator[Held]:
        now = time.time()
        with translated(""):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket_name):
                for item in page.get("Contents", ()):
                    yield Held(item["Key"], item["Size"], now - item["LastModified"].timestamp())

    def check(self) -> None:
        with translated(""):
            self.client.head_bucket(Bucket=self.bucket_name)


def blocks(file: Any, start: int, length: int | None) -> Iterator[bytes]:
    with file:
        file.seek(start)
        left = os.fstat(file.fileno()).st_size - start if length is None else length
        while left > 0 and (block := file.read(min(BLOCK, left))):
            left -= len(block)
            yield block


def sync(path: Path) -> None:
    """Return when the file's bytes, or the folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(paths: Collection[Path]) -> None:
    """The same for several, which the disk writes together."""
    with ThreadPoolExecutor(min(SYNCS, len(paths)) or 1) as pool:
        list(pool.map(sync, paths))


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
