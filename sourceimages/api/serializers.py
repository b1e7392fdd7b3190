"""Serializers of rokka.io's contract."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from rokka.core.clock import rfc3339
from sourceimages.metadata.values import normalize_unicode
from sourceimages.models import SourceImage


class SourceImageSerializer(serializers.Serializer):
    """An image.

    Fields only document the output; `to_representation` builds it directly, as lists have up to 2,000 items.
    """

    hash = serializers.RegexField(r"^[0-9a-f]{40}$", help_text="ID of the image, the same in every organization.")
    short_hash = serializers.RegexField(r"^[0-9a-f]{6,40}$", help_text="Short ID of the image within its organization.")
    binary_hash = serializers.RegexField(r"^[0-9a-f]{40}$", help_text="SHA-1 of the uploaded file.")
    created = serializers.DateTimeField()
    name = serializers.CharField(help_text="File name at upload, or as renamed.")
    mimetype = serializers.CharField()
    format = serializers.CharField(help_text="Usual file extension of the format.")
    size = serializers.IntegerField(min_value=0, help_text="Bytes.")
    width = serializers.IntegerField(
        min_value=0, help_text="Pixels; points for PDF and EPS; 0 for files without dimensions."
    )
    height = serializers.IntegerField(min_value=0)
    organization = serializers.CharField()
    link = serializers.CharField(help_text="Path of the image in the API.")
    user_metadata = serializers.DictField(help_text="Keys include their type (`int:year`); the type `str` is omitted.")
    dynamic_metadata = serializers.DictField(child=serializers.DictField())
    static_metadata = serializers.DictField()
    protected = serializers.BooleanField()
    locked = serializers.BooleanField()
    opaque = serializers.BooleanField(help_text="False if any pixel is transparent or if unknown.")
    animated = serializers.BooleanField()
    deleted = serializers.BooleanField(required=False)
    deleted_date = serializers.DateTimeField(required=False)
    deletion = serializers.UUIDField(required=False, help_text="ID of the deletion that moved it to the trash.")

    def to_representation(self, image: SourceImage) -> dict[str, Any]:
        organization, file = image.organization.name, image.file
        shape: dict[str, Any] = {
            "hash": image.hash,
            "short_hash": image.short_hash,
            "binary_hash": image.binary_hash,
            "created": rfc3339(image.created),
            "name": image.name,
            "mimetype": image.mimetype,
            "format": image.format,
            "size": image.size,
            "width": image.width,
            "height": image.height,
            "organization": organization,
            "link": f"/sourceimages/{organization}/{image.hash}",
            "user_metadata": normalize_unicode(image.user_metadata),
            "dynamic_metadata": normalize_unicode(image.dynamic_metadata),
            "static_metadata": normalize_unicode(file.static_metadata),
            "protected": image.protected,
            "locked": image.locked,
            "opaque": file.opaque,
            "animated": file.animated,
        }
        if (tombstone := image.tombstone) is not None:
            deleted_at, deletion = rfc3339(tombstone.deleted_at), str(tombstone.pk)
            shape |= {"deleted": True, "deleted_date": deleted_at, "deletion": deletion}
        return shape


class UploadedImageSerializer(SourceImageSerializer):
    """An image in the response to an upload, which includes `deleted`."""

    def to_representation(self, image: SourceImage) -> dict[str, Any]:
        return super().to_representation(image) | {"deleted": False}


class UploadResultSerializer(serializers.Serializer):
    """The response to an upload: one image per file, in the order of the files."""

    total = serializers.IntegerField(min_value=1)
    items = UploadedImageSerializer(many=True)


class ImageListSerializer(serializers.Serializer):
    """All images with a binary hash."""

    total = serializers.IntegerField(min_value=0)
    items = SourceImageSerializer(many=True)


class LinkSerializer(serializers.Serializer):
    href = serializers.CharField(help_text="Path and query, relative to the host.")


class LinksSerializer(serializers.Serializer):
    prev = LinkSerializer(required=False)
    next = LinkSerializer(required=False)


@extend_schema_serializer(many=False)  # the list is returned inside an object
class ImagePageSerializer(ImageListSerializer):
    """A page of the list."""

    links = LinksSerializer(required=False)
    facets = serializers.DictField(
        child=serializers.ListField(child=serializers.DictField()),
        required=False,
        help_text="Values and their counts by field, most frequent first.",
    )
    notice = serializers.CharField(required=False, help_text="Why `q` is not a valid query and was searched as words.")
    cursor = serializers.CharField(
        required=False, help_text="Pass it as `offset` to get the next page. Always present when paging by cursor."
    )


class FieldSerializer(serializers.Serializer):
    name = serializers.CharField(help_text="Field name for filters, such as `user:int:year`.")
    type = serializers.CharField()
    count = serializers.IntegerField(help_text="Number of active images with this field.")


@extend_schema_serializer(many=False)
class FieldsSerializer(serializers.Serializer):
    items = FieldSerializer(many=True)


class UploadSerializer(serializers.Serializer):
    """An upload form. File parts can have any name; `0` in the other names is the index of the file they apply to."""

    filedata = serializers.FileField(required=False)
    url = serializers.URLField(required=False, help_text="`url[0]`: URL to fetch a file from.")
    meta_user = serializers.CharField(required=False, help_text="`meta_user[0]`: user metadata as a JSON object.")
    meta_dynamic = serializers.CharField(
        required=False, help_text="`meta_dynamic[0]`: dynamic metadata as a JSON object, by name."
    )
    options = serializers.CharField(required=False, help_text='`options[0]`: options such as `{"protected": true}`.')
    optimize_source = serializers.ChoiceField(["true", "false", "png", "jpg"], required=False)
