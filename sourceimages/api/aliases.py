"""Aliases of images."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.permissions import Permission
from rokka.core.clock import rfc3339
from rokka.core.errors import InvalidInput
from rokka.core.openapi import ORGANIZATION, errors, extend_schema
from sourceimages.api.base import SourceImageScopedViewSet, query_flag
from sourceimages.models import Alias
from sourceimages.operations import aliases

ALIAS = OpenApiParameter("alias", OpenApiTypes.STR, OpenApiParameter.PATH, pattern=r"^[a-zA-Z0-9_]{1,255}$")
OVERWRITE_PARAM = OpenApiParameter(
    "overwrite", OpenApiTypes.BOOL, description="true: move the alias if it is already used for another image."
)


class AliasSerializer(serializers.Serializer):
    """An alias and the hash that it points to, whether or not that image exists now."""

    organization = serializers.CharField(read_only=True)
    alias = serializers.CharField(read_only=True)
    hash = serializers.CharField(help_text="Hash. Requests may use a short hash.")
    created = serializers.DateTimeField(read_only=True)

    def to_representation(self, alias: Alias) -> dict[str, Any]:
        return {
            "organization": alias.organization.name,
            "alias": alias.alias,
            "hash": alias.hash,
            "created": rfc3339(alias.created),
        }


class AliasViewSet(SourceImageScopedViewSet):
    tag = "Aliases"
    serializer_class = AliasSerializer
    required_permissions = {
        "retrieve": Permission.IMAGES_READ,
        "update": Permission.IMAGES_WRITE,
        "destroy": Permission.IMAGES_WRITE,
    }

    @extend_schema(
        summary="Get an alias",
        parameters=[ORGANIZATION, ALIAS],
        responses={200: AliasSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def retrieve(self, request: Request, organization: str, alias: str) -> Response:
        """Works for deleted images, too."""
        return Response(AliasSerializer(aliases.get_alias(self.organization, alias)).data)

    @extend_schema(
        summary="Set an alias",
        parameters=[ORGANIZATION, ALIAS, OVERWRITE_PARAM],
        responses={200: AliasSerializer, 201: AliasSerializer, **errors(400, 401, 403, 404, 409, 413, 429)},
    )
    def update(self, request: Request, organization: str, alias: str) -> Response:
        """Returns 201 if the alias is new, and 200 if it existed."""
        body = request.data
        if not isinstance(body, dict) or not isinstance(body.get("hash"), str):
            raise InvalidInput('The body must be a JSON object: {"hash": "…"}.')
        overwrite = query_flag(request, "overwrite")
        named = aliases.set_alias(self.active_image(body["hash"]), alias, overwrite=overwrite, actor=self.actor)
        return Response(AliasSerializer(named.alias).data, status=201 if named.created else 200)

    @extend_schema(
        summary="Delete an alias",
        parameters=[ORGANIZATION, ALIAS],
        responses={204: None, **errors(400, 401, 403, 404, 429)},
    )
    def destroy(self, request: Request, organization: str, alias: str) -> Response:
        """The image is kept."""
        aliases.delete_alias(self.organization, alias, actor=self.actor)
        return Response(status=204)
