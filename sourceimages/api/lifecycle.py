"""What may happen to an image after its upload."""

from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.permissions import Permission
from rokka.core.errors import FeatureUnavailable, Invalid
from rokka.core.openapi import ORGANIZATION, errors
from rokka.core.parsers import json_or_text
from sourceimages.api.base import ImageScope, flag, link, nothing
from sourceimages.api.openapi import DELETE_PREVIOUS, DELETED_BYTES, DELETION, HASH, LOCATION
from sourceimages.api.serializers import AddedImageSerializer, SourceImageSerializer
from sourceimages.operations import (
    delete_image,
    delete_images_with_bytes,
    rename_image,
    restore_image,
    set_locked,
    set_protected,
)

REFUSED = (400, 401, 403, 404, 423, 429)
REFUSED_ALWAYS = errors(400, 401, 403, 404, 429)


class Lifecycle(ImageScope):
    """Deleting, restoring, locking, renaming and protecting."""

    needs = {
        "destroy": Permission.IMAGES_WRITE,
        "destroy_with_bytes": Permission.IMAGES_WRITE,
        "restore": Permission.IMAGES_WRITE,
        "rename": Permission.IMAGES_WRITE,
        "protect": Permission.IMAGES_WRITE,
        "lock": Permission.IMAGES_UNLOCK,
        "invalidate_cache": Permission.IMAGES_WRITE,
        "autolabel": Permission.IMAGES_WRITE,
        "autodescription": Permission.IMAGES_WRITE,
    }

    @extend_schema(
        summary="Delete an image", parameters=[ORGANIZATION, HASH], responses={204: None, **errors(*REFUSED)}
    )
    def destroy(self, request: Request, organization: str, hash: str) -> Response:
        """It goes to the trash, from which it can be restored for 30 days (TRASH_DAYS)."""
        delete_image(self.living_image(hash), actor=self.actor)
        return nothing()

    @extend_schema(
        summary="Delete all images of a file",
        parameters=[ORGANIZATION, DELETED_BYTES],
        responses={204: None, **errors(*REFUSED)},
    )
    def destroy_with_bytes(self, request: Request, organization: str) -> Response:
        """All of them, or none if one of them is locked. Without `binaryHash` nothing is deleted."""
        binary_hash = request.query_params.get("binaryHash")
        if not binary_hash:
            raise Invalid(
                "binaryHash: it is missing. All pictures of an organization are deleted by a job: POST /jobs."
            )
        delete_images_with_bytes(self.organization, binary_hash, actor=self.actor)
        return nothing()

    @extend_schema(
        summary="Restore an image",
        parameters=[ORGANIZATION, HASH, DELETION],
        request=None,
        responses={200: AddedImageSerializer, **errors(400, 401, 403, 404, 409, 429)},
    )
    def restore(self, request: Request, organization: str, hash: str) -> Response:
        """Back from the trash, with all its metadata; also fine if it was never deleted.

        Of several in the trash, the one that was deleted last, or by `deletion`. An active image with this hash takes
        over the user metadata that it lacks of the deleted one.
        """
        deletion = deletion_id(request.query_params.get("deletion"))
        image = restore_image(self.organization, hash, deletion=deletion, actor=self.actor)
        return Response(AddedImageSerializer(image).data)

    @extend_schema(
        summary="Rename an image",
        parameters=[ORGANIZATION, HASH],
        request={"application/json": OpenApiTypes.STR},
        responses={204: None, **errors(400, 401, 403, 404, 413, 429)},
    )
    def rename(self, request: Request, organization: str, hash: str) -> Response:
        """The body is the name, as JSON or as plain text."""
        name = json_or_text(request)
        if not isinstance(name, str):
            raise Invalid("The name must be a JSON string.")
        rename_image(self.living_image(hash), name, actor=self.actor)
        return nothing()

    @extend_schema(
        summary="Protect an image, or stop protecting it",
        parameters=[ORGANIZATION, HASH, DELETE_PREVIOUS, LOCATION],
        request={"application/json": OpenApiTypes.BOOL},
        responses={201: SourceImageSerializer, 204: None, **errors(*REFUSED, 413)},
    )
    def protect(self, request: Request, organization: str, hash: str) -> Response:
        """Whether it is protected is part of its hash: there is another image then, which `Location` names."""
        protected, delete_previous = truth(request), flag(request, "deletePrevious")
        image = self.living_image(hash)
        derived = set_protected(image, protected, delete_previous=delete_previous, actor=self.actor)
        headers = {"Location": link(derived.image)}
        if not derived.changed:
            return Response(status=status.HTTP_204_NO_CONTENT, headers=headers)
        return Response(SourceImageSerializer(derived.image).data, status=status.HTTP_201_CREATED, headers=headers)

    @extend_schema(
        summary="Lock an image, or unlock it",
        parameters=[ORGANIZATION, HASH],
        request={"application/json": OpenApiTypes.BOOL},
        responses={200: SourceImageSerializer, **errors(400, 401, 403, 404, 413, 429)},
    )
    def lock(self, request: Request, organization: str, hash: str) -> Response:
        """Nobody deletes, overwrites or changes the metadata of a locked image."""
        locked = truth(request)
        image = set_locked(self.living_image(hash), locked, actor=self.actor)
        return Response(SourceImageSerializer(image).data)

    # --- What is not there --------------------------------------------------------------------------------------------

    @extend_schema(
        summary="Clear the cache of an image",
        parameters=[ORGANIZATION, HASH],
        responses=errors(400, 401, 403, 404, 429),
    )
    def invalidate_cache(self, request: Request, organization: str, hash: str) -> Response:
        """Always refused: nothing renders here yet, so there is no cache."""
        raise FeatureUnavailable("This server renders no pictures yet, so that there is no cache to clear.")

    @extend_schema(
        summary="Label an image automatically",
        parameters=[ORGANIZATION, HASH],
        request=None,
        responses=errors(400, 401, 403, 404, 429),
    )
    def autolabel(self, request: Request, organization: str, hash: str) -> Response:
        """Always refused."""
        raise FeatureUnavailable("This server has nothing that labels pictures.")

    @extend_schema(
        summary="Describe an image automatically",
        parameters=[ORGANIZATION, HASH],
        request=None,
        responses=REFUSED_ALWAYS,
    )
    def autodescription(self, request: Request, organization: str, hash: str) -> Response:
        """Always refused."""
        raise FeatureUnavailable("This server has nothing that describes pictures.")


def truth(request: Request) -> bool:
    """The body, which is true or false. Raises Invalid."""
    value: Any = json_or_text(request)
    if isinstance(value, bool):
        return value
    if value in ("1", "0", 1, 0, "true", "false"):  # as a form or an old client writes it
        return value in ("1", 1, "true")
    raise Invalid("The body must be true or false.")


def deletion_id(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError as error:
        raise Invalid("deletion: it must be the id of a deletion, as images in the trash have it.") from error
