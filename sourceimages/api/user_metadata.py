"""User metadata of an image."""

from drf_spectacular.types import OpenApiTypes
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.permissions import Permission
from rokka.core.openapi import ORGANIZATION, errors, extend_schema
from rokka.core.parsers import json_or_text
from sourceimages import metadata
from sourceimages.api.base import SourceImageScopedViewSet, no_content
from sourceimages.api.openapi import FIELD, HASH
from sourceimages.errors import FieldNotFound
from sourceimages.metadata.values import normalize_unicode
from sourceimages.operations import change_user_metadata, replace_user_metadata

WRITE_ERRORS = (400, 401, 403, 404, 423, 429)
ANY_JSON = {"application/json": OpenApiTypes.ANY}


class UserMetadataMixin(SourceImageScopedViewSet):
    """Reads, replaces and changes user metadata."""

    required_permissions = {
        "user_metadata": Permission.IMAGES_READ,
        "replace_metadata": Permission.IMAGES_WRITE,
        "change_metadata": Permission.IMAGES_WRITE,
        "clear_metadata": Permission.IMAGES_WRITE,
        "field": Permission.IMAGES_READ,
        "set_field": Permission.IMAGES_WRITE,
        "remove_field": Permission.IMAGES_WRITE,
    }

    @extend_schema(
        summary="Get user metadata",
        parameters=[ORGANIZATION, HASH],
        responses={200: OpenApiTypes.OBJECT, **errors(400, 401, 403, 404, 429)},
    )
    def user_metadata(self, request: Request, organization: str, hash: str) -> Response:
        """All user metadata fields."""
        return Response(normalize_unicode(self.active_image(hash).user_metadata))

    @extend_schema(
        summary="Replace user metadata",
        parameters=[ORGANIZATION, HASH],
        request=ANY_JSON,
        responses={204: None, **errors(*WRITE_ERRORS, 413)},
    )
    def replace_metadata(self, request: Request, organization: str, hash: str) -> Response:
        """Replaces all fields. An empty body removes all fields."""
        fields = metadata.user_metadata({} if request.data is None else request.data)
        replace_user_metadata(self.active_image(hash), fields, actor=self.actor)
        return no_content()

    @extend_schema(
        summary="Update user metadata",
        parameters=[ORGANIZATION, HASH],
        request=ANY_JSON,
        responses={204: None, **errors(*WRITE_ERRORS, 413)},
    )
    def change_metadata(self, request: Request, organization: str, hash: str) -> Response:
        """Sets the given fields; fields with the value null are removed. Other fields are kept."""
        changes = metadata.user_metadata({} if request.data is None else request.data)
        change_user_metadata(self.active_image(hash), changes, actor=self.actor)
        return no_content()

    @extend_schema(
        summary="Remove all user metadata",
        parameters=[ORGANIZATION, HASH],
        responses={204: None, **errors(*WRITE_ERRORS)},
    )
    def clear_metadata(self, request: Request, organization: str, hash: str) -> Response:
        """Removes all user metadata fields."""
        replace_user_metadata(self.active_image(hash), {}, actor=self.actor)
        return no_content()

    @extend_schema(
        summary="Get a user metadata field",
        parameters=[ORGANIZATION, HASH, FIELD],
        responses={200: OpenApiTypes.ANY, **errors(400, 401, 403, 404, 429)},
    )
    def field(self, request: Request, organization: str, hash: str, field: str) -> Response:
        """The value as JSON. The type in the field name is optional."""
        stored = self.active_image(hash).user_metadata
        key = next((key for key in stored if metadata.field_name(key) == metadata.field_name(field)), None)
        if key is None:
            raise FieldNotFound(f"The image has no user metadata field {field[:80]!r}.")
        return Response(stored[key])

    @extend_schema(
        summary="Set a user metadata field",
        parameters=[ORGANIZATION, HASH, FIELD],
        request=ANY_JSON,
        responses={204: None, **errors(*WRITE_ERRORS, 413)},
    )
    def set_field(self, request: Request, organization: str, hash: str, field: str) -> Response:
        """The body is the value, as JSON or plain text. The type precedes the name, as in `int:year`."""
        changes = metadata.user_metadata({field: json_or_text(request)})
        change_user_metadata(self.active_image(hash), changes, actor=self.actor)
        return no_content()

    @extend_schema(
        summary="Remove a user metadata field",
        parameters=[ORGANIZATION, HASH, FIELD],
        responses={204: None, **errors(*WRITE_ERRORS)},
    )
    def remove_field(self, request: Request, organization: str, hash: str, field: str) -> Response:
        """Succeeds if the field does not exist."""
        changes = metadata.user_metadata({field: None})
        change_user_metadata(self.active_image(hash), changes, actor=self.actor)
        return no_content()
