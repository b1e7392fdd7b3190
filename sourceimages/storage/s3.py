"""Originals as objects in a bucket."""

import json
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import cache, cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from boto3 import Session
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from storages.backends.s3 import S3Storage as DjangoS3Storage

from rokka.core import failpoints
from sourceimages.errors import OriginalMissing, StorageUnavailable
from sourceimages.storage.base import BLOCK, OWNER_MARK, TRASH, StoredObject, mark_from, translate_errors, trash_key

MULTIPART_CHUNK = 16 * 1024 * 1024  # bytes of one part of a multipart upload
DELETE_BATCH = 1000  # the most that S3 removes in one call
COPY_THREADS = 16  # objects that the server copies or is asked for
CLIENT_LOCK = Lock()  # of clients, for which a session is used


@cache
def session_for(access_key: str | None, secret_key: str | None) -> Session:
    """A session knows the interface of S3 once it has made a client: reading it takes a tenth of a second."""
    return Session(aws_access_key_id=access_key, aws_secret_access_key=secret_key)


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
        self.temp_dir = spool

    @cached_property
    def client(self) -> Any:
        """One for all threads, which clients are made for; sessions and resources are not."""
        with CLIENT_LOCK:
            return self.connection.meta.client

    def _create_session(self) -> Session:
        return session_for(self.access_key, self.secret_key)

    def put(self, spooled: Path, key: str) -> None:
        failpoints.failpoint("storage.written")
        with translate_errors(key):
            config = TransferConfig(
                multipart_threshold=MULTIPART_CHUNK, multipart_chunksize=MULTIPART_CHUNK, use_threads=False
            )
            self.client.upload_file(str(spooled), self.bucket_name, key, Config=config)
        failpoints.failpoint("storage.placed")
        spooled.unlink()

    def copy(self, pairs: Sequence[tuple[str, str]]) -> set[str]:
        """Copied by the server, several at a time."""
        with ThreadPoolExecutor(min(COPY_THREADS, len(pairs)) or 1) as pool:
            done = pool.map(lambda pair: self._copy(*pair), pairs)
            return {key for (key, _), there in zip(pairs, done, strict=True) if not there}

    def _copy(self, key: str, to: str) -> bool:
        """False if there is nothing under the key."""
        try:
            with translate_errors(key):
                self.client.copy_object(
                    Bucket=self.bucket_name, Key=to, CopySource={"Bucket": self.bucket_name, "Key": key}
                )
        except OriginalMissing:
            return False
        return True

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        if length == 0:
            return iter(())
        last = "" if length is None else start + length - 1
        with translate_errors(key):
            answer = self.client.get_object(Bucket=self.bucket_name, Key=key, Range=f"bytes={start}-{last}")
        return self._blocks(key, answer["Body"])

    def _blocks(self, key: str, body: Any) -> Iterator[bytes]:
        with translate_errors(key), body:
            yield from body.iter_chunks(BLOCK)

    @contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        self.temp_dir.mkdir(parents=True, exist_ok=True)
        draft = self.temp_dir / f"{secrets.token_hex(16)}.part"
        try:
            with translate_errors(key):
                self.client.download_file(self.bucket_name, key, str(draft), Config=TransferConfig(use_threads=False))
            yield draft
        finally:
            draft.unlink(missing_ok=True)

    def move_to_trash(self, keys: Iterable[str]) -> set[str]:
        pairs = [(key, trash_key(key)) for key in keys]
        moved: set[str] = set()
        for start in range(0, len(pairs), DELETE_BATCH):
            batch = pairs[start : start + DELETE_BATCH]
            there = {key for key, _ in batch} - self.copy(batch)
            failpoints.failpoint("trash.copied")
            self._delete(sorted(there))
            moved |= there
        return moved

    def recover(self, key: str) -> bool:
        """Killed in the middle, the file is at both places.

        The server has no lock, so moving and recovering the same file at the same moment must not happen: reads recover
        what a row names, and only what none names is moved.
        """
        trashed = trash_key(key)
        try:
            self.size(key)
        except OriginalMissing:
            if not self._copy(trashed, key):
                return False
            failpoints.failpoint("trash.recovered")
            self._delete([trashed])
            return True
        return False

    def list_trash(self, after: str = "") -> Iterator[StoredObject]:
        for held in self._listed(TRASH + after, prefix=TRASH):
            yield replace(held, key=held.key.removeprefix(TRASH))

    def empty_trash(self, keys: Iterable[str]) -> None:
        waiting = [trash_key(key) for key in keys]
        for start in range(0, len(waiting), DELETE_BATCH):
            self._delete(waiting[start : start + DELETE_BATCH])

    def _delete(self, keys: Sequence[str]) -> None:
        if not keys:
            return
        objects = [{"Key": key} for key in keys]
        with translate_errors(keys[0]):
            answer = self.client.delete_objects(Bucket=self.bucket_name, Delete={"Objects": objects, "Quiet": True})
        if answer.get("Errors"):
            raise StorageUnavailable(f"The storage did not remove {answer['Errors'][0]['Key']}.")

    def size(self, key: str) -> int:
        with translate_errors(key):
            return int(self.client.head_object(Bucket=self.bucket_name, Key=key)["ContentLength"])

    def sizes(self, keys: Collection[str]) -> dict[str, int]:
        """Several are asked for at a time."""
        found = {}

        def ask(key: str) -> None:
            with suppress(OriginalMissing):
                found[key] = self.size(key)

        with ThreadPoolExecutor(COPY_THREADS) as pool:
            list(pool.map(ask, keys))  # raises what a thread raised
        return found

    def list_objects(self, after: str = "") -> Iterator[StoredObject]:
        for held in self._listed(after):
            if held.key >= TRASH:
                break  # and the trash, which may be long, is not listed
            if held.key != OWNER_MARK:
                yield held
        for held in self._listed(max(after, f"{TRASH}~")):  # nothing of ours comes so late
            if not held.key.startswith(TRASH):
                yield held

    def _listed(self, after: str, *, prefix: str = "") -> Iterator[StoredObject]:
        pages = self.client.get_paginator("list_objects_v2")
        with translate_errors(""):
            for page in pages.paginate(Bucket=self.bucket_name, Prefix=prefix, StartAfter=after):
                now = _date(page)
                for item in page.get("Contents", ()):
                    yield StoredObject(item["Key"], item["Size"], now - item["LastModified"].timestamp())

    def now(self) -> float:
        with translate_errors(""):
            return _date(self.client.head_bucket(Bucket=self.bucket_name))

    def check(self) -> None:
        with translate_errors(""):
            self.client.head_bucket(Bucket=self.bucket_name)

    def read_mark(self) -> dict[str, Any] | None:
        try:
            with translate_errors(OWNER_MARK):
                return mark_from(self.client.get_object(Bucket=self.bucket_name, Key=OWNER_MARK)["Body"].read())
        except OriginalMissing:
            return None

    def write_mark(self, mark: dict[str, Any]) -> None:
        content = json.dumps(mark).encode()
        with translate_errors(OWNER_MARK):
            self.client.put_object(
                Bucket=self.bucket_name, Key=OWNER_MARK, Body=content, ContentType="application/json"
            )

    def place(self) -> object:
        return None


def _date(answer: dict[str, Any]) -> float:
    """When the server answered, by its own clock, which is the one that it dates objects by."""
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
