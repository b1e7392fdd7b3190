"""Jobs: operations on many images, in batches that survive killed processes. All state is in the job's row."""

from sourceimages.jobs.control import cancel, find_equal, find_interrupted, get, resume, stop
from sourceimages.jobs.create import (
    index_stale,
    retry_arguments,
    start_bulk_action,
    start_copy_all,
    start_delete_all,
    start_reindex,
    start_restore,
    start_retry,
    start_undo,
)
from sourceimages.jobs.kinds import COPY_ALL, DELETE_ALL, REINDEX, RESTORE_DELETION, RESUMABLE, UNDO
from sourceimages.jobs.registry import KINDS, label_of, outcome_counts, permission_for, title
from sourceimages.jobs.runner import TIME_SLICE, handle_killed, is_waiting, run, run_one_batch, stalled

__all__ = [
    "COPY_ALL",
    "DELETE_ALL",
    "KINDS",
    "REINDEX",
    "RESTORE_DELETION",
    "RESUMABLE",
    "TIME_SLICE",
    "UNDO",
    "cancel",
    "find_equal",
    "find_interrupted",
    "get",
    "handle_killed",
    "index_stale",
    "is_waiting",
    "label_of",
    "outcome_counts",
    "permission_for",
    "resume",
    "retry_arguments",
    "run",
    "run_one_batch",
    "stalled",
    "start_bulk_action",
    "start_copy_all",
    "start_delete_all",
    "start_reindex",
    "start_restore",
    "start_retry",
    "start_undo",
    "stop",
    "title",
]
