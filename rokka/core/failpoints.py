"""Named places where a test may kill the process, to show that a crash at any step loses nothing.

ROKKA_FAILPOINT=<name> makes the process kill itself there with SIGKILL. Without it, a failpoint is one comparison.
"""

import os
import signal

FAILPOINTS = (
    "upload.spooled",  # the body is read, nothing is known of the files yet
    "upload.probed",  # what the files are is known, nothing is kept
    "storage.written",  # bytes are durable in the spool, not yet in their place
    "storage.placed",  # bytes are in their place, the folder may not be durable
    "trash.copied",  # bytes are in the trash, too, and not yet removed from their place (S3)
    "trash.moved",  # bytes are in the trash, the folders may not be durable (local files)
    "trash.recovered",  # bytes are back at their place, and maybe still in the trash
    "upload.stored",  # bytes are kept, no row knows them
    "upload.file_inserted",  # a row for the bytes, uncommitted
    "upload.image_inserted",  # a row for the picture, uncommitted
    "upload.counted",  # everything written, uncommitted
    "upload.committed",  # durable, not answered
    "bulk_action.applied",  # something is done to a picture, the job's position has not moved yet, uncommitted
    "undo.applied",  # something is taken back, the job's position has not moved yet, uncommitted
    "copy.stored",  # bytes are copied, rows for them are written, uncommitted
    "copy.committed",  # durable
    "purge.deleted",  # rows are gone, uncommitted
    "purge.committed",  # rows are gone, their bytes are at their place
    "collect.judged",  # what has to be moved to the trash is known, nothing is moved
    "collect.rows_removed",  # rows of files that no image shows are gone, the files are at their place
    "optimize.rewritten",  # the new bytes are in the spool
    "optimize.placed",  # they are in their place, no row knows them
    "optimize.switched",  # the row names them, uncommitted
    "optimize.committed",  # the old file is still in its place
    "optimize.recovered",  # undoing it: the old file is back in its place, the row names the new one
    "optimize.undone",  # the row names the old file, the new one is still in its place
    "owner.claimed",  # database and storage have their mark, with a counter of zero
    "owner.counted",  # the counter is raised in the database, not yet in the storage
)

ACTIVE = os.environ.get("ROKKA_FAILPOINT", "")
if ACTIVE and ACTIVE not in FAILPOINTS:
    raise ValueError(f"ROKKA_FAILPOINT={ACTIVE!r} is not one of {', '.join(FAILPOINTS)}")


def failpoint(name: str) -> None:
    if name == ACTIVE:
        os.kill(os.getpid(), signal.SIGKILL)
