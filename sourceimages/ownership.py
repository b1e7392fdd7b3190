"""Whether database and storage belong together: the owner mark in the storage against the one in the database."""


def check_writable() -> None:
    """Raises StorageMismatch where database and storage do not agree: reads go on, nothing is written or removed.

    Cheap enough for every request that writes: the answer is cached for a few seconds in each process.
    """


def check_removable() -> None:
    """The same, asked anew. Whatever moves or removes files calls it before each bounded round."""
