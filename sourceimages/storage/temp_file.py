"""Incoming files: hashed and counted while they are received, refused once they are too large."""

import secrets
from hashlib import sha1, sha256
from pathlib import Path
from typing import IO

from rokka.core import temp_files
from sourceimages.errors import FileTooLarge
from sourceimages.storage import translate_errors


class TempUpload:
    """A file being received. Call `write` repeatedly, then `close`; `discard` removes it unless it was stored.

    It is held in memory up to `memory` bytes, and written to a temporary file if it is larger.
    """

    def __init__(self, folder: Path, *, label: str, limit: int, memory: int = 0) -> None:
        self.path = folder / f"{secrets.token_hex(16)}.part"
        self.label = label  # name in messages
        self.limit = limit  # bytes
        self.memory = memory
        self.size = 0
        self._sha1 = sha1(usedforsecurity=False)
        self._sha256 = sha256()
        self._chunks: list[bytes] = []  # while they fit into memory
        self._file: IO[bytes] | None = None
        self.sha1 = self.sha256 = ""  # of a closed file

    @property
    def source(self) -> Path | bytes:
        """The path of a closed file, or its content if it is held in memory."""
        return self.path if self._file else self._chunks[0]

    @property
    def bytes_in_memory(self) -> int:
        return 0 if self._file else self.size

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > self.limit:
            raise FileTooLarge(
                f"{self.label}: the file exceeds {self.limit:,} bytes, the limit of this server (MAX_FILE_SIZE).",
                limit=self.limit,
            )
        self._sha1.update(chunk)
        self._sha256.update(chunk)
        self._chunks.append(chunk)
        if self.size > self.memory:
            self._spool()

    def close(self) -> None:
        if self._file:
            with translate_errors(self.label):
                self._file.close()
        else:
            self._chunks = [b"".join(self._chunks)]
        self.sha1, self.sha256 = self._sha1.hexdigest(), self._sha256.hexdigest()

    def discard(self) -> None:
        """Close and remove the file. Raises nothing, so that the response to the upload stays what it is."""
        if self._file:
            temp_files.close(self._file)
            temp_files.remove(self.path)
        self._chunks.clear()

    def _spool(self) -> None:
        """Write what is in memory to the temporary file."""
        with translate_errors(self.label):
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = open(self.path, "xb", buffering=0)  # noqa: SIM115 (open across calls)
            for chunk in self._chunks:
                view = memoryview(chunk)
                while view:  # unbuffered writes may be partial
                    view = view[self._file.write(view) :]
        self._chunks.clear()
