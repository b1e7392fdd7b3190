"""The registry of job kinds: the API, the admin, commands and the job runner look kinds up here."""

from typing import ClassVar, TypeVar
from uuid import UUID

from organizations.models import Job
from organizations.permissions import Permission
from sourceimages.models import Tombstone


class JobKind:
    """A kind of job: its name in the admin, the permission to start it, and how a batch runs."""

    name: ClassVar[str]  # Job.kind
    label: ClassVar[str]
    permission: ClassVar[Permission]  # to start, cancel, resume and retry a job of this kind
    runs_as_job: ClassVar[bool] = True
    # Set if a job of this kind moves images to the trash, as one deletion.
    tombstone_reason: ClassVar[Tombstone.Reason | None] = None

    def run_batch(self, job_id: UUID) -> Job:
        """Process one batch and return the job; it has finished if there were no more images."""
        raise NotImplementedError


KINDS: dict[str, JobKind] = {}  # by name

Kind = TypeVar("Kind", bound=type[JobKind])


def register(kind: Kind) -> Kind:
    """Class decorator: add the kind to KINDS under its name."""
    KINDS[kind.name] = kind()
    return kind


def label_of(kind: str) -> str:
    """Return what the admin calls the kind; jobs of older versions can have kinds that are not registered."""
    return KINDS[kind].label if kind in KINDS else kind


def title(job: Job) -> str:
    """Return what the admin calls the job, such as "Move to trash: acme"."""
    return f"{label_of(job.kind)}: {job.organization}"


def permission_for(kind: str) -> Permission:
    """Return the permission for jobs of this kind; kinds that are not registered require that of an admin."""
    return KINDS[kind].permission if kind in KINDS else Permission.IMAGES_DELETE_ALL
