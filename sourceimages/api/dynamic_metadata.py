"""Dynamic metadata of an image, which is part of its hash."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.permissions import Permission
from rokka.core.errors import InvalidInput
from rokka.core.openapi import ORGANIZATION, errors, extend_schema
from rokka.core.parsers import parse_flag
from sourceimages import metadata
from sourceimages.api.base import SourceImageScopedViewSet, image_path, query_flag
from sourceimages.api.openapi import DELETE_PREVIOUS, HASH, LOCATION
from sourceimages.api.serializers import SourceImageSerializer
from sourceimages.errors import FieldNotFound
from sourceimages.models import SourceImage
from sourceimages.operations import change_dynamic_metadata, update_in_place

NAME = OpenApiParameter("name", OpenApiTypes.STR, OpenApiParameter.PATH, description="`subject_area`, `version`, …")
KEEP_HASH = OpenApiParameter(
    "keepHash",
    OpenApiTypes.BOOL,
    description="true: keep the hash and change the image itself. Cached renditions do not change.",
)
RESPONSES = {201: SourceImageSerializer, 204: None, **errors(400, 401, 403, 404, 413, 423, 429)}
# RFC 7234, 5.5: code 299 is a miscellaneous warning.
KEEP_HASH_WARNING = '299 rokka "The hash was kept. Renditions that are already cached do not change."'


class DynamicMetadataMixin(SourceImageScopedViewSet):
    """Sets and removes entries of dynamic metadata."""

    required_permissions = {"set_entry": Permission.IMAGES_WRITE, "remove_entry": Permission.IMAGES_WRITE}

    @extend_schema(
        summary="Set a dynamic metadata entry",
        parameters=[ORGANIZATION, HASH, NAME, DELETE_PREVIOUS, KEEP_HASH, LOCATION],
        request=OpenApiTypes.OBJECT,
        responses=RESPONSES,
    )
    def set_entry(self, request: Request, organization: str, hash: str, name: str) -> Response:
        """Dynamic metadata is part of the hash. Changing it creates a new image; `Location` points to it."""
        name, value = metadata.dynamic_entry(name, {} if request.data is None else request.data)
        image = self.active_image(hash)
        metadata.check_bounds({name: value}, image.width, image.height)
        return self._change(request, image, {name: value}, {})

    @extend_schema(
        summary="Remove a dynamic metadata entry",
        parameters=[ORGANIZATION, HASH, NAME, DELETE_PREVIOUS, KEEP_HASH, LOCATION],
        request=None,
        responses=RESPONSES,
    )
    def remove_entry(self, request: Request, organization: str, hash: str, name: str) -> Response:
        """Removing the last entry restores the hash of the upload. `Location` points to the resulting image."""
        name = metadata.dynamic_name(name)
        image = self.active_image(hash)
        if name not in image.dynamic_metadata:
            raise FieldNotFound(f"The image has no dynamic metadata {name[:80]!r}.")
        # clients of rokka.io send deletePrevious in the body
        body = request.data if isinstance(request.data, dict) else {}
        return self._change(request, image, {name: None}, body)

    def _change(
        self, request: Request, image: SourceImage, changes: Mapping[str, Any], body: Mapping[str, Any]
    ) -> Response:
        delete_previous = query_flag(request, "deletePrevious")
        if "deletePrevious" in body:
            delete_previous = delete_previous or parse_flag("deletePrevious", str(body["deletePrevious"]))
        if query_flag(request, "keepHash"):
            if delete_previous:
                raise InvalidInput(
                    "deletePrevious and keepHash can't be combined: with keepHash, no image is replaced."
                )
            image = update_in_place(image, changes, actor=self.actor)
            return Response(
                status=status.HTTP_204_NO_CONTENT, headers={"Location": image_path(image), "Warning": KEEP_HASH_WARNING}
            )
        derived = change_dynamic_metadata(image, changes, delete_previous=delete_previous, actor=self.actor)
        headers = {"Location": image_path(derived.image)}
        if not derived.changed:
            return Response(status=status.HTTP_204_NO_CONTENT, headers=headers)
        return Response(SourceImageSerializer(derived.image).data, status=status.HTTP_201_CREATED, headers=headers)
