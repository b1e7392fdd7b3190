"""Dynamic metadata of an image, which is part of its hash."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.permissions import Permission
from rokka.core.errors import InvalidInput
from rokka.core.openapi import ORGANIZATION, errors
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
    "keepHash", OpenApiTypes.BOOL, description="true: change the image itself; what is cached of it stays as it was."
)
RESPONSES = {201: SourceImageSerializer, 204: None, **errors(400, 401, 403, 404, 413, 423, 429)}
# RFC 7234, 5.5: 299 is a warning of any kind.
KEEP_HASH_WARNING = '299 rokka "The hash was kept. What was rendered and cached of the picture before does not change."'


class DynamicMetadataMixin(SourceImageScopedViewSet):
    """Setting and removing entries of dynamic metadata."""

    required_permissions = {"set_entry": Permission.IMAGES_WRITE, "remove_entry": Permission.IMAGES_WRITE}

    @extend_schema(
        summary="Set an entry of dynamic metadata",
        parameters=[ORGANIZATION, HASH, NAME, DELETE_PREVIOUS, KEEP_HASH, LOCATION],
        request=OpenApiTypes.OBJECT,
        responses=RESPONSES,
    )
    def set_entry(self, request: Request, organization: str, hash: str, name: str) -> Response:
        """It is part of the hash: there is another image then, which `Location` names."""
        name, value = metadata.dynamic_entry(name, {} if request.data is None else request.data)
        image = self.active_image(hash)
        metadata.check_bounds({name: value}, image.width, image.height)
        return self._change(request, image, {name: value}, {})

    @extend_schema(
        summary="Remove an entry of dynamic metadata",
        parameters=[ORGANIZATION, HASH, NAME, DELETE_PREVIOUS, KEEP_HASH, LOCATION],
        request=None,
        responses=RESPONSES,
    )
    def remove_entry(self, request: Request, organization: str, hash: str, name: str) -> Response:
        """Without its last entry, an image has the hash that it was uploaded with."""
        name = metadata.dynamic_name(name)
        image = self.active_image(hash)
        if name not in image.dynamic_metadata:
            raise FieldNotFound(f"The picture has no dynamic metadata {name[:80]!r}.")
        body = request.data if isinstance(request.data, dict) else {}  # where a client of rokka.io says deletePrevious
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
                    "deletePrevious and keepHash exclude each other: with the same hash, there is no other."
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
