"""Who may have the original of an image."""

from collections.abc import Set

from organizations.errors import RoleMissing
from organizations.permissions import Permission
from sourceimages.errors import ProtectedOriginal
from sourceimages.models import SourceImage


def check_original(image: SourceImage, granted: Set[Permission]) -> None:
    """Raises ProtectedOriginal or RoleMissing unless these permissions allow downloading the original of the image.

    What is in the trash is there for those who could restore it. One file can be shown by several images: once one of
    them is protected, an unprotected one in the trash is no way around that.
    """
    if image.deleted and Permission.IMAGES_WRITE not in granted:
        raise RoleMissing("This image is in the trash; your roles do not allow downloading from there.")
    guarded = is_guarded(image)
    if guarded and Permission.PROTECTED_ORIGINALS_DOWNLOAD not in granted:
        what = "This image is protected" if image.protected else "Another image of the same file is protected"
        raise ProtectedOriginal(f"{what}; your roles do not allow downloading its original.")
    if not guarded and Permission.ORIGINALS_DOWNLOAD not in granted:
        raise RoleMissing("This image is not protected; your roles allow downloading protected ones only.")


def can_download_original(image: SourceImage, granted: Set[Permission]) -> bool:
    """The same as an answer."""
    try:
        check_original(image, granted)
    except (ProtectedOriginal, RoleMissing):
        return False
    return True


def is_guarded(image: SourceImage) -> bool:
    """Whether its content is for those only who may download protected originals."""
    twins = SourceImage.objects.filter(file=image.file_id, protected=True)
    return image.protected or (image.deleted and twins.exists())
