"""Versions of an image: list and restore them."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.models import AuditSource
from organizations.permissions import Permission
from rokka.core import cursors
from rokka.core.clock import rfc3339
from rokka.core.errors import InvalidInput
from rokka.core.openapi import ORGANIZATION, errors, extend_schema
from sourceimages import versions
from sourceimages.api.base import SourceImageScopedViewSet
from sourceimages.api.openapi import DELETED, HASH
from sourceimages.api.serializers import SourceImageSerializer
from sourceimages.errors import VersionNotFound
from sourceimages.models import ImageVersion
from sourceimages.operations import restore_version

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
VERSION = OpenApiParameter("version", OpenApiTypes.INT, OpenApiParameter.PATH, description="The `id` of the version.")


class VersionSerializer(serializers.Serializer):
    """A change of an image and the values it replaced."""

    id = serializers.IntegerField()
    created = serializers.DateTimeField(help_text="Time of the change, with microseconds.")
    kind = serializers.ChoiceField(ImageVersion.Kind.values)
    source = serializers.ChoiceField(AuditSource.values)  # type: ignore[assignment]
    user_id = serializers.UUIDField(allow_null=True, help_text="User who made the change.")
    api_key_id = serializers.UUIDField(allow_null=True)
    job_id = serializers.UUIDField(allow_null=True, help_text="Job that made the change.")
    before = serializers.DictField(
        help_text="Values before the change, by field. `alias` is an alias that pointed to this image."
    )

    def to_representation(self, version: ImageVersion) -> dict[str, Any]:
        shape: dict[str, Any] = {str(name): getattr(version, str(name)) for name in self.fields}
        for name in ("user_id", "api_key_id", "job_id"):
            shape[name] = shape[name] and str(shape[name])
        before = dict(version.before)
        if "created" in before:
            before["created"] = rfc3339(versions.values_of(version)["created"])
        return shape | {"created": version.created.isoformat(timespec="microseconds"), "before": before}


@extend_schema_serializer(many=False)  # the list is returned inside an object
class HistorySerializer(serializers.Serializer):
    items = VersionSerializer(many=True)
    cursor = serializers.CharField(
        required=False, help_text="Pass it as `cursor` to get older versions. Missing on the last page."
    )


class HistoryMixin(SourceImageScopedViewSet):
    """Lists and restores versions of an image."""

    required_permissions = {"history": Permission.IMAGES_READ, "restore_version": Permission.IMAGES_WRITE}

    @extend_schema(
        summary="List versions of an image",
        parameters=[
            ORGANIZATION,
            HASH,
            DELETED,
            OpenApiParameter(
                "limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
            ),
            OpenApiParameter("cursor", OpenApiTypes.STR, description="The `cursor` of the previous page."),
        ],
        responses={200: HistorySerializer, **errors(400, 401, 403, 404, 429)},
    )
    def history(self, request: Request, organization: str, hash: str) -> Response:
        """Newest first; each item lists the values that a change replaced.

        Versions are kept for 90 days (HISTORY_RETENTION_DAYS).
        """
        limit, query = parse_limit(request), request.query_params
        rows = ImageVersion.objects.filter(image_id=self.image(hash).pk).order_by("-id")
        if sent := query.get("cursor"):
            rows = rows.filter(pk__lt=parse_cursor(sent))
        found = list(rows[: limit + 1])
        answer: dict[str, Any] = {"items": VersionSerializer(found[:limit], many=True).data}
        if len(found) > limit:
            answer["cursor"] = cursors.encode([found[limit - 1].pk])
        return Response(answer)

    @extend_schema(
        summary="Restore a version of an image",
        parameters=[ORGANIZATION, HASH, VERSION],
        request=None,
        responses={200: SourceImageSerializer, **errors(400, 401, 403, 404, 409, 423, 429)},
    )
    def restore_version(self, request: Request, organization: str, hash: str, version: str) -> Response:
        """Sets the fields in `before` to their old values; other fields are kept. Restoring creates a new version."""
        image = self.active_image(hash)
        if not (version.isascii() and version.isdecimal() and len(version) < 19):
            raise VersionNotFound(f"Version {version[:80]!r} of image {image.short_hash} not found.")
        return Response(SourceImageSerializer(restore_version(image, int(version), actor=self.actor)).data)


def parse_limit(request: Request) -> int:
    text = request.query_params.get("limit", "")
    if not text:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT):
        raise InvalidInput(f"limit: must be an integer from 1 to {MAX_LIMIT}.")
    return int(text)


def parse_cursor(text: str) -> int:
    try:
        (position,) = cursors.decode(text)
        if type(position) is not int or not 0 <= position < 2**63:
            raise ValueError("not an id")
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInput("cursor: invalid. Use a cursor that this server returned.") from error
    return position
