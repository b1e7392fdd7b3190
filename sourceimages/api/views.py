"""The API of source images: each action names what it needs, and hands over."""

import copy

from django.http import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from organizations import counters
from organizations.api.scope import OrganizationScope
from organizations.errors import RoleMissing
from organizations.permissions import Permission
from rokka.api import boolean
from rokka.errors import Invalid
from rokka.openapi import ORGANIZATION, errors
from sourceimages.api import downloads
from sourceimages.api.openapi import BINARY_HASH, BYTES, DELETED, HASH, PAGING, RANGE
from sourceimages.api.paging import PageRequest
from sourceimages.api.serializers import (
    AddedImageSerializer,
    AddedSerializer,
    FoundSerializer,
    PageSerializer,
    SourceImageSerializer,
    UploadSerializer,
)
from sourceimages.api.uploads import receive
from sourceimages.errors import ImageNotFound, ProtectedOriginal
from sourceimages.models import SourceImage
from sourceimages.operations import Added, add_images
from sourceimages.querysets import SourceImageQuerySet

LIST_PARAMETERS = {"limit", "offset", "sort", "deleted", "binaryHash", "operator"}


class SourceImageViewSet(OrganizationScope):
    """Original pictures of an organization."""

    serializer_class = SourceImageSerializer
    unlimited = {"create"}
    needs = {
        "create": Permission.IMAGES_UPLOAD,
        "list": Permission.IMAGES_READ,
        "binary_hash": Permission.IMAGES_READ,
        "retrieve": Permission.IMAGES_READ,
        "download": (Permission.ORIGINALS_DOWNLOAD, Permission.PROTECTED_ORIGINALS_DOWNLOAD),
    }

    def get_queryset(self) -> SourceImageQuerySet:
        images = self.organization.images
        if self._asks_for_deleted():
            return images.in_trash().select_related("file", "tombstone")
        return images.living().select_related("file")

    @extend_schema(
        summary="Upload pictures",
        parameters=[ORGANIZATION],
        request={"multipart/form-data": UploadSerializer},
        responses={200: AddedSerializer, **errors(400, 403, 404, 409, 413, 423, 503)},
    )
    def create(self, request: Request, organization: str) -> Response:
        """Add one picture for each file part. The same content again is the same picture."""
        received = receive(request._request)
        try:
            may_read = self.granted(Permission.IMAGES_READ)
            added = add_images(self.organization, received.uploads(), may_change=may_read, actor=self.actor)
        finally:
            received.discard()
        shown = [one.image if may_read else as_sent(one) for one in added]
        return Response({"total": len(shown), "items": AddedImageSerializer(shown, many=True).data})

    @extend_schema(
        summary="List pictures",
        parameters=[ORGANIZATION, *PAGING, DELETED],
        responses={200: PageSerializer, **errors(400, 403, 404)},
    )
    def list(self, request: Request, organization: str) -> Response:
        """A page of pictures, newest first unless sorted otherwise. `total` ignores the paging."""
        query = request.query_params
        if unknown := {name for name, value in query.items() if value} - LIST_PARAMETERS:
            raise Invalid(f"{sorted(unknown)[0][:80]}: this server cannot filter by it.")
        if query.get("operator", "").lower() not in ("", "and", "or"):
            raise Invalid("operator: it must be and, or or.")
        if query.get("binaryHash"):
            return self._found(query["binaryHash"])
        in_trash = self._asks_for_deleted()
        page = PageRequest.read(query, in_trash=in_trash).page(self.get_queryset(), request.path_info, query)
        total = self.get_queryset().count() if in_trash else counters.totals(self.organization).images
        answer = {"total": total, "items": self.get_serializer(page.items, many=True).data, "links": page.links}
        return Response(answer | ({"cursor": page.cursor} if page.cursor else {}))

    @extend_schema(
        summary="Find pictures by the sha1 of their bytes",
        parameters=[ORGANIZATION, BINARY_HASH],
        responses={200: FoundSerializer, **errors(400, 403, 404)},
    )
    def binary_hash(self, request: Request, organization: str, binary_hash: str) -> Response:
        """All pictures made of these bytes: they differ in dynamic metadata or protection."""
        return self._found(binary_hash)

    @extend_schema(
        summary="Get a picture",
        parameters=[ORGANIZATION, HASH, DELETED],
        responses={200: SourceImageSerializer, **errors(400, 403, 404)},
    )
    def retrieve(self, request: Request, organization: str, hash: str) -> Response:
        """By hash or short hash."""
        return Response(self.get_serializer(self._image(hash)).data)

    @extend_schema(
        summary="Download the original",
        parameters=[ORGANIZATION, HASH, RANGE],
        responses={**BYTES, **errors(400, 403, 404, 503)},
    )
    def download(self, request: Request, organization: str, hash: str) -> HttpResponseBase:
        """The bytes as they were uploaded, with their own content type."""
        image = self._image(hash)
        if image.protected and not self.granted(Permission.PROTECTED_ORIGINALS_DOWNLOAD):
            raise ProtectedOriginal("This picture is protected; your roles do not allow downloading its original.")
        if not image.protected and not self.granted(Permission.ORIGINALS_DOWNLOAD):
            raise RoleMissing("This picture is not protected; your roles allow downloading protected ones only.")
        return downloads.response(request._request, image)

    def _image(self, hash: str) -> SourceImage:
        found = self.get_queryset().named(hash)
        if self._asks_for_deleted():
            found = found.order_by("-tombstone__deleted_at", "-id")  # it may lie there many times
        image = next(iter(found[:1]), None)
        if image is None:
            raise ImageNotFound(f"There is no picture {hash[:80]!r} in {self.organization.name!r}.")
        return image

    def _found(self, binary_hash: str) -> Response:
        items = self.get_serializer(self.get_queryset().with_bytes(binary_hash).order_by("id"), many=True).data
        return Response({"total": len(items), "items": items})

    def _asks_for_deleted(self) -> bool:
        return boolean("deleted", self.request.query_params.get("deleted", ""))


def as_sent(added: Added) -> SourceImage:
    """The picture for somebody who may upload but not read: what they sent, and nothing of what was here before."""
    image = copy.copy(added.image)
    image.name = added.upload.name
    image.user_metadata = {key: value for key, value in added.upload.user_metadata.items() if value is not None}
    image.created = image.created if added.created else timezone.now()
    image.locked = False
    return image
