"""Original files as objects in an S3 bucket."""

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
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from storages.backends.s3 import S3Storage as DjangoS3Storage

from rokka.core import failpoints, temp_files
from sourceimages.errors import OriginalMissing, StorageUnavailable
from sourceimages.storage import base
from sourceimages.storage.base import BLOCK, OWNER_MARK, TRASH, UNREACHABLE, StoredObject, mark_from, trash_key

MULTIPART_CHUNK = 16 * 1024 * 1024  # bytes per part of a multipart upload
DELETE_BATCH = 1000  # limit of S3 for one request
COPY_THREADS = 16  # parallel requests for objects
SIGNED_SECONDS = 60  # for which a URL for the reverse proxy is valid; it connects at once
CLIENT_LOCK = Lock()  # sessions are not thread-safe while they create clients


@contextmanager
def translate_errors(key: str) -> Iterator[None]:
    """Translate errors of S3, and of temporary files, to OriginalMissing and StorageUnavailable."""
    try:
        with base.translate_errors(key):
            yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in ("404", "NoSuchKey"):
            raise OriginalMissing(f"The file {key} is missing in the storage.") from error
        raise StorageUnavailable("The storage returned an error. Try again later.") from error
    except (BotoCoreError, Boto3Error) as error:
        raise StorageUnavailable(UNREACHABLE) from error


@cache
def session_for(access_key: str | None, secret_key: str | None) -> Session:
    """A cached session: creating its first client loads the S3 API definition, which takes 0.1 seconds."""
    return Session(aws_access_key_id=access_key, aws_secret_access_key=secret_key)


class S3Storage(DjangoS3Storage):
    """Objects in a bucket. The memory used for uploads is bounded."""

    def __init__(self, *, temp_dir: Path, **options: Any) -> None:
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
        self.temp_dir = temp_dir

    @cached_property
    def client(self) -> Any:
        """One client for all threads: clients are thread-safe, sessions and resources are not."""
        with CLIENT_LOCK:
            return self.connection.meta.client

    def _create_session(self) -> Session:
        return session_for(self.access_key, self.secret_key)

    def put(self, source: Path | bytes, key: str) -> None:
        failpoints.failpoint("storage.written")
        with translate_errors(key):
            if isinstance(source, bytes):
                self.client.put_object(Bucket=self.bucket_name, Key=key, Body=source)
            else:
                self._upload(source, key)
        failpoints.failpoint("storage.placed")
        if not isinstance(source, bytes):
            temp_files.remove(source)

    def _upload(self, temp_file: Path, key: str) -> None:
        config = TransferConfig(
            multipart_threshold=MULTIPART_CHUNK, multipart_chunksize=MULTIPART_CHUNK, use_threads=False
        )
        self.client.upload_file(str(temp_file), self.bucket_name, key, Config=config)

    def copy(self, pairs: Sequence[tuple[str, str]]) -> set[str]:
        """Copied by the server, several objects in parallel."""
        with ThreadPoolExecutor(min(COPY_THREADS, len(pairs)) or 1) as pool:
            done = pool.map(lambda pair: self._copy(*pair), pairs)
            return {key for (key, _), existing in zip(pairs, done, strict=True) if not existing}

    def _copy(self, key: str, to: str) -> bool:
        """Copy one object; False if the key is missing."""
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

    def internal_path(self, key: str, *, ranged: bool) -> str:
        """Scheme, host and the rest of a signed URL, as parts of one path."""
        params = {"Bucket": self.bucket_name, "Key": key}
        url = self.client.generate_presigned_url("get_object", Params=params, ExpiresIn=SIGNED_SECONDS)
        return f"s3/{url.replace('://', '/', 1)}"

    @contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        draft = self.temp_dir / f"{secrets.token_hex(16)}.part"
        try:
            with translate_errors(key):
                self.temp_dir.mkdir(parents=True, exist_ok=True)
                self.client.download_file(self.bucket_name, key, str(draft), Config=TransferConfig(use_threads=False))
            yield draft
        finally:
            temp_files.remove(draft)

    def move_to_trash(self, keys: Iterable[str]) -> set[str]:
        pairs = [(key, trash_key(key)) for key in keys]
        moved: set[str] = set()
        for start in range(0, len(pairs), DELETE_BATCH):
            batch = pairs[start : start + DELETE_BATCH]
            existing = {key for key, _ in batch} - self.copy(batch)
            failpoints.failpoint("trash.copied")
            self._delete(sorted(existing))
            moved |= existing
        return moved

    def recover(self, key: str) -> bool:
        """Move files by copying and deleting. After a crash, a file can be at both places.

        S3 has no locks, so the same file must not be moved and recovered at the same time: only files without a row are
        moved, and only files of a row are recovered.
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
        for stored in self._listed(TRASH + after, prefix=TRASH):
            yield replace(stored, key=stored.key.removeprefix(TRASH))

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
            raise StorageUnavailable(f"The storage did not delete {answer['Errors'][0]['Key']}. Try again later.")

    def size(self, key: str) -> int:
        with translate_errors(key):
            return int(self.client.head_object(Bucket=self.bucket_name, Key=key)["ContentLength"])

    def sizes(self, keys: Collection[str]) -> dict[str, int]:
        """Sizes of several objects, requested in parallel."""
        found = {}

        def ask(key: str) -> None:
            with suppress(OriginalMissing):
                found[key] = self.size(key)

        with ThreadPoolExecutor(COPY_THREADS) as pool:
            list(pool.map(ask, keys))  # re-raises errors of threads
        return found

    def list_objects(self, after: str = "") -> Iterator[StoredObject]:
        for stored in self._listed(after):
            if stored.key >= TRASH:
                break  # skip the trash, which can be long
            if stored.key != OWNER_MARK:
                yield stored
        for stored in self._listed(max(after, f"{TRASH}~")):  # no key of ours sorts after it
            if not stored.key.startswith(TRASH):
                yield stored

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
    """The time in the Date header of the server, which is the clock of object timestamps."""
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
