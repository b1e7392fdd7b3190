"""Transcode images in a dedicated worker process."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from rokka.core import temp_files
from sourceimages.errors import ReadingInterrupted, StorageUnavailable

from .pool import COMMAND, SandboxMissingError, Worker, WorkerDiedError, WorkerKilledError

SECONDS = 480  # per image; the worker has a lower limit of CPU time


@dataclass(frozen=True, slots=True)
class TranscodeResult:
    """The path and format of the new file, or the reason why the image was skipped."""

    path: Path
    format: str = ""
    skipped_reason: str = ""


@contextmanager
def transcode(source: Path, format: str, to: str, *, folder: Path) -> Iterator[TranscodeResult]:
    """The image transcoded to `to` (png or jpg), in a temporary file that is removed on exit unless moved.

    Raises ReadingInterrupted if the worker was killed, which says nothing about the image, and StorageUnavailable.
    """
    paths = [folder / f"{secrets.token_hex(16)}.part" for _ in range(2)]
    descriptors: list[int] = []
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptors += [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600) for path in paths]
        except OSError as error:
            raise StorageUnavailable("The disk of temporary files is full or can't be written.") from error
        out, scratch = zip(map(str, paths), descriptors, strict=True)
        try:
            answer = _call(
                {"path": str(source), "format": format, "to": to, "out": out, "scratch": scratch}, descriptors
            )
        except WorkerKilledError as error:
            raise ReadingInterrupted(f"Transcoding was interrupted: {error}. Try again later.") from error
        except WorkerDiedError as error:
            answer = {"skipped_reason": str(error)}
        yield TranscodeResult(paths[0], **answer)
    finally:
        for descriptor in descriptors:
            with suppress(OSError):
                os.close(descriptor)
        for path in paths:
            temp_files.remove(path)


def _call(request: dict[str, object], descriptors: list[int]) -> dict[str, str]:
    """Use a new worker per image, so that its memory is freed afterwards."""
    try:
        worker = Worker((*COMMAND, "--writes"), files=descriptors)
    except WorkerKilledError:
        raise
    except WorkerDiedError as error:  # says nothing about the image
        raise RuntimeError(f"The worker process that transcodes images does not start: {error}") from error
    try:
        if settings.SANDBOX == "required" and not worker.sandboxed:
            raise SandboxMissingError("SANDBOX=required, but the transcoding worker can open sockets.")
        return worker.call({"ask": "transcode", **request}, seconds=SECONDS)
    finally:
        worker.kill()
