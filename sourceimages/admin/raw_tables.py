"""Read-only tables of the models, for debugging."""

from django.contrib import admin

from organizations.admin.base import ReadOnlyAdmin, UserNameAdmin
from organizations.permissions import Permission
from sourceimages.models import (
    Alias,
    ImageVersion,
    Instance,
    MaintenanceTask,
    MetadataField,
    SearchIndex,
    ShortHash,
    StoredFile,
)


@admin.register(StoredFile)
class StoredFileAdmin(ReadOnlyAdmin):
    permission = Permission.IMAGES_READ
    list_display = ("binary_hash", "organization", "format", "size", "created", "verified_at")
    list_select_related = ("organization",)
    search_fields = ("=binary_hash", "=key")
    ordering = ("-id",)


@admin.register(ShortHash)
class ShortHashAdmin(ReadOnlyAdmin):
    permission = Permission.IMAGES_READ
    list_display = ("short_hash", "hash", "organization")
    list_select_related = ("organization",)
    search_fields = ("=short_hash", "=hash")


@admin.register(Alias)
class AliasAdmin(ReadOnlyAdmin):
    permission = Permission.IMAGES_READ
    list_display = ("alias", "hash", "organization", "created")
    list_select_related = ("organization",)
    search_fields = ("=alias", "=hash")


@admin.register(ImageVersion)
class ImageVersionAdmin(UserNameAdmin):
    permission = Permission.IMAGES_READ
    list_display = ("created", "kind", "hash", "organization", "source", "user_name", "job_id")
    list_select_related = ("organization", "user")
    search_fields = ("=hash",)
    ordering = ("-id",)
    exclude = ("user",)
    readonly_fields = ("user_name",)


@admin.register(MetadataField)
class MetadataFieldAdmin(ReadOnlyAdmin):
    permission = Permission.IMAGES_READ
    list_display = ("name", "type", "organization")
    list_select_related = ("organization",)
    search_fields = ("name",)


@admin.register(MaintenanceTask)
class MaintenanceTaskAdmin(ReadOnlyAdmin):
    list_display = ("name", "last_run", "position", "held_since", "held_reason")
    ordering = ("name",)


@admin.register(Instance)
class InstanceAdmin(ReadOnlyAdmin):
    list_display = ("instance_id", "database", "counter", "raised_at", "accepted", "accepted_at", "created")
    ordering = ("only",)


@admin.register(SearchIndex)
class SearchIndexAdmin(ReadOnlyAdmin):
    permission = Permission.IMAGES_READ
    list_display = ("organization", "made_for", "building")
    list_select_related = ("organization",)
    ordering = ("organization",)
