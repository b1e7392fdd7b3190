"""Originals as files under a folder."""

import errno
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage

from rokka import faults
from sourceimages.errors import BytesMissing, StorageUnavailable
from sourceimages.storage.base import BLOCK, Held, translated

SYNCS = 16  # folders at once
CANNOT_LINK = {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP}  # then the bytes are copied


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
