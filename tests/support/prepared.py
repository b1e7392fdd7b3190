"""Pictures in the state in which something can be done to them."""

from sourceimages.operations import delete_image, set_locked, set_protected


def prepared(kind, pictures, actor):
    """The pictures, so that each of them has something to be done to."""
    if kind == "unlock":
        return [set_locked(image, True, actor=actor) for image in pictures]
    if kind == "unprotect":
        return [set_protected(image, True, delete_previous=True, actor=actor).image for image in pictures]
    if kind == "restore":
        for image in pictures:
            delete_image(image, actor=actor)
    return [type(image).objects.get(pk=image.pk) for image in pictures]
