from organizations.audit import Actor
from organizations.permissions import Permission
from sourceimages.jobs.bulk_actions.base import Params, PerImageAction
from sourceimages.jobs.registry import register
from sourceimages.models import SourceImage
from sourceimages.operations import set_protected
from sourceimages.outcomes import Outcome


@register
class ProtectImages(PerImageAction):
    name, label = "protect", "Protect"
    help_text = (
        "Only roles with permission to download protected originals can download them. The images get a new hash; the "
        "images with the old hash move to the trash."
    )
    permission = Permission.IMAGES_WRITE
    outcomes = (Outcome.PROTECTED, Outcome.ALREADY_PROTECTED)
    skips_locked = True

    def is_applicable(self, image: SourceImage) -> bool:
        return not image.protected

    def apply_to_image(self, image: SourceImage, params: Params, actor: Actor) -> Outcome:
        derived = set_protected(image, True, delete_previous=True, actor=actor)
        return Outcome.PROTECTED if derived.image.pk != image.pk else Outcome.ALREADY_PROTECTED

    def apply_to_one(self, image: SourceImage, params: Params, actor: Actor) -> tuple[str, SourceImage]:
        derived = set_protected(image, True, delete_previous=True, actor=actor)
        return (Outcome.PROTECTED if derived.changed else Outcome.ALREADY_PROTECTED).label, derived.image
