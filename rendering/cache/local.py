"""Renders in a local folder. The file system keeps the time of the last use."""

import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import UUID

import structlog

from rendering.cache.base import CachedRender, CacheUsage, RenderName, memory_draft, reopened
from rendering.errors import CacheUnavailable
from rokka.core import temp_files

DRAFTS = ".drafts"
REMOVED = ".removed"
MAX_DRAFT_AGE = 3600  # seconds; an older one was left by a killed process
TOUCH_AFTER = 86_400  # seconds without use, after which a hit updates the time of the last use
EVICT_TO = 0.9  # of the budget, so that evictions are rare

log = structlog.get_logger()


class LocalRenderCache:
    """Files `{organization}/{first two digits}/{image}/{key}.{format}`, written beside and renamed."""

    def __init__(self, *, location: str) -> None:
        self.location = location

    def find(self, name: RenderName, formats: Collection[str]) -> CachedRender | None:
        for format in formats:
            path = Path(self.location, name.folder, f"{name.key}.{format}")
            try:
                file = open(path, "rb")  # noqa: SIM115 (closed by the caller)
            except OSError:
                continue
            status = os.fstat(file.fileno())
            # The kernel updates atime at most once a day, or never (noatime), so hits do it themselves.
            if time.time() - status.st_atime > TOUCH_AFTER:
                with suppress(OSError):
                    os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))
            return CachedRender(format, status.st_size, file)
        return None

    @contextmanager
    def draft(self) -> Iterator[IO[bytes]]:
        path = Path(self.location, DRAFTS, secrets.token_hex(16))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file: IO[bytes] = open(path, "x+b", buffering=0)  # noqa: SIM115 (closed below)
        except OSError as error:
            log.warning("render.not_cached", why=str(error))
            file = memory_draft()
        try:
            yield file
        finally:
            temp_files.close(file)
            temp_files.remove(path)

    def put(self, name: RenderName, format: str, draft: IO[bytes]) -> CachedRender:
        folder = Path(self.location, name.folder)
        target = folder / f"{name.key}.{format}"
        size = os.fstat(draft.fileno()).st_size
        if not isinstance(draft.name, str):  # in memory
            return reopened(draft, format, size)
        for _ in range(3):  # a purge may remove the folder at any time
            try:
                folder.mkdir(parents=True, exist_ok=True)
                os.rename(draft.name, target)
            except FileNotFoundError:
                continue
            except OSError as error:
                log.warning("render.not_cached", key=name.key, why=str(error))
            break
        return reopened(draft, format, size)

    def purge(self, organization_id: UUID, image_hash: str = "") -> int:
        folder = self._folder(organization_id, image_hash)
        removed = Path(self.location, REMOVED, secrets.token_hex(16))
        try:
            removed.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(removed)  # so that a hit after the purge is impossible
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise CacheUnavailable("The render cache can't be changed: its disk is full or read-only.") from error
        count = sum(1 for _ in _files(removed))
        shutil.rmtree(removed, ignore_errors=True)
        return count

    def count(self, organization_id: UUID, image_hash: str = "") -> int:
        return sum(1 for _ in _files(self._folder(organization_id, image_hash)))

    def _folder(self, organization_id: UUID, image_hash: str) -> Path:
        folder = Path(self.location, organization_id.hex)
        return folder / image_hash[:2] / image_hash if image_hash else folder

    def images(self) -> Iterator[tuple[UUID, str]]:
        for organization in _folders(Path(self.location)):
            for shard in _folders(organization):
                for image in _folders(shard):
                    yield UUID(hex=organization.name), image.name

    def evict(self, budget: int) -> CacheUsage:
        self._remove_leftovers()
        found = []
        for organization in _folders(Path(self.location)):
            for entry in _files(organization):
                with suppress(OSError):
                    status = entry.stat()
                    found.append((max(status.st_atime, status.st_mtime), status.st_size, entry.path))
        size = sum(bytes for _, bytes, _ in found)
        removed_size = removed_files = 0
        if size > budget:
            found.sort()
            for _, bytes, path in found:
                if size - removed_size <= budget * EVICT_TO:
                    break
                with suppress(OSError):
                    os.unlink(path)
                    removed_size += bytes
                    removed_files += 1
                with suppress(OSError):
                    os.rmdir(os.path.dirname(path))  # fails unless empty
        return CacheUsage(size, len(found), removed_size, removed_files)

    def _remove_leftovers(self) -> None:
        """Remove what killed processes have left."""
        shutil.rmtree(Path(self.location, REMOVED), ignore_errors=True)
        for entry in _files(Path(self.location, DRAFTS)):
            with suppress(OSError):
                if time.time() - entry.stat().st_mtime > MAX_DRAFT_AGE:
                    os.unlink(entry.path)


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, without hidden ones, sorted by name."""
    with suppress(OSError), os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    return []


def _files(folder: Path) -> "Iterator[os.DirEntry[str]]":
    """All files below a folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield entry
