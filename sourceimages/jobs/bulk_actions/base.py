"""The base class of bulk actions, and the batches that run one over the images of a job."""

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.db import transaction
from django.http import HttpResponseBase

from organizations.audit import Actor
from organizations.auth.staff import StaffAccess
from organizations.models import Job, Organization
from rokka.core import failpoints
from rokka.core.errors import DomainError, Unavailable
from sourceimages.errors import ImageLocked, ImageNotFound
from sourceimages.jobs.progress import actor_of, advance, claim, complete, next_ids, processing
from sourceimages.jobs.registry import JobKind
from sourceimages.jobs.selection import Selection
from sourceimages.models import SourceImage
from sourceimages.operations.delete import get_for_update
from sourceimages.outcomes import MESSAGES, Outcome

LOOKUP_BATCH = 50  # images that are looked up at once where each is processed in a transaction of its own
TRANSACTION_BATCH = 100  # images that are locked and changed in one transaction; other requests for them wait

Params = dict[str, Any]  # Job.params without the selection


class Scope(Enum):
    """Where the images of a selection are; the value is `Selection.in_trash`."""

    ACTIVE = False
    TRASH = True


class BulkActionForm(forms.Form):
    """What a bulk action asks for on its confirmation page."""

    def __init__(self, *args: Any, staff: StaffAccess, organization: Organization, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.staff, self.organization = staff, organization

    def params(self) -> Params:
        """The parameters of the job, once the form is valid."""
        return {}


class BulkAction(JobKind):
    """Something that users do to the images of a selection: to one at once, to many in a job."""

    help_text: ClassVar[str]
    outcomes: ClassVar[tuple[Outcome, ...]]  # the keys of Job.counts, beside those of failures
    scope: ClassVar[Scope] = Scope.ACTIVE
    set_based: ClassVar[bool] = False  # see `apply`
    skips_locked: ClassVar[bool] = False
    destructive: ClassVar[bool] = False
    form_class: ClassVar[type[BulkActionForm]] = BulkActionForm
    required_params: ClassVar[frozenset[str]] = frozenset()

    def check_permission(self, staff: StaffAccess, selection: Selection) -> None:
        """Raises NotAMember or RoleMissing if the user can't do this to the selection."""
        staff.check(selection.organization, self.permission)

    def is_applicable(self, image: SourceImage) -> bool:
        """Whether the page of this image offers the action."""
        return True

    def response(self, selection: Selection, staff: StaffAccess) -> HttpResponseBase | None:
        """The response to a confirmed action that starts no job; None for all others."""
        return None

    def job_params(self, selection: Selection, params: Params) -> Params:
        """The parameters as stored with the job. Raises InvalidInput for what the selection doesn't allow."""
        return params

    def apply(self, images: Sequence[SourceImage], params: Params, actor: Actor) -> Sequence[Outcome | DomainError]:
        """Process the images, and return an outcome, or the error that refused it, for each.

        A set-based action gets up to TRANSACTION_BATCH active images that are locked for update, in one transaction
        with the job's progress. Any other gets one image, which is not locked: what also changes counters or files
        takes further locks, and two jobs that held several of those would wait for each other.
        """
        raise NotImplementedError

    @transaction.atomic
    def apply_to_one(self, image: SourceImage, params: Params, actor: Actor) -> tuple[str, SourceImage]:
        """Process one image without a job: a message for the user, and the image as it is now. Raises DomainError."""
        (outcome,) = self.apply([get_for_update(image) if self.set_based else image], params, actor)
        if isinstance(outcome, DomainError):
            raise outcome
        return outcome.label, image

    def batch_size(self) -> int:
        return TRANSACTION_BATCH if self.set_based else LOOKUP_BATCH

    def run_batch(self, job_id: UUID) -> Job:
        with transaction.atomic():
            job = claim(job_id)
        if job.state != Job.State.RUNNING:
            return job
        ids = next_ids(job, self.batch_size())
        for batch in [ids] if self.set_based else [[image_id] for image_id in ids]:
            job = apply_batch(self, job_id, batch)
        if not ids:
            with transaction.atomic():
                job = complete(claim(job_id))
        return job


@transaction.atomic
def apply_batch(action: BulkAction, job_id: UUID, ids: list[int]) -> Job:
    """Process images and save the job's progress in one transaction, so that a killed process repeats nothing."""
    job = claim(job_id)
    ids = [image_id for image_id in ids if image_id > job.processed_id]
    if job.state != Job.State.RUNNING or not ids:
        return job  # the job was cancelled, or another process has processed these
    with processing(job, ids):
        rows = job.organization.images.filter(pk__in=ids)
        images = (
            rows.active().list_for_update() if action.set_based else list(rows.select_related("organization", "file"))
        )
        results = action.apply(images, job.params, actor_of(job)) if images else []
        failpoints.failpoint("bulk_action.applied")
        missing = set(ids) - {image.pk for image in images}
        counts = Counter(map(outcome_of, results)) + Counter({Outcome.NOT_FOUND: len(missing)})
        skipped = dict.fromkeys(sorted(missing), MESSAGES[Outcome.NOT_FOUND]) | {
            image.pk: reason for image, result in zip(images, results, strict=True) if (reason := reason_of(result))
        }
        advance(job, ids[-1], counts, processed=len(ids), failed=counts[Outcome.FAILED], skipped=skipped)
    return job


def outcome_of(result: Outcome | DomainError) -> Outcome:
    match result:
        case ImageLocked():
            return Outcome.LOCKED
        case ImageNotFound():  # deleted by another request
            return Outcome.NOT_FOUND
        case DomainError():
            return Outcome.FAILED
    return result


def reason_of(result: Outcome | DomainError) -> str:
    """Why the image was skipped or failed; empty if neither."""
    if not isinstance(result, DomainError):
        return ""
    return MESSAGES.get(outcome_of(result), result.message)


class PerImageAction(BulkAction):
    """A bulk action whose operation takes one image; if it is refused, nothing of it remains."""

    def apply(self, images: Sequence[SourceImage], params: Params, actor: Actor) -> list[Outcome | DomainError]:
        (image,) = images
        try:
            with transaction.atomic():
                return [self.apply_to_image(image, params, actor)]
        except Unavailable:
            raise  # not about the image: the job tries again later
        except DomainError as error:
            return [error]

    def apply_to_image(self, image: SourceImage, params: Params, actor: Actor) -> Outcome:
        """Process the image. Raises DomainError."""
        raise NotImplementedError
