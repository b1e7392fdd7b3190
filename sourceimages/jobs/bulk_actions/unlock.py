from collections.abc import Sequence

from organizations.audit import Actor
from organizations.permissions import Permission
from sourceimages.jobs.bulk_actions.base import BulkAction, Params
from sourceimages.jobs.registry import register
from sourceimages.models import SourceImage
from sourceimages.operations.update import set_locked_many
from sourceimages.outcomes import Outcome


@register
class UnlockImages(BulkAction):
    name, label = "unlock", "Unlock"
    help_text = "Unlocked images can be deleted and changed again."
    permission = Permission.IMAGES_UNLOCK
    outcomes = (Outcome.UNLOCKED, Outcome.NOT_LOCKED)
    set_based = True

    def is_applicable(self, image: SourceImage) -> bool:
        return image.locked

    def apply(self, images: Sequence[SourceImage], params: Params, actor: Actor) -> list[Outcome]:
        changed = set_locked_many(images, False, actor)
        return [Outcome.UNLOCKED if image in changed else Outcome.NOT_LOCKED for image in images]
