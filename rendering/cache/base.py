"""The interface of a render cache."""

import os
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class RenderName:
    """Where a render is cached: below the image it shows, so that all renders of an image can be removed."""

    organization_id: UUID
    image_hash: str
    key: str  # sha256 of the recipe, hex

    @property
    def folder(self) -> str:
        return f"{self.organization_id.hex}/{self.image_hash[:2]}/{self.image_hash}"


@dataclass(frozen=True, slots=True)
class CachedRender:
    """A finished render. It is open, so that it can be sent even if it is evicted; the caller closes it."""

    format: str  # of the file, such as "webp"
    size: int  # bytes
    file: IO[bytes]


def memory_draft() -> IO[bytes]:
    """A draft that is not in a folder, for a render that can't or need not be written to one."""
    return os.fdopen(os.memfd_create("draft"), "w+b", buffering=0)


def reopened(draft: IO[bytes], format: str, size: int) -> CachedRender:
    """The render in this draft, which stays readable when the draft is closed or its path is removed."""
    file = os.fdopen(os.dup(draft.fileno()), "rb")
    file.seek(0)
    return CachedRender(format, size, file)


@dataclass(frozen=True, slots=True)
class CacheUsage:
    """What an eviction found and removed, in bytes and files."""

    size: int
    files: int
    removed_size: int
    removed_files: int


class RenderCache(Protocol):
    def find(self, name: RenderName, formats: Collection[str]) -> CachedRender | None:
        """The render in one of the formats, or None. Errors of the cache count as a miss."""

    def draft(self) -> AbstractContextManager[IO[bytes]]:
        """A temporary file for a render. It is removed on exit unless it was put into the cache. Raises no OSError."""

    def put(self, name: RenderName, format: str, draft: IO[bytes]) -> CachedRender:
        """Move the draft into the cache, atomically, and return it.

        A full or unreachable cache is logged. A draft in memory is returned, and cached only if that needs no disk.
        """

    def purge(self, organization_id: UUID, image_hash: str = "") -> int:
        """Remove the renders of an image, or all of the organization; return how many there were.

        Raises CacheUnavailable.
        """

    def count(self, organization_id: UUID, image_hash: str = "") -> int:
        """How many renders `purge` would remove."""

    def images(self) -> Iterator[tuple[UUID, str]]:
        """Organization and hash of all images that have renders."""

    def evict(self, budget: int) -> CacheUsage:
        """Remove the renders that were not used for the longest time, until all take at most `budget` bytes."""
