from collections.abc import Sequence

from organizations.audit import Actor
from organizations.auth.staff import StaffAccess
from organizations.permissions import Permission
from organizations.usage import counters
from rokka.core.errors import DomainError
from sourceimages.jobs.bulk_actions.base import BulkAction, Params
from sourceimages.jobs.progress import restorable_tombstone
from sourceimages.jobs.registry import register
from sourceimages.jobs.selection import Selection
from sourceimages.models import SourceImage, Tombstone
from sourceimages.operations import delete_image
from sourceimages.operations.delete import check_not_locked, record_events
from sourceimages.outcomes import Outcome

DELETE_BATCH = 1000  # images that are deleted in one transaction


@register
class DeleteImages(BulkAction):
    name, label = "delete", "Move to trash"
    help_text = "The images are deleted together, and can be restored together until they expire in the trash."
    permission = Permission.IMAGES_WRITE
    tombstone_reason = Tombstone.Reason.ADMIN
    outcomes = (Outcome.DELETED, Outcome.LOCKED)
    set_based = True
    skips_locked = True
    destructive = True

    def check_permission(self, staff: StaffAccess, selection: Selection) -> None:
        super().check_permission(staff, selection)
        if selection.is_unfiltered:
            staff.check(selection.organization, Permission.IMAGES_DELETE_ALL)  # as for the job of the API

    def batch_size(self) -> int:
        return DELETE_BATCH

    def apply(self, images: Sequence[SourceImage], params: Params, actor: Actor) -> list[Outcome | DomainError]:
        """Move those that aren't locked to the trash, by the deletion of the job. Raises InvalidInput if it expired."""
        tombstone = restorable_tombstone(params)
        deleted = [image for image in images if not image.locked]
        SourceImage.objects.filter(pk__in=[image.pk for image in deleted]).update(tombstone=tombstone)
        record_events(actor, "image.deleted", deleted, tombstone_id=tombstone.pk)
        counters.add(tombstone.organization, images=-len(deleted))
        return [_result(image) for image in images]

    def apply_to_one(self, image: SourceImage, params: Params, actor: Actor) -> tuple[str, SourceImage]:
        delete_image(image, reason=Tombstone.Reason.ADMIN, actor=actor)
        return "Moved to trash", image


def _result(image: SourceImage) -> Outcome | DomainError:
    try:
        check_not_locked(image)
    except DomainError as error:
        return error
    return Outcome.DELETED
