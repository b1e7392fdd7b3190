"""Images in a state in which a bulk action has an effect."""

from sourceimages.operations import delete_image, set_locked, set_protected


def prepared(kind, images, actor):
    """Return the images, changed so that the bulk action `kind` has an effect on each."""
    if kind == "unlock":
        return [set_locked(image, True, actor=actor) for image in images]
    if kind == "unprotect":
        return [set_protected(image, True, delete_previous=True, actor=actor).image for image in images]
    if kind == "restore":
        for image in images:
            delete_image(image, actor=actor)
    return [type(image).objects.get(pk=image.pk) for image in images]
