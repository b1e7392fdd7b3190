"""Permission to download the original of an image."""

from collections.abc import Set

from organizations.errors import RoleMissing
from organizations.permissions import Permission
from sourceimages.errors import ProtectedOriginal
from sourceimages.models import SourceImage


def check_original(image: SourceImage, granted: Set[Permission]) -> None:
    """Check the permission to download the original. Raises ProtectedOriginal or RoleMissing.

    Originals in the trash require write permission. Several images can share one file: if one of them is protected, the
    file of a deleted image counts as protected, too.
    """
    if image.deleted and Permission.IMAGES_WRITE not in granted:
        raise RoleMissing("This image is in the trash. Your roles do not allow downloading from the trash.")
    guarded = is_guarded(image)
    if guarded and Permission.PROTECTED_ORIGINALS_DOWNLOAD not in granted:
        what = "This image is protected" if image.protected else "Another image of this file is protected"
        raise ProtectedOriginal(f"{what}. Your roles do not allow downloading its original.")
    if not guarded and Permission.ORIGINALS_DOWNLOAD not in granted:
        raise RoleMissing("Your roles allow downloading protected originals only, and this image is not protected.")


def can_download_original(image: SourceImage, granted: Set[Permission]) -> bool:
    """Return whether `check_original` passes."""
    try:
        check_original(image, granted)
    except (ProtectedOriginal, RoleMissing):
        return False
    return True


def is_guarded(image: SourceImage) -> bool:
    """Return whether downloading requires the permission for protected originals."""
    if image.protected or not image.deleted:
        return image.protected
    return SourceImage.objects.filter(file=image.file_id, protected=True).exists()
