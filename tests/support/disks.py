"""Small file systems that can be filled or made read-only under running servers.

They are mounted where that is permitted. Elsewhere, as in containers, the processes of a server get a limit on the size
of files and lose the privilege of root to ignore permissions, so that the same system calls fail.
"""

import contextlib
import ctypes
import os
import resource
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2  # linux/capability.h
CAPABILITY_VERSION = 0x20080522
UNLIMITED = resource.RLIM_INFINITY
LIMIT = 2000  # bytes of a file, which small renders don't reach


class Disk:
    """A file system at `folder`. `fill` and `protect` make writes fail until `free` and `unprotect`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def fill(self, processes: Iterable[int]) -> None:
        raise NotImplementedError

    def free(self, processes: Iterable[int]) -> None:
        raise NotImplementedError

    def protect(self) -> None:
        raise NotImplementedError

    def unprotect(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


class MountedDisk(Disk):
    """A file system in memory. Raises CalledProcessError unless mounting is permitted."""

    SIZE = "64m"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._filler = folder / "filler"
        _run("mount", "-t", "tmpfs", "-o", f"size={self.SIZE}", "rokka-test", str(folder))

    def fill(self, processes: Iterable[int]) -> None:
        with contextlib.suppress(OSError), open(self._filler, "wb", buffering=0) as file:
            for size in (1 << 20, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def free(self, processes: Iterable[int]) -> None:
        self._filler.unlink()

    def protect(self) -> None:
        # A file system with files that are open for writing can't be remounted, but a bind mount can.
        _run("mount", "--bind", str(self.folder), str(self.folder))
        _run("mount", "-o", "remount,bind,ro", str(self.folder))

    def unprotect(self) -> None:
        _run("umount", "-l", str(self.folder))

    def close(self) -> None:
        while os.path.ismount(self.folder):
            _run("umount", "-l", str(self.folder))


class LimitedDisk(Disk):
    """A folder whose files can't grow, or can't be changed, for the processes of a server."""

    def fill(self, processes: Iterable[int]) -> None:
        self._limit(processes, LIMIT)

    def free(self, processes: Iterable[int]) -> None:
        self._limit(processes, UNLIMITED)

    def _limit(self, processes: Iterable[int], size: int) -> None:
        for process in processes:
            resource.prlimit(process, resource.RLIMIT_FSIZE, (size, UNLIMITED))

    def protect(self) -> None:
        self._modes = {path: path.stat().st_mode for path in (self.folder, *self.folder.rglob("*"))}
        for path, mode in self._modes.items():
            path.chmod(mode & ~0o222)

    def unprotect(self) -> None:
        for path, mode in self._modes.items():
            path.chmod(mode)


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    try:
        made: Disk = MountedDisk(folder)
    except (OSError, subprocess.CalledProcessError):
        folder.rmdir()
        made = LimitedDisk(folder)
    try:
        yield made
    finally:
        made.close()


def obey_permissions() -> None:
    """Make this process, and those that it forks, obey the permissions of files even as root. See LimitedDisk."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    sets[0] &= ~(1 << DAC_OVERRIDE | 1 << DAC_READ_SEARCH)  # effective capabilities 0 to 31
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
