"""The registry of job kinds: the API, the admin, commands and the job runner look kinds up here."""

from typing import ClassVar, TypeVar
from uuid import UUID

from organizations.models import Job
from organizations.permissions import Permission
from sourceimages.models import Tombstone


class JobKind:
    """A kind of jobs: who can start it, and how a batch of it runs."""

    name: ClassVar[str]  # Job.kind
    permission: ClassVar[Permission]  # to start, cancel, resume and retry a job of this kind
    runs_as_job: ClassVar[bool] = True
    tombstone_reason: ClassVar[Tombstone.Reason | None] = (
        None  # set if a job moves images to the trash, by one deletion
    )

    def run_batch(self, job_id: UUID) -> Job:
        """Process one batch and return the job, which is finished if nothing was left to process."""
        raise NotImplementedError


KINDS: dict[str, JobKind] = {}  # by name

Kind = TypeVar("Kind", bound=type[JobKind])


def register(kind: Kind) -> Kind:
    """Class decorator: make the kind known under its name."""
    KINDS[kind.name] = kind()
    return kind


def permission_for(kind: str) -> Permission:
    """The permission for jobs of this kind; a kind that is not registered is for admins only."""
    return KINDS[kind].permission if kind in KINDS else Permission.IMAGES_DELETE_ALL
