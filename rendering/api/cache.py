"""Endpoints that clear the cached renders of an image, also by an alias."""

from drf_spectacular.utils import inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.permissions import Permission
from rendering.operations.cache import purge_image
from rokka.core import ratelimits
from rokka.core.openapi import ORGANIZATION, errors, extend_schema
from rokka.core.ratelimits import HOUR, Limit
from sourceimages.api.aliases import ALIAS
from sourceimages.api.base import SourceImageScopedViewSet
from sourceimages.api.openapi import HASH
from sourceimages.operations import aliases

CACHE_LIMIT = Limit("RATE_LIMIT_CACHE_PURGES", HOUR)  # purges per organization: of images, and of stacks
PURGED = inline_serializer(
    "PurgedRenders",
    {"status": serializers.CharField(), "items": serializers.ListField(child=serializers.CharField())},
)


class ImageCacheViewSet(SourceImageScopedViewSet):
    """The cached renders of images."""

    tag = "Source images"
    serializer_class = serializers.Serializer
    required_permissions = {"clear_image": Permission.IMAGES_WRITE, "clear_alias": Permission.IMAGES_WRITE}

    @extend_schema(
        summary="Clear the cache of an image",
        parameters=[ORGANIZATION, HASH],
        request=None,
        responses={200: PURGED, **errors(400, 401, 403, 404, 429, 503)},
    )
    def clear_image(self, request: Request, organization: str, hash: str) -> Response:
        """Removes all renders of the image from the server's cache. `items` has the paths that were cleared.

        Limited per hour (RATE_LIMIT_CACHE_PURGES).
        """
        return self._purge(hash)

    @extend_schema(
        summary="Clear the cache of an alias",
        parameters=[ORGANIZATION, ALIAS],
        request=None,
        responses={200: PURGED, **errors(400, 401, 403, 404, 429, 503)},
    )
    def clear_alias(self, request: Request, organization: str, alias: str) -> Response:
        """Removes all renders of the image that the alias names from the server's cache."""
        return self._purge(aliases.get_alias(self.organization, alias).hash)

    def _purge(self, hash: str) -> Response:
        image = self.active_image(hash)
        self.allowance = None  # a 429 has the headers of the limit that was exceeded
        self.allowance = ratelimits.hit((CACHE_LIMIT, f"{self.organization.pk.hex}:images"))
        image.organization = self.organization
        purge_image(image, actor=self.actor)
        return Response({"status": "ok", "items": [f"/*/{image.hash}*", f"/*/{image.short_hash}*"]})
