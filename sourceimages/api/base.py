"""Look up the images that a request addresses."""

from rest_framework import status
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.base import OrganizationScope
from rokka.core.parsers import parse_flag
from sourceimages import hot_path, ownership
from sourceimages.errors import ImageNotFound
from sourceimages.models import SourceImage, SourceImageQuerySet


class WritableStorageViewSet(OrganizationScope):
    """Refuses writing requests while database and storage do not match. Access is checked before that."""

    def check_permissions(self, request: Request) -> None:
        super().check_permissions(request)
        if request.method not in SAFE_METHODS:
            ownership.check_writable()


class SourceImageScopedViewSet(WritableStorageViewSet):
    """A viewset below `/sourceimages/{org}`."""

    def get_queryset(self) -> SourceImageQuerySet:
        images = self.organization.images
        if self.include_deleted():
            return images.in_trash().select_related("file", "tombstone")
        return images.active().select_related("file")

    def image(self, hash: str) -> SourceImage:
        """The image with this hash or short hash; with `deleted`, the one deleted last. Raises ImageNotFound."""
        if not self.include_deleted():
            return self.active_image(hash)
        found = self.get_queryset().by_hash(hash)
        # The trash can hold a hash several times.
        return self._found(found.order_by("-tombstone__deleted_at", "-id").first(), hash)

    def active_image(self, hash: str) -> SourceImage:
        """The active image with this hash or short hash. Raises ImageNotFound."""
        return self._found(hot_path.active_image(self.organization, hash), hash)

    def include_deleted(self) -> bool:
        return query_flag(self.request, "deleted")

    def _found(self, image: SourceImage | None, hash: str) -> SourceImage:
        if image is None:
            raise ImageNotFound(f"No source image found for {hash[:80]!r} in {self.organization.name!r}.")
        return image


def query_flag(request: Request, name: str) -> bool:
    """A boolean query parameter; missing counts as false."""
    return parse_flag(name, request.query_params.get(name, ""))


def image_path(image: SourceImage) -> str:
    """The path of the image in the API."""
    return f"/sourceimages/{image.organization.name}/{image.hash}"


def no_content() -> Response:
    return Response(status=status.HTTP_204_NO_CONTENT)
