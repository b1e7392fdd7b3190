"""Images in a state in which a bulk action changes them."""

from sourceimages.operations import delete_image, set_locked, set_protected


def prepared(kind, images, actor):
    """Return the images, in a state in which the bulk action `kind` changes each of them."""
    if kind == "unlock":
        return [set_locked(image, True, actor=actor) for image in images]
    if kind == "unprotect":
        return [set_protected(image, True, delete_previous=True, actor=actor).image for image in images]
    if kind == "restore":
        for image in images:
            delete_image(image, actor=actor)
    return [type(image).objects.get(pk=image.pk) for image in images]
