from organizations.audit import Actor
from organizations.permissions import Permission
from sourceimages.jobs.bulk_actions.base import Params, PerImageAction, Scope
from sourceimages.jobs.registry import register
from sourceimages.models import SourceImage
from sourceimages.operations import restore_by_id
from sourceimages.outcomes import Outcome


@register
class RestoreImages(PerImageAction):
    name, label = "restore", "Restore"
    help_text = (
        "Restored images have the name, metadata and hash they had. Images whose hash is in use again stay in the "
        "trash; the active image takes over the metadata that it lacks."
    )
    permission = Permission.IMAGES_WRITE
    outcomes = (
        *(Outcome.RESTORED, Outcome.SKIPPED_EXISTING, Outcome.MERGED, Outcome.CONFLICTING),
        Outcome.LOCKED,
    )
    scope = Scope.TRASH

    def apply_to_image(self, image: SourceImage, params: Params, actor: Actor) -> Outcome:
        return restore_by_id(image, actor=actor)
