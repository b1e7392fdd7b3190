"""Changes of an image after its upload."""

from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.base import unsupported_action
from organizations.permissions import Permission
from rokka.core.errors import InvalidInput
from rokka.core.openapi import ORGANIZATION, errors, extend_schema
from rokka.core.parsers import json_or_text, parse_uuid
from sourceimages.api.base import SourceImageScopedViewSet, image_path, no_content, query_flag
from sourceimages.api.openapi import BINARY_HASH_QUERY, DELETE_PREVIOUS, DELETION, HASH, LOCATION
from sourceimages.api.serializers import SourceImageSerializer, UploadedImageSerializer
from sourceimages.operations import (
    delete_by_binary_hash,
    delete_image,
    rename_image,
    restore_image,
    set_locked,
    set_protected,
)

WRITE_ERRORS = (400, 401, 403, 404, 423, 429)


class LifecycleMixin(SourceImageScopedViewSet):
    """Deletes, restores, locks, renames and protects images."""

    required_permissions = {
        "destroy": Permission.IMAGES_WRITE,
        "destroy_by_binary_hash": Permission.IMAGES_WRITE,
        "restore": Permission.IMAGES_WRITE,
        "rename": Permission.IMAGES_WRITE,
        "protect": Permission.IMAGES_WRITE,
        "lock": Permission.IMAGES_UNLOCK,
        "autolabel": Permission.IMAGES_WRITE,
        "autodescription": Permission.IMAGES_WRITE,
    }

    @extend_schema(
        summary="Delete an image", parameters=[ORGANIZATION, HASH], responses={204: None, **errors(*WRITE_ERRORS)}
    )
    def destroy(self, request: Request, organization: str, hash: str) -> Response:
        """Moves the image to the trash. It can be restored for 30 days (TRASH_RETENTION_DAYS)."""
        delete_image(self.active_image(hash), actor=self.actor)
        return no_content()

    @extend_schema(
        summary="Delete images by binary hash",
        parameters=[ORGANIZATION, BINARY_HASH_QUERY],
        responses={204: None, **errors(*WRITE_ERRORS)},
    )
    def destroy_by_binary_hash(self, request: Request, organization: str) -> Response:
        """Moves all images with this binary hash to the trash, or none if one of them is locked.

        `binaryHash` is required.
        """
        binary_hash = request.query_params.get("binaryHash")
        if not binary_hash:
            raise InvalidInput(
                "binaryHash: required. To delete all images of the organization, start a job: "
                f"POST /jobs/{self.organization}."
            )
        delete_by_binary_hash(self.organization, binary_hash, actor=self.actor)
        return no_content()

    @extend_schema(
        summary="Restore an image",
        parameters=[ORGANIZATION, HASH, DELETION],
        request=None,
        responses={200: UploadedImageSerializer, **errors(400, 401, 403, 404, 409, 429)},
    )
    def restore(self, request: Request, organization: str, hash: str) -> Response:
        """Restores the image from the trash with all its metadata. Succeeds if the image is not deleted.

        If the trash holds several images with this hash, the one deleted last is restored; `deletion` selects another.
        If an active image with this hash exists, user metadata that it lacks is merged into it.
        """
        deletion = parse_deletion_id(request.query_params.get("deletion"))
        image = restore_image(self.organization, hash, deletion=deletion, actor=self.actor)
        return Response(UploadedImageSerializer(image).data)

    @extend_schema(
        summary="Rename an image",
        parameters=[ORGANIZATION, HASH],
        request={"application/json": OpenApiTypes.STR},
        responses={204: None, **errors(400, 401, 403, 404, 413, 429)},
    )
    def rename(self, request: Request, organization: str, hash: str) -> Response:
        """The body is the new name, as JSON or plain text."""
        name = json_or_text(request)
        if not isinstance(name, str):
            raise InvalidInput("The body must be the name, as a JSON string.")
        rename_image(self.active_image(hash), name, actor=self.actor)
        return no_content()

    @extend_schema(
        summary="Set protection",
        parameters=[ORGANIZATION, HASH, DELETE_PREVIOUS, LOCATION],
        request={"application/json": OpenApiTypes.BOOL},
        responses={201: SourceImageSerializer, 204: None, **errors(*WRITE_ERRORS, 413)},
    )
    def protect(self, request: Request, organization: str, hash: str) -> Response:
        """Protection is part of the hash. Changing it creates a new image; `Location` points to it."""
        protected, delete_previous = parse_boolean_body(request), query_flag(request, "deletePrevious")
        image = self.active_image(hash)
        derived = set_protected(image, protected, delete_previous=delete_previous, actor=self.actor)
        headers = {"Location": image_path(derived.image)}
        if not derived.changed:
            return Response(status=status.HTTP_204_NO_CONTENT, headers=headers)
        return Response(SourceImageSerializer(derived.image).data, status=status.HTTP_201_CREATED, headers=headers)

    @extend_schema(
        summary="Set lock",
        parameters=[ORGANIZATION, HASH],
        request={"application/json": OpenApiTypes.BOOL},
        responses={200: SourceImageSerializer, **errors(400, 401, 403, 404, 413, 429)},
    )
    def lock(self, request: Request, organization: str, hash: str) -> Response:
        """Locked images can't be deleted, overwritten or changed."""
        locked = parse_boolean_body(request)
        image = set_locked(self.active_image(hash), locked, actor=self.actor)
        return Response(SourceImageSerializer(image).data)

    autolabel = unsupported_action(
        "Label an image automatically (not supported)",
        "This server can't label images.",
        parameters=[ORGANIZATION, HASH],
    )
    autodescription = unsupported_action(
        "Describe an image automatically (not supported)",
        "This server can't describe images.",
        parameters=[ORGANIZATION, HASH],
    )


def parse_boolean_body(request: Request) -> bool:
    """The boolean in the body. Raises InvalidInput."""
    value: Any = json_or_text(request)
    if isinstance(value, bool):
        return value
    if value in ("1", "0", 1, 0, "true", "false"):  # sent by forms and old clients
        return value in ("1", 1, "true")
    raise InvalidInput("The body must be true or false.")


def parse_deletion_id(text: str | None) -> UUID | None:
    return None if text is None else parse_uuid("deletion", text)
