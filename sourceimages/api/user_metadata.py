"""User metadata of an image."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.permissions import Permission
from rokka.core.openapi import ORGANIZATION, errors
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
    """Reading, replacing and changing fields."""

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
        """All fields."""
        return Response(normalize_unicode(self.active_image(hash).user_metadata))

    @extend_schema(
        summary="Replace user metadata",
        parameters=[ORGANIZATION, HASH],
        request=ANY_JSON,
        responses={204: None, **errors(*WRITE_ERRORS, 413)},
    )
    def replace_metadata(self, request: Request, organization: str, hash: str) -> Response:
        """These fields and no others; an empty body removes all."""
        fields = metadata.user_metadata({} if request.data is None else request.data)
        replace_user_metadata(self.active_image(hash), fields, actor=self.actor)
        return no_content()

    @extend_schema(
        summary="Change user metadata",
        parameters=[ORGANIZATION, HASH],
        request=ANY_JSON,
        responses={204: None, **errors(*WRITE_ERRORS, 413)},
    )
    def change_metadata(self, request: Request, organization: str, hash: str) -> Response:
        """Fields that are mentioned are set, those of null removed, others stay."""
        changes = metadata.user_metadata({} if request.data is None else request.data)
        change_user_metadata(self.active_image(hash), changes, actor=self.actor)
        return no_content()

    @extend_schema(
        summary="Remove all user metadata",
        parameters=[ORGANIZATION, HASH],
        responses={204: None, **errors(*WRITE_ERRORS)},
    )
    def clear_metadata(self, request: Request, organization: str, hash: str) -> Response:
        """No field remains."""
        replace_user_metadata(self.active_image(hash), {}, actor=self.actor)
        return no_content()

    @extend_schema(
        summary="Get a field of user metadata",
        parameters=[ORGANIZATION, HASH, FIELD],
        responses={200: OpenApiTypes.ANY, **errors(400, 401, 403, 404, 429)},
    )
    def field(self, request: Request, organization: str, hash: str, field: str) -> Response:
        """Its value as JSON. The name may be with or without its type."""
        stored = self.active_image(hash).user_metadata
        key = next((key for key in stored if metadata.field_name(key) == metadata.field_name(field)), None)
        if key is None:
            raise FieldNotFound(f"The picture has no field {field[:80]!r}.")
        return Response(stored[key])

    @extend_schema(
        summary="Set a field of user metadata",
        parameters=[ORGANIZATION, HASH, FIELD],
        request=ANY_JSON,
        responses={204: None, **errors(*WRITE_ERRORS, 413)},
    )
    def set_field(self, request: Request, organization: str, hash: str, field: str) -> Response:
        """The body is the value, as JSON or as plain text. The type stands before the name, `int:year`."""
        changes = metadata.user_metadata({field: json_or_text(request)})
        change_user_metadata(self.active_image(hash), changes, actor=self.actor)
        return no_content()

    @extend_schema(
        summary="Remove a field of user metadata",
        parameters=[ORGANIZATION, HASH, FIELD],
        responses={204: None, **errors(*WRITE_ERRORS)},
    )
    def remove_field(self, request: Request, organization: str, hash: str, field: str) -> Response:
        """Also fine if it is not there."""
        changes = metadata.user_metadata({field: None})
        change_user_metadata(self.active_image(hash), changes, actor=self.actor)
        return no_content()
