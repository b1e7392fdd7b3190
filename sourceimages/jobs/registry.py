"""The registry of job kinds: the API, the admin, commands and the job runner look kinds up here."""

from collections.abc import Mapping
from typing import ClassVar, TypeVar
from uuid import UUID

from organizations.models import Job
from organizations.permissions import Permission
from sourceimages.models import Tombstone
from sourceimages.outcomes import Outcome

# Elsewhere than in jobs that lock images, the count means that a lock protected them from the change.
SKIPPED_LABELS = {Outcome.LOCKED.value: "skipped because locked"}


class JobKind:
    """A kind of job: its name in the admin, the permission to start it, and how a batch runs."""

    name: ClassVar[str]  # Job.kind
    label: ClassVar[str]
    permission: ClassVar[Permission]  # to start, cancel, resume and retry a job of this kind
    runs_as_job: ClassVar[bool] = True
    # Set if a job of this kind moves images to the trash, as one deletion.
    tombstone_reason: ClassVar[Tombstone.Reason | None] = None
    # What the admin calls outcomes, where it isn't the outcome's name.
    outcome_labels: ClassVar[Mapping[str, str]] = SKIPPED_LABELS

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


def outcome_counts(job: Job) -> list[tuple[str, int]]:
    """Return what the admin calls each outcome of the job, such as "already locked", and its number of images."""
    labels = KINDS[job.kind].outcome_labels if job.kind in KINDS else SKIPPED_LABELS
    return [(labels.get(name, name.replace("_", " ")), count) for name, count in sorted(job.counts.items())]


def permission_for(kind: str) -> Permission:
    """Return the permission for jobs of this kind; kinds that are not registered require that of an admin."""
    return KINDS[kind].permission if kind in KINDS else Permission.IMAGES_DELETE_ALL
