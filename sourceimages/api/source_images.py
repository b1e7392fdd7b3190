"""Endpoints of source images."""

import copy

from django.http import HttpResponseBase
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.base import OrganizationScope
from organizations.permissions import Permission
from rokka.core.openapi import ORGANIZATION, errors, extend_schema
from sourceimages import queue, search
from sourceimages.api.copy import CopyMixin
from sourceimages.api.dynamic_metadata import DynamicMetadataMixin
from sourceimages.api.history import HistoryMixin
from sourceimages.api.lifecycle import LifecycleMixin
from sourceimages.api.openapi import BINARY_HASH, CONDITIONS, DELETED, FILE_RESPONSES, HASH, PAGING, RANGE, SEARCH, ZIP
from sourceimages.api.serializers import (
    FieldsSerializer,
    ImageListSerializer,
    ImagePageSerializer,
    SourceImageSerializer,
    UploadedImageSerializer,
    UploadResultSerializer,
    UploadSerializer,
)
from sourceimages.api.user_metadata import UserMetadataMixin
from sourceimages.downloads import original, zip_archive
from sourceimages.downloads.access import check_original
from sourceimages.errors import OriginalMissing
from sourceimages.models import SourceImage
from sourceimages.models.images import in_chunks
from sourceimages.operations import UploadResult, add_images
from sourceimages.search.facets import Facet, facet_names, facets, fields_in_use
from sourceimages.search.pagination import PageRequest, count
from sourceimages.uploads.multipart import parse_upload

CHUNK = 500  # rows per query


class SourceImageViewSet(LifecycleMixin, UserMetadataMixin, DynamicMetadataMixin, CopyMixin, HistoryMixin):
    """Source images of an organization."""

    tag = "Source images"
    serializer_class = SourceImageSerializer
    http_method_names = [*OrganizationScope.http_method_names, "copy"]
    unthrottled_actions = {"create"}
    required_permissions = {
        "create": Permission.IMAGES_UPLOAD,
        "list": Permission.IMAGES_READ,
        "fields": Permission.IMAGES_READ,
        "archive": Permission.IMAGES_READ,
        "binary_hash": Permission.IMAGES_READ,
        "retrieve": Permission.IMAGES_READ,
        "download": (Permission.ORIGINALS_DOWNLOAD, Permission.PROTECTED_ORIGINALS_DOWNLOAD),
        **LifecycleMixin.required_permissions,
        **UserMetadataMixin.required_permissions,
        **DynamicMetadataMixin.required_permissions,
        **CopyMixin.required_permissions,
        **HistoryMixin.required_permissions,
    }

    @extend_schema(
        summary="Upload images",
        parameters=[ORGANIZATION],
        request={"multipart/form-data": UploadSerializer},
        responses={200: UploadResultSerializer, **errors(400, 401, 403, 404, 409, 413, 423, 429, 503)},
    )
    def create(self, request: Request, organization: str) -> Response:
        """Adds one image per file. Uploading the same content again returns the existing image."""
        received = parse_upload(request._request)
        try:
            can_read = self.granted(Permission.IMAGES_READ)
            uploads = received.uploads(self.organization, self.actor)
            added = add_images(self.organization, uploads, can_update=can_read, actor=self.actor)
        finally:
            received.discard()
        queue.enqueue_optimize(one.image.file for one in added)
        images = [one.image if can_read else redact_existing(one) for one in added]
        items = list(map(UploadedImageSerializer().to_representation, images))
        return Response({"total": len(images), "items": items})

    @extend_schema(
        summary="List images",
        parameters=[ORGANIZATION, *PAGING, *SEARCH, DELETED],
        responses={200: ImagePageSerializer, **errors(400, 401, 403, 404, 409, 429, 503)},
    )
    def list(self, request: Request, organization: str) -> Response:
        """A page of images, newest first by default. `total` counts the images on all pages."""
        query = self.request.query_params
        if query.get("binaryHash"):
            return self._by_binary_hash(query["binaryHash"])
        in_trash = self.include_deleted()
        cost = search.Cost(self.organization, in_trash=in_trash)
        with cost.counted(self.search_key, query):
            parsed = search.read(self.organization, query, in_trash=in_trash, cost=cost)
            wanted = PageRequest.read(query.dict(), self.organization, in_trash=in_trash)
            filtered = parsed.condition is not None or in_trash
            names = facet_names(query.get("facets", ""))
            cost.add_page(wanted.order, wanted.offset or 0, filtered=filtered, facets=len(names))
        images = all_images = self.get_queryset()
        if parsed.condition is not None:
            images = all_images.filter(parsed.condition)
        with cost.running(self.search_key):
            values: dict[str, Facet] = {}
            if names:
                total, values = facets(images, self.organization, names)
            else:
                total = count(images) if filtered else cost.images
            in_order = parsed.in_order is not None and cost.reads_in_order(total)
            listed = all_images.filter(parsed.in_order) if in_order else images
            page = wanted.page(
                listed if in_trash else listed.with_shown_columns(), self.organization, request.path_info, query
            )
            items = list(map(self.get_serializer().to_representation, page.items))
            answer = {"total": total, "items": items, "links": page.links}
            if page.cursor:
                answer["cursor"] = page.cursor
            if names:
                answer["facets"] = values
        if parsed.notice:
            answer["notice"] = parsed.notice
        return Response(answer)

    @extend_schema(
        summary="List metadata fields",
        parameters=[ORGANIZATION],
        responses={200: FieldsSerializer, **errors(400, 401, 403, 404, 409, 429, 503)},
    )
    def fields(self, request: Request, organization: str) -> Response:
        """Metadata fields of active images: name for filters, type, and number of images."""
        cost = search.Cost(self.organization)
        cost.add_fields()
        with cost.running(self.search_key):
            return Response({"items": fields_in_use(self.organization)})

    @extend_schema(
        summary="Download originals as ZIP",
        parameters=[ORGANIZATION, *PAGING, *SEARCH],
        responses={**ZIP, **errors(400, 401, 403, 404, 409, 429, 503)},
    )
    def archive(self, request: Request, organization: str) -> HttpResponseBase:
        """Streams a ZIP of the originals. Without `limit`, it contains all images that match.

        Files that are missing or damaged, and protected images that you can't download, are listed in the last entry,
        `MISSING.txt`. If the storage becomes unavailable, the connection is closed early.
        """
        query = self.request.query_params
        found = self.organization.images.active().select_related("file")
        protected = self.granted(Permission.PROTECTED_ORIGINALS_DOWNLOAD)
        if query.get("binaryHash"):
            images = in_chunks(found.by_binary_hash(query["binaryHash"]))
            return zip_archive.zip_response(self.organization, images, protected=protected, actor=self.actor)
        cost = search.Cost(self.organization)
        with cost.counted(self.search_key, query):
            condition = search.condition(self.organization, query, in_trash=False, cost=cost)
            page = PageRequest.read(query.dict(), self.organization, in_trash=False)
        found = found if condition is None else found.filter(condition)
        if query.get("limit"):
            cost.add_page(page.order, page.offset or 0, filtered=False, facets=0)
            with cost.running(self.search_key):
                listed = page.page(found, self.organization, "", query).items
            return zip_archive.zip_response(self.organization, listed, protected=protected, actor=self.actor)
        return zip_archive.zip_response(
            self.organization,
            page.iterate(found, self.organization, CHUNK),
            protected=protected,
            actor=self.actor,
        )

    @extend_schema(
        summary="Find images by binary hash",
        parameters=[ORGANIZATION, BINARY_HASH],
        responses={200: ImageListSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def binary_hash(self, request: Request, organization: str, binary_hash: str) -> Response:
        """All images of an uploaded file. They differ in dynamic metadata or protection."""
        return self._by_binary_hash(binary_hash)

    @extend_schema(
        summary="Get an image",
        parameters=[ORGANIZATION, HASH, DELETED],
        responses={200: SourceImageSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def retrieve(self, request: Request, organization: str, hash: str) -> Response:
        """Looks up the image by hash or short hash."""
        return Response(self.get_serializer(self.image(hash)).data)

    @extend_schema(
        summary="Download an original",
        parameters=[ORGANIZATION, HASH, DELETED, RANGE, *CONDITIONS],
        responses={**FILE_RESPONSES, **errors(400, 401, 403, 404, 429, 503)},
    )
    def download(self, request: Request, organization: str, hash: str) -> HttpResponseBase:
        """The original file with its own media type. Downloading from the trash requires write permission."""
        image = self.image(hash)
        check_original(image, self.granted_permissions)
        try:
            return original.original_response(request._request, image)
        except OriginalMissing:
            if (again := self.image(hash)).file.key == image.file.key:
                raise
            return original.original_response(request._request, again)  # the file was optimized in the meantime

    @property
    def search_key(self) -> str:
        """Whose expensive searches are counted together: the key's, tokens of the key included."""
        return str(self.key_id or self.caller.pk)

    def _by_binary_hash(self, binary_hash: str) -> Response:
        items = self.get_serializer(self.get_queryset().by_binary_hash(binary_hash).order_by("id"), many=True).data
        return Response({"total": len(items), "items": items})


def redact_existing(added: UploadResult) -> SourceImage:
    """The image for users who can upload but not read: what they sent, without data of an existing image."""
    image = copy.copy(added.image)
    image.name = added.upload.name
    image.user_metadata = {key: value for key, value in added.upload.user_metadata.items() if value is not None}
    image.created = image.created if added.created else timezone.now()
    image.locked = False
    return image
