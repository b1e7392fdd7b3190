"""Finding the images that a request is about."""

from rest_framework import status
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.base import OrganizationScope
from rokka.core.parsers import boolean
from sourceimages import ownership
from sourceimages.errors import ImageNotFound
from sourceimages.models import SourceImage, SourceImageQuerySet


class StorageScope(OrganizationScope):
    """A scope in which requests that write are refused while database and storage do not agree; strangers before."""

    def check_permissions(self, request: Request) -> None:
        super().check_permissions(request)
        if request.method not in SAFE_METHODS:
            ownership.check_writable()


class ImageScope(StorageScope):
    """A scope below `/sourceimages/{org}`."""

    def get_queryset(self) -> SourceImageQuerySet:
        images = self.organization.images
        if self.asks_for_deleted():
            return images.in_trash().select_related("file", "tombstone")
        return images.living().select_related("file")

    def image(self, hash: str) -> SourceImage:
        """The image of this hash or short hash; in the trash, the one that was deleted last. Raises ImageNotFound."""
        found = self.get_queryset().named(hash)
        if self.asks_for_deleted():
            found = found.order_by("-tombstone__deleted_at", "-id")  # it may lie there many times
        return self._first(found, hash)

    def living_image(self, hash: str) -> SourceImage:
        """The active image of this hash or short hash. Raises ImageNotFound."""
        return self._first(self.organization.images.living().select_related("file").named(hash), hash)

    def asks_for_deleted(self) -> bool:
        return flag(self.request, "deleted")

    def _first(self, found: SourceImageQuerySet, hash: str) -> SourceImage:
        image = next(iter(found[:1]), None)
        if image is None:
            raise ImageNotFound(f"No source image found for {hash[:80]!r} in {self.organization.name!r}.")
        return image


def flag(request: Request, name: str) -> bool:
    """A flag in the query, false if it is not there."""
    return boolean(name, request.query_params.get(name, ""))


def link(image: SourceImage) -> str:
    """The path of an image in the API."""
    return f"/sourceimages/{image.organization.name}/{image.hash}"


def nothing() -> Response:
    return Response(status=status.HTTP_204_NO_CONTENT)
