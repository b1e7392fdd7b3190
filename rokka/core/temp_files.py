"""Temporary files. Removing one never replaces the result or the error of the work that used it."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import IO

import structlog

CHECK_BYTES = 64 * 1024  # more than what a disk can be short of while a small file still fits

log = structlog.get_logger()


def remove(path: Path) -> None:
    """Remove the file if it exists. A failure, such as on a disk that became read-only, is logged.

    Scheduled tasks remove what is left once that is possible.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        if os.path.lexists(path):  # on a read-only disk, removing a missing file fails too
            log.warning("temp_file.not_removed", path=str(path), why=str(error))


def check_writable(folder: Path) -> None:
    """Write a file into the folder and remove it. Raises OSError, such as for a full or read-only disk."""
    path = folder / f"{secrets.token_hex(16)}.part"
    try:
        path.write_bytes(bytes(CHECK_BYTES))
    finally:
        remove(path)


def close(file: IO[bytes]) -> None:
    """Close a file whose content is no longer needed. Network file systems report failed writes when closing."""
    with suppress(OSError):
        file.close()
