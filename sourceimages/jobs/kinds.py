"""Names of the job kinds that are not bulk actions. `registry.KINDS` has the classes."""

from organizations.models import Job
from sourceimages.models.images import RESTORE_DELETION as RESTORE_DELETION
from sourceimages.search import index_state

COPY_ALL, DELETE_ALL, REINDEX = "copy_all", "delete_all", index_state.KIND
UNDO = "undo"  # undoes another job

DELETION_PARAMS = ("deletion_id", "undoes")  # parameters that describe a deletion
RESUMABLE = (Job.State.PAUSED, Job.State.CANCELLED, Job.State.FAILED)
