from collections.abc import Sequence

from organizations.audit import Actor
from organizations.permissions import Permission
from sourceimages.jobs.bulk_actions.base import BulkAction, Params
from sourceimages.jobs.registry import register
from sourceimages.models import SourceImage
from sourceimages.operations.update import set_locked_many
from sourceimages.outcomes import Outcome


@register
class LockImages(BulkAction):
    name, label = "lock", "Lock"
    help_text = "Locked images can't be deleted or changed."
    permission = Permission.IMAGES_UNLOCK
    outcomes = (Outcome.LOCKED, Outcome.ALREADY_LOCKED)
    set_based = True
    outcome_labels = {}  # "locked" means that the job locked them

    def is_applicable(self, image: SourceImage) -> bool:
        return not image.locked

    def apply(self, images: Sequence[SourceImage], params: Params, actor: Actor) -> list[Outcome]:
        changed = set_locked_many(images, True, actor)
        return [Outcome.LOCKED if image in changed else Outcome.ALREADY_LOCKED for image in images]
