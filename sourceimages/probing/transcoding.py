"""Pictures in another format, made by a limited child process of their own."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from sourceimages.errors import ReadingInterrupted

from .pool import COMMAND, SandboxMissingError, Worker, WorkerDiedError, WorkerKilledError

SECONDS = 480  # for one picture; the child has less for its computing


@dataclass(frozen=True, slots=True)
class TranscodeResult:
    """Where the new bytes are and what they are; or why the picture is left alone."""

    path: Path
    format: str = ""
    skipped_reason: str = ""


@contextmanager
def transcode(source: Path, format: str, to: str, *, folder: Path) -> Iterator[TranscodeResult]:
    """The image as `to` says (png or jpg), in a file of the folder that is gone afterwards unless it was moved.

    ReadingInterrupted if the process was killed, which says nothing about the image.
    """
    folder.mkdir(parents=True, exist_ok=True)
    places = [folder / f"{secrets.token_hex(16)}.part" for _ in range(2)]
    descriptors: list[int] = []
    try:
        descriptors += [os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600) for place in places]
        out, scratch = zip(map(str, places), descriptors, strict=True)
        try:
            answer = _call(
                {"path": str(source), "format": format, "to": to, "out": out, "scratch": scratch}, descriptors
            )
        except WorkerKilledError as error:
            raise ReadingInterrupted(f"Rewriting was interrupted: {error}.") from error
        except WorkerDiedError as error:
            answer = {"skipped_reason": str(error)}
        yield TranscodeResult(places[0], **answer)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        for place in places:
            place.unlink(missing_ok=True)


def _call(request: dict[str, object], descriptors: list[int]) -> dict[str, str]:
    """One child for one picture: whatever it has come to hold, it is gone with it."""
    try:
        child = Worker((*COMMAND, "--writes"), files=descriptors)
    except WorkerKilledError:
        raise
    except WorkerDiedError as error:  # which says nothing about the picture
        raise RuntimeError(f"The process that rewrites pictures does not start: {error}") from error
    try:
        if settings.SANDBOX == "required" and not child.sandboxed:
            raise SandboxMissingError("SANDBOX=required, but a process that rewrites pictures could open a socket.")
        return child.call({"ask": "rewrite", **request}, seconds=SECONDS)
    finally:
        child.kill()
