from organizations.audit import Actor
from organizations.permissions import Permission
from sourceimages.jobs.bulk_actions.base import Params, PerImageAction
from sourceimages.jobs.registry import register
from sourceimages.models import SourceImage
from sourceimages.operations import set_protected
from sourceimages.outcomes import Outcome


@register
class UnprotectImages(PerImageAction):
    name, label = "unprotect", "Remove protection"
    help_text = (
        "Every role with permission to download originals can download them again. The images get a new hash; the "
        "images with the old hash move to the trash."
    )
    permission = Permission.IMAGES_WRITE
    outcomes = (Outcome.UNPROTECTED, Outcome.NOT_PROTECTED)
    skips_locked = True

    def is_applicable(self, image: SourceImage) -> bool:
        return image.protected

    def apply_to_image(self, image: SourceImage, params: Params, actor: Actor) -> Outcome:
        derived = set_protected(image, False, delete_previous=True, actor=actor)
        return Outcome.UNPROTECTED if derived.image.pk != image.pk else Outcome.NOT_PROTECTED

    def apply_to_one(self, image: SourceImage, params: Params, actor: Actor) -> tuple[str, SourceImage]:
        derived = set_protected(image, False, delete_previous=True, actor=actor)
        return (Outcome.UNPROTECTED if derived.changed else Outcome.NOT_PROTECTED).label, derived.image
