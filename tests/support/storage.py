"""Helpers that modify the storage and timestamps directly, which only tests do."""

from datetime import timedelta
from pathlib import Path

from django.db.models import F

from sourceimages import grace_period, storage, task_state
from sourceimages.maintenance import garbage_collection
from sourceimages.models import Tombstone
from sourceimages.storage import LocalStorage
from sourceimages.storage.s3 import S3Storage


def lose(*keys: str) -> None:
    """Delete files, as if a disk had lost them."""
    originals = storage.originals()
    for key in keys:
        if isinstance(originals, S3Storage):
            originals.client.delete_object(Bucket=originals.bucket_name, Key=key)
        else:
            assert isinstance(originals, LocalStorage)
            Path(originals.location, key).unlink(missing_ok=True)


def empty(bucket: S3Storage) -> None:
    """Delete all objects, including the trash."""
    for page in bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.bucket_name):
        for item in page.get("Contents", ()):
            bucket.client.delete_object(Bucket=bucket.bucket_name, Key=item["Key"])


def put(key: str, content: bytes) -> None:
    """Store a file without a row."""
    originals = storage.originals()
    originals.temp_dir.mkdir(parents=True, exist_ok=True)
    draft = originals.temp_dir / "test.part"
    draft.write_bytes(content)
    originals.put(draft, key)


def keys() -> set[str]:
    return {stored.key for stored in storage.originals().list_objects()}


def trashed() -> set[str]:
    return {stored.key for stored in storage.originals().list_trash()}


def set_grace_time(seconds: int) -> None:
    """Set the grace period, even below its minimum. A negative value makes new files old enough to collect."""
    task_state.set_progress(grace_period.TASK, seconds=seconds)


def let_pass(time: timedelta) -> None:
    """Shift the timestamps of deletions, as if this time had passed."""
    Tombstone.objects.update(deleted_at=F("deleted_at") - time, expires_at=F("expires_at") - time)


def collect() -> int:
    """Collect all garbage at once. Returns the number of files moved to the trash."""
    collected = garbage_collection.collect_garbage(at_once=True)
    assert not collected.held
    return collected.moved
