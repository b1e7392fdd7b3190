"""A file-based cache for many entries."""

import random

from django.core.cache.backends.filebased import FileBasedCache

CULL_PROBABILITY = 1 / 50  # per write


class RandomCullFileCache(FileBasedCache):
    """Culls only on a random fraction of writes: listing 10,000 files takes longer than the rest of a write.

    It can temporarily exceed MAX_ENTRIES by some dozens.
    """

    def _cull(self) -> None:
        if random.random() < CULL_PROBABILITY:  # noqa: S311 (not security-relevant)
            super()._cull()  # type: ignore[misc]  # missing in the stubs
