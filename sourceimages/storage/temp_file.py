"""Incoming files: hashed and counted while they are written, refused once they are too large."""

import secrets
from hashlib import sha1, sha256
from pathlib import Path

from sourceimages.errors import FileTooLarge
from sourceimages.storage import translate_errors


class TempUpload:
    """A file being received. Call `write` repeatedly, then `close`; `discard` removes it unless it was stored."""

    def __init__(self, folder: Path, *, label: str, limit: int) -> None:
        self.path = folder / f"{secrets.token_hex(16)}.part"
        self.label = label  # name in messages
        self.limit = limit  # bytes
        self.size = 0
        self._sha1 = sha1(usedforsecurity=False)
        self._sha256 = sha256()
        with translate_errors(label):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "xb", buffering=0)  # noqa: SIM115 (open across calls)

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > self.limit:
            raise FileTooLarge(
                f"{self.label}: the file exceeds {self.limit:,} bytes, the limit of this server (MAX_FILE_SIZE).",
                limit=self.limit,
            )
        self._sha1.update(chunk)
        self._sha256.update(chunk)
        view = memoryview(chunk)
        with translate_errors(self.label):
            while view:  # unbuffered writes may be partial
                view = view[self._file.write(view) :]

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)

    @property
    def sha1(self) -> str:
        return self._sha1.hexdigest()

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()
