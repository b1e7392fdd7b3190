"""The kinds of jobs: what each needs, takes and leaves behind."""

from organizations.models import Job
from organizations.permissions import Permission
from sourceimages.jobs import bulk_actions
from sourceimages.models import Tombstone
from sourceimages.models.images import RESTORE as RESTORE
from sourceimages.search import index_state

COPY_ALL, DELETE_ALL, INDEX = "copy-all", "delete-all", index_state.KIND
UNDO = "undo"  # of another job
DELETE, COPY = "delete", "copy"  # of a selection, as are the kinds in acts.ACTS

# What somebody must be granted to start a job of this kind, and to stop it or let it go on.
PERMISSIONS: dict[str, Permission] = {
    COPY_ALL: Permission.IMAGES_COPY_FROM,
    DELETE_ALL: Permission.IMAGES_DELETE_ALL,
    RESTORE: Permission.IMAGES_WRITE,
    INDEX: Permission.IMAGES_DELETE_ALL,
    UNDO: Permission.IMAGES_WRITE,
    DELETE: Permission.IMAGES_WRITE,
    COPY: Permission.IMAGES_COPY_FROM,
    **{kind: act.needs for kind, act in bulk_actions.ACTS.items()},
}
TAKES = {  # what each kind of job on a selection is told
    DELETE: frozenset[str](),
    COPY: frozenset({"destination", "overwrite"}),
    **{kind: act.takes for kind, act in bulk_actions.ACTS.items()},
}

OF_DELETION = ("tombstone", "undoes")  # arguments that describe a deletion
BURIED_AS = {DELETE: Tombstone.Reason.STAFF, DELETE_ALL: Tombstone.Reason.DELETE_ALL}

RESUMABLE = (Job.State.INTERRUPTED, Job.State.CANCELLED, Job.State.FAILED)
