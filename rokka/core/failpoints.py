"""Failpoints: named steps at which tests kill the process, to show that a crash at any step loses no data.

With ROKKA_FAILPOINT=<name>, the process kills itself with SIGKILL at that step. Without it, a failpoint costs one
comparison.
"""

import os
import signal

FAILPOINTS = (
    "upload.received",  # the body is read, the files are not probed yet
    "upload.probed",  # the files are probed, nothing is stored
    "storage.written",  # the temporary file is durable, not yet moved to its key
    "storage.placed",  # the file is at its key, the folder may not be durable
    "trash.copied",  # the file is copied to the trash, not yet deleted at its key (S3)
    "trash.moved",  # the file is in the trash, the folders may not be durable (local files)
    "trash.recovered",  # the file is back at its key, and possibly still in the trash
    "upload.stored",  # the file is stored without a row
    "upload.file_inserted",  # the StoredFile row is inserted, uncommitted
    "upload.image_inserted",  # the SourceImage row is inserted, uncommitted
    "upload.counted",  # the usage is counted, uncommitted
    "upload.committed",  # committed, no response sent
    "bulk_action.applied",  # images are changed, the job's position is not, uncommitted
    "undo.applied",  # changes are reverted, the job's position is not updated, uncommitted
    "copy.stored",  # files are copied, their rows are inserted, uncommitted
    "copy.committed",
    "purge.deleted",  # rows are deleted, uncommitted
    "purge.committed",  # rows are deleted, their files are not
    "collect.selected",  # garbage is identified, nothing is moved to the trash
    "collect.rows_removed",  # rows of unused files are deleted, the files are not
    "optimize.transcoded",  # the new file is a temporary file
    "optimize.placed",  # the new file is at its key, without a row
    "optimize.switched",  # the row refers to the new file, uncommitted
    "optimize.committed",  # the old file is still stored
    "optimize.recovered",  # undo: the old file is restored, the row refers to the new one
    "optimize.undone",  # the row refers to the old file, the new one is still stored
    "render.locked",  # the lock of the key is held, nothing is rendered
    "render.drafted",  # the result is a temporary file
    "owner.claimed",  # database and storage have their owner mark, with counter 0
    "owner.counted",  # the counter is incremented in the database, not yet in the storage
)

ACTIVE = os.environ.get("ROKKA_FAILPOINT", "")
if ACTIVE and ACTIVE not in FAILPOINTS:
    raise ValueError(f"Invalid ROKKA_FAILPOINT={ACTIVE!r}. Use one of {', '.join(FAILPOINTS)}.")


def failpoint(name: str) -> None:
    """Kill the process if the failpoint is active."""
    if name == ACTIVE:
        os.kill(os.getpid(), signal.SIGKILL)
