"""Long work, in batches that survive killed processes. What a job is about and how far it is stands in its row."""

from sourceimages.jobs.batches import STEPS
from sourceimages.jobs.control import cancel, get, go_on, interrupted, same, stop
from sourceimages.jobs.create import (
    act,
    copy_all,
    delete_all,
    index,
    index_stale,
    restore_all,
    retry,
    retry_arguments,
    undo_job,
)
from sourceimages.jobs.kinds import COPY, COPY_ALL, DELETE, DELETE_ALL, INDEX, PERMISSIONS, RESTORE, RESUMABLE, UNDO
from sourceimages.jobs.runner import SLICE, killed, run, stalled, step, waits

__all__ = [
    "COPY",
    "COPY_ALL",
    "DELETE",
    "DELETE_ALL",
    "INDEX",
    "PERMISSIONS",
    "RESTORE",
    "RESUMABLE",
    "SLICE",
    "STEPS",
    "UNDO",
    "act",
    "cancel",
    "copy_all",
    "delete_all",
    "get",
    "go_on",
    "index",
    "index_stale",
    "interrupted",
    "killed",
    "restore_all",
    "retry",
    "retry_arguments",
    "run",
    "same",
    "stalled",
    "step",
    "stop",
    "undo_job",
    "waits",
]
