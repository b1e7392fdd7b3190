"""The cache that holds many files."""

import random

from django.core.cache.backends.filebased import FileBasedCache

CULL_PROBABILITY = 1 / 50  # of the times that something is put in


class RandomCullFileCache(FileBasedCache):
    """Lists its folder only now and then: among 10,000 files that takes longer than all the rest of putting one in.

    It may hold some dozens more than MAX_ENTRIES for a while.
    """

    def _cull(self) -> None:
        if random.random() < CULL_PROBABILITY:  # noqa: S311, nothing is kept secret by it
            super()._cull()  # type: ignore[misc]  # its stubs leave it out
