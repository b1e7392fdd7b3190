"""The kinds of jobs: what each needs, takes and leaves behind."""

from organizations.models import Job
from organizations.permissions import Permission
from sourceimages.jobs import bulk_actions
from sourceimages.models import Tombstone
from sourceimages.models.images import RESTORE_DELETION as RESTORE_DELETION
from sourceimages.search import index_state

COPY_ALL, DELETE_ALL, REINDEX = "copy_all", "delete_all", index_state.KIND
UNDO = "undo"  # of another job
DELETE, COPY = "delete", "copy"  # of a selection, as are the kinds in acts.ACTS

# What somebody must be granted to start a job of this kind, and to stop it or let it go on.
PERMISSIONS: dict[str, Permission] = {
    COPY_ALL: Permission.IMAGES_COPY_FROM,
    DELETE_ALL: Permission.IMAGES_DELETE_ALL,
    RESTORE_DELETION: Permission.IMAGES_WRITE,
    REINDEX: Permission.IMAGES_DELETE_ALL,
    UNDO: Permission.IMAGES_WRITE,
    DELETE: Permission.IMAGES_WRITE,
    COPY: Permission.IMAGES_COPY_FROM,
    **{kind: act.permission for kind, act in bulk_actions.BULK_ACTIONS.items()},
}
REQUIRED_PARAMS = {  # what each kind of job on a selection is told
    DELETE: frozenset[str](),
    COPY: frozenset({"destination", "overwrite"}),
    **{kind: act.takes for kind, act in bulk_actions.BULK_ACTIONS.items()},
}

DELETION_PARAMS = ("deletion_id", "undoes")  # params that describe a deletion
TOMBSTONE_REASONS = {DELETE: Tombstone.Reason.ADMIN, DELETE_ALL: Tombstone.Reason.DELETE_ALL}

RESUMABLE = (Job.State.PAUSED, Job.State.CANCELLED, Job.State.FAILED)
