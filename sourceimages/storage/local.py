"""Original files in a local folder."""

import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage

from rokka.core import failpoints, temp_files
from sourceimages.errors import OriginalMissing, StorageUnavailable
from sourceimages.storage.base import BLOCK, OWNER_MARK, TRASH, StoredObject, mark_from, translate_errors, trash_key

FSYNC_THREADS = 16  # folders synced in parallel
READ_ONLY = 0o444  # protects against changes in place by any program
WRITABLE = 0o222
CANNOT_LINK = {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP}  # then the content is copied


class LocalStorage(FileSystemStorage):
    """Files in a folder. Temporary files are in the same file system, so that storing one is a rename."""

    def __init__(self, *, links: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.links = links
        self.temp_dir = Path(self.location) / ".spool"
        self.durable: set[Path] = set()  # folders known to be synced to disk

    def put(self, source: Path | bytes, key: str) -> None:
        with translate_errors(key):
            if isinstance(source, bytes):
                with self._draft() as temp_file:
                    write_durably(temp_file, source)
                    self._place(temp_file, key)
            else:
                source.chmod(READ_ONLY)
                fsync_path(source)
                self._place(source, key)

    def _place(self, temp_file: Path, key: str) -> None:
        """Move a durable temporary file to its key."""
        failpoints.failpoint("storage.written")
        target = self._path(key)
        self._make_folders({target.parent})
        os.rename(temp_file, target)
        failpoints.failpoint("storage.placed")
        fsync_path(target.parent)

    @contextmanager
    def _draft(self) -> Iterator[Path]:
        """The path of a temporary file, which is moved in this context or removed."""
        self._make_temp_dir()
        draft = self.temp_dir / f"{secrets.token_hex(16)}.part"
        try:
            yield draft
        except BaseException:
            temp_files.remove(draft)
            raise

    def _make_temp_dir(self) -> None:
        if not os.path.isdir(self.temp_dir):
            self._check_root()
            self.temp_dir.mkdir(exist_ok=True)

    def copy(self, pairs: Sequence[tuple[str, str]]) -> set[str]:
        """Copy by hard links, as files are never changed in place."""
        root = self.location  # keys are trusted: Django's safe join takes longer than linking
        missing, linked = set(), set()
        with translate_errors("the copies"):
            self._make_folders({Path(root, folder) for folder in {_folder(to) for _, to in pairs}})
        for key, to in pairs:
            try:
                with translate_errors(key):
                    self._link(f"{root}/{key}", f"{root}/{to}")
            except OriginalMissing:
                missing.add(key)
            else:
                linked.add(_folder(to))
        with translate_errors("the copies"):
            fsync_paths([Path(root, folder) for folder in linked])
        return missing

    def _link(self, source: str, target: str) -> None:
        if self.links:
            try:
                os.link(source, target)
                return
            except OSError as error:
                if error.errno not in CANNOT_LINK:
                    raise
        with self._draft() as draft:
            shutil.copyfile(source, draft)
            draft.chmod(READ_ONLY)
            fsync_path(draft)
            draft.rename(target)

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:  # type: ignore[override]
        with translate_errors(key):
            file = open(self.path(key), "rb")  # noqa: SIM115 (closed by the iterator)
        return blocks(file, start, length)

    def internal_path(self, key: str, *, ranged: bool) -> str:
        return f"{'ranged' if ranged else 'whole'}/{key}"

    @contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        self.size(key)
        yield Path(self.path(key))

    def move_to_trash(self, keys: Iterable[str]) -> set[str]:
        pairs = {key: trash_key(key) for key in keys}
        if not pairs:
            return set()
        with translate_errors("the trash"), self._trash_lock():
            self._make_folders({self._path(to).parent for to in pairs.values()})
            moved = {key for key, to in pairs.items() if _move(self._path(key), self._path(to))}
            failpoints.failpoint("trash.moved")
            fsync_paths({self._path(path).parent for key in moved for path in (key, pairs[key])})
        return moved

    def recover(self, key: str) -> bool:
        original, trashed = self._path(key), self._path(trash_key(key))
        with translate_errors(key), self._trash_lock():
            if os.path.lexists(original) or not os.path.lexists(trashed):
                return False
            self._make_folders({original.parent})
            _move(trashed, original)
            failpoints.failpoint("trash.recovered")
            fsync_paths({original.parent, trashed.parent})
        return True

    def list_trash(self, after: str = "") -> Iterator[StoredObject]:
        yield from self._stored_object(self._path(TRASH), after, skipped=frozenset())

    def empty_trash(self, keys: Iterable[str]) -> None:
        with translate_errors("the trash"), self._trash_lock():
            for key in keys:
                self._path(trash_key(key)).unlink(missing_ok=True)

    def size(self, key: str) -> int:
        with translate_errors(key):
            return os.stat(self.path(key)).st_size

    def sizes(self, keys: Collection[str]) -> dict[str, int]:
        found = {}
        for key in keys:
            with suppress(OriginalMissing):
                found[key] = self.size(key)
        return found

    def list_objects(self, after: str = "") -> Iterator[StoredObject]:
        yield from self._stored_object(
            Path(self.location), after, skipped={self.temp_dir.name, TRASH.rstrip("/"), OWNER_MARK}
        )

    def now(self) -> float:
        self._check_root()
        return folder_now(self.temp_dir)

    def check(self) -> None:
        self._check_root()
        if not os.access(self.location, os.R_OK | os.W_OK | os.X_OK):
            raise StorageUnavailable(f"The folder {self.location} is not writable. Check its permissions.")
        try:
            self.temp_dir.mkdir(exist_ok=True)
            temp_files.check_writable(self.temp_dir)
        except OSError as error:
            raise StorageUnavailable(f"The folder {self.location} can't be written to: {error.strerror}.") from error

    def _path(self, key: str) -> Path:
        """The path of a key. Keys are trusted: Django's safe join takes longer than most operations."""
        return Path(self.location, key)

    def _stored_object(self, folder: Path, after: str, *, skipped: Collection[str]) -> Iterator[StoredObject]:
        if not folder.is_dir():
            return  # don't create it: the disk may not be mounted
        now = self.now()
        for key, status in files_below(folder, after=after, skipped=skipped):
            # ctime of the inode: hard links keep the mtime of the original file.
            yield StoredObject(key, status.st_size, now - status.st_ctime, read_only=not status.st_mode & WRITABLE)

    @contextmanager
    def _trash_lock(self) -> Iterator[None]:
        """Serialize moves to and from the trash across processes: renaming replaces, so they check first."""
        self._check_root()
        self.temp_dir.mkdir(exist_ok=True)
        with open(self.temp_dir / "trash.lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _make_folders(self, folders: set[Path]) -> None:
        """Create the folders durably: their own entries must survive a power failure."""
        new = folders - self.durable - {Path(self.location)}
        if not new:
            return
        self._check_root()
        self._make_folders({folder.parent for folder in new})
        for folder in new:
            folder.mkdir(exist_ok=True)
        fsync_paths({folder.parent for folder in new})
        self.durable |= new

    def _check_root(self) -> None:
        """Raises StorageUnavailable if the folder is missing.

        Only `write_mark` creates it: later, its disk may not be mounted.
        """
        if not os.path.isdir(self.location):
            raise StorageUnavailable(f"The folder {self.location} is missing. Check that its disk is mounted.")

    def read_mark(self) -> dict[str, Any] | None:
        with translate_errors(OWNER_MARK):
            try:
                return mark_from(Path(self.location, OWNER_MARK).read_bytes())
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write_mark(self, mark: dict[str, Any]) -> None:
        root = Path(self.location)
        with translate_errors(OWNER_MARK):
            self.temp_dir.mkdir(parents=True, exist_ok=True)
            draft = self.temp_dir / f"{secrets.token_hex(16)}.part"
            try:
                draft.write_text(json.dumps(mark))
                fsync_path(draft)
                draft.rename(root / OWNER_MARK)
            finally:
                temp_files.remove(draft)
            fsync_paths({root, root.parent})

    def place(self) -> object:
        try:
            status = os.stat(self.location)
        except OSError:
            return "nowhere"
        return status.st_dev, status.st_ino


def _folder(key: str) -> str:
    return key.rpartition("/")[0]


def files_below(
    folder: Path, prefix: str = "", *, after: str, skipped: Collection[str] = ()
) -> Iterator[tuple[str, os.stat_result]]:
    """Files by their relative path, sorted; `skipped` are names at the top level."""
    try:
        with os.scandir(folder) as entries:
            found = {
                prefix + entry.name + "/" * entry.is_dir(follow_symlinks=False): entry
                for entry in entries
                if entry.name not in skipped
            }
    except (FileNotFoundError, PermissionError):
        return  # removed in the meantime, or not readable, like lost+found
    for key, entry in sorted(found.items()):
        if key.endswith("/"):
            if key > after or after.startswith(key):
                yield from files_below(Path(entry.path), key, after=after)
        elif key > after:
            with suppress(FileNotFoundError):  # removed in the meantime
                yield key, entry.stat(follow_symlinks=False)


def folder_now(folder: Path) -> float:
    """The time of the folder's file system, which differs from the local time if another machine serves it."""
    with translate_errors("the clock"):
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f"{secrets.token_hex(16)}.part"
        try:
            draft.touch()
            return draft.stat().st_mtime
        finally:
            temp_files.remove(draft)


def _move(source: Path, target: Path) -> bool:
    """Rename the file and restart its age; False if it does not exist."""
    try:
        source.rename(target)
    except FileNotFoundError:
        return False
    target.chmod(READ_ONLY)  # updates ctime, which not every file system does on rename
    return True


def blocks(file: Any, start: int, length: int | None) -> Iterator[bytes]:
    with file:
        file.seek(start)
        remaining = os.fstat(file.fileno()).st_size - start if length is None else length
        while remaining > 0 and (block := file.read(min(BLOCK, remaining))):
            remaining -= len(block)
            yield block


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file that is read-only, and sync it to disk."""
    with open(path, "xb", buffering=0) as file:
        os.fchmod(file.fileno(), READ_ONLY)
        view = memoryview(content)
        while view:  # unbuffered writes may be partial
            view = view[file.write(view) :]
        os.fsync(file.fileno())


def fsync_path(path: Path) -> None:
    """Sync the content of a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_paths(paths: Collection[Path]) -> None:
    """Sync the paths, several in parallel, the first of them in this thread: often it is the only one."""
    if not paths:
        return
    first, *others = paths
    if not others:
        fsync_path(first)
        return
    with ThreadPoolExecutor(min(FSYNC_THREADS, len(others))) as pool:
        synced = pool.map(fsync_path, others)
        fsync_path(first)
        list(synced)  # re-raises errors of threads
