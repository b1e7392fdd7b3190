"""Storage, owner mark, render cache and disks."""

import os
import secrets
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha1, sha256
from pathlib import Path
from uuid import UUID, uuid4

from django.conf import settings
from django.db import DatabaseError, connection

from rendering.cache import RenderName, renders
from rokka.doctor.findings import Finding, error, ok, warning
from sourceimages import ownership, storage
from sourceimages.management.terminal import size_label

CONTENT = b"a test of manage.py doctor"
HASH = sha1(CONTENT).hexdigest()  # noqa: S324, as in all keys
NO_ORGANIZATION = UUID(int=0)  # the same for all runs: local storages keep its empty folders
MIN_FREE_SHARE = 0.1  # of a disk


def check_storage() -> Iterator[Finding]:
    """Write, read and delete an object. If it is left behind, it is an orphan, which garbage collection removes."""
    originals = storage.originals()
    if isinstance(originals, storage.LocalStorage) and _is_created_later(originals):
        yield ok(f"{originals.location} does not exist yet. The first request creates it.")
        return
    originals.check()
    started = time.perf_counter()
    key = storage.new_key(NO_ORGANIZATION, HASH)
    originals.temp_dir.mkdir(parents=True, exist_ok=True)
    draft = originals.temp_dir / f"{secrets.token_hex(16)}.part"
    try:
        draft.write_bytes(CONTENT)
        originals.put(draft, key)
        same = b"".join(originals.open(key)) == CONTENT
    finally:
        draft.unlink(missing_ok=True)
        originals.empty_trash(originals.move_to_trash([key]))
    if not same:
        yield error("The storage returns other content than was written.")
    elif originals.sizes([key]):
        yield error(f"The storage has not deleted the test object {key}.")
    else:
        yield ok(f"an object was written, read and deleted in {_milliseconds(started)} ms")


def _is_created_later(originals: storage.LocalStorage) -> bool:
    """Whether the folder is missing because there are no images yet: the first request creates it."""
    if not os.path.isdir(originals.location):
        with suppress(DatabaseError):  # another check reports that
            return ownership.examine().new
    return False


def check_owner() -> Iterator[Finding]:
    """Only compares: a new database and storage are marked by the first request."""
    finding = ownership.examine()
    if finding.problem:
        yield error(finding.problem.error.message)
    elif finding.new:
        yield warning("Database and storage are new and have no owner mark yet. The first request writes it.")
    else:
        yield ok("database and storage belong together")


def check_render_cache() -> Iterator[Finding]:
    cache, started = renders(), time.perf_counter()
    name = RenderName(uuid4(), HASH, sha256(CONTENT).hexdigest())
    content = None
    try:
        with cache.draft() as draft:
            draft.write(CONTENT)
            cache.put(name, "png", draft).file.close()
        if found := cache.find(name, ["png"]):
            with found.file:
                content = found.file.read()
    finally:
        cache.purge(name.organization_id)  # raises if the cache is unreachable, which the other verbs only log
    if content is None:
        yield error("A render that was just cached is not found. Every request renders again.")
    elif content != CONTENT:
        yield error("The render cache returns other content than was written.")
    else:
        yield ok(f"an object was written, found and deleted in {_milliseconds(started)} ms")


def check_disks() -> Iterator[Finding]:
    """The free space of each file system that rokka writes to."""
    uses: dict[int, dict[str, Path]] = defaultdict(dict)
    for label, folder in _folders():
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        uses[os.stat(existing).st_dev][label] = existing
    for folders in uses.values():
        usage = shutil.disk_usage(next(iter(folders.values())))
        yield disk_finding(", ".join(folders), free=usage.free, total=usage.total)


def disk_finding(label: str, *, free: int, total: int) -> Finding:
    """Judge the free space of a file system (bytes)."""
    message = f"{size_label(free)} of {size_label(total)} are free ({label})"
    if free < settings.MAX_REQUEST_SIZE:
        return error(f"{message}, less than one request can have (MAX_REQUEST_SIZE).")
    return warning(f"{message}.") if free < MIN_FREE_SHARE * total else ok(message)


def _folders() -> Iterator[tuple[str, Path]]:
    originals, cache = storage.originals(), settings.STORAGES["renders"]["OPTIONS"]
    yield "DATA_DIR", settings.DATA_DIR
    if connection.vendor == "sqlite":
        yield "database", Path(connection.settings_dict["NAME"]).absolute().parent
    if isinstance(originals, storage.LocalStorage):
        yield "storage", Path(originals.location)
    yield "uploads", originals.temp_dir
    if "location" in cache:
        yield "render cache", Path(cache["location"])
    yield "temporary files", Path(tempfile.gettempdir())


def _milliseconds(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
