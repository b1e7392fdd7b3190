"""Renders as objects in an S3 bucket, by generations of a week, since S3 does not keep the time of the last use."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from uuid import UUID

import structlog
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from rendering.cache.base import CachedRender, CacheUsage, RenderName, memory_draft, reopened
from sourceimages.storage.s3 import S3Storage

PREFIX = "renders/"
DELETE_BATCH = 1000  # limit of S3 for one request
FAILURES = (ClientError, BotoCoreError, Boto3Error)

log = structlog.get_logger()


class S3RenderCache:
    """Objects `renders/{week}/{organization}/{first two digits}/{image}/{key}`.

    A hit in the previous week is copied to the present one by the server, so what is older than the previous week was
    not used for at least a week.
    """

    def __init__(self, *, temp_dir: Path, **options: Any) -> None:
        storage = S3Storage(temp_dir=temp_dir, **options)
        self.client, self.bucket_name = storage.client, storage.bucket_name

    def find(self, name: RenderName, formats: Collection[str]) -> CachedRender | None:
        present, previous = generations()
        for generation in (present, previous):
            key = f"{PREFIX}{generation}/{name.folder}/{name.key}"
            try:
                answer = self.client.get_object(Bucket=self.bucket_name, Key=key)
                content = answer["Body"].read()  # renders are small, and a broken connection is noticed here
            except FAILURES as error:
                if not is_missing(error):
                    log.warning("render.cache_failed", why=str(error)[:200])
                    return None
                continue
            if generation == previous:
                self._copy_to(present, name, key)
            return CachedRender(answer["Metadata"].get("format", ""), len(content), BytesIO(content))
        return None

    def _copy_to(self, generation: str, name: RenderName, key: str) -> None:
        target = f"{PREFIX}{generation}/{name.folder}/{name.key}"
        try:
            self.client.copy_object(
                Bucket=self.bucket_name, Key=target, CopySource={"Bucket": self.bucket_name, "Key": key}
            )
        except FAILURES as error:
            log.warning("render.cache_failed", why=str(error)[:200])

    @contextmanager
    def draft(self) -> Iterator[IO[bytes]]:
        with memory_draft() as file:  # renders are small, and so no disk can be full
            yield file

    def put(self, name: RenderName, format: str, draft: IO[bytes]) -> CachedRender:
        draft.flush()
        size = draft.seek(0, os.SEEK_END)
        draft.seek(0)
        key = f"{PREFIX}{generations()[0]}/{name.folder}/{name.key}"
        try:
            self.client.put_object(Bucket=self.bucket_name, Key=key, Body=draft, Metadata={"format": format})
        except FAILURES as error:
            log.warning("render.not_cached", key=name.key, why=str(error)[:200])
        return reopened(draft, format, size)

    def purge(self, organization_id: UUID, image_hash: str = "") -> int:
        keys = self._keys(organization_id, image_hash)
        self._delete_all(keys)
        return len(keys)

    def count(self, organization_id: UUID, image_hash: str = "") -> int:
        return len(self._keys(organization_id, image_hash))

    def _keys(self, organization_id: UUID, image_hash: str) -> list[str]:
        folder = f"{organization_id.hex}/{image_hash[:2]}/{image_hash}/" if image_hash else f"{organization_id.hex}/"
        return [key for generation in self._generations() for key, _ in self._objects(f"{PREFIX}{generation}/{folder}")]

    def images(self) -> Iterator[tuple[UUID, str]]:
        found: set[tuple[str, str]] = set()
        for key, _ in self._objects(PREFIX):
            organization, _, image, _ = key.split("/")[2:]
            if (organization, image) not in found:
                found.add((organization, image))
                yield UUID(hex=organization), image

    def evict(self, budget: int) -> CacheUsage:
        """Remove all generations before the previous one and, if the rest is above the budget, the previous one."""
        present, previous = generations()
        sizes: dict[str, dict[str, int]] = {}
        for key, size in self._objects(PREFIX):
            sizes.setdefault(key.split("/")[1], {})[key] = size
        total = sum(sum(objects.values()) for objects in sizes.values())
        kept = {present, previous}
        if sum(sum(sizes.get(generation, {}).values()) for generation in kept) > budget:
            kept = {present}
        expired = {key: size for name, objects in sizes.items() if name not in kept for key, size in objects.items()}
        if sum(sizes.get(present, {}).values()) > budget:  # a very small budget: start again
            expired |= sizes[present]
        self._delete_all(list(expired))
        return CacheUsage(total, sum(map(len, sizes.values())), sum(expired.values()), len(expired))

    def _generations(self) -> list[str]:
        answer = self.client.list_objects_v2(Bucket=self.bucket_name, Prefix=PREFIX, Delimiter="/")
        return [entry["Prefix"].removeprefix(PREFIX).rstrip("/") for entry in answer.get("CommonPrefixes", ())]

    def _objects(self, prefix: str) -> Iterator[tuple[str, int]]:
        pages = self.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket_name, Prefix=prefix):
            for item in page.get("Contents", ()):
                yield item["Key"], item["Size"]

    def _delete_all(self, keys: list[str]) -> None:
        for start in range(0, len(keys), DELETE_BATCH):
            objects = [{"Key": key} for key in keys[start : start + DELETE_BATCH]]
            self.client.delete_objects(Bucket=self.bucket_name, Delete={"Objects": objects, "Quiet": True})


def generations() -> tuple[str, str]:
    """The names of the present and of the previous week, such as 2026-W49."""
    now = datetime.now(UTC)
    return f"{now:%G-W%V}", f"{now - timedelta(days=7):%G-W%V}"


def is_missing(error: Any) -> bool:
    return isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") in ("404", "NoSuchKey")
