from django.contrib import admin

from rokka.admin import ReadOnlyAdmin
from sourceimages.models import Alias, ShortHash, SourceImage, StoredFile, Tombstone


@admin.register(SourceImage)
class SourceImageAdmin(ReadOnlyAdmin):
    list_display = (
        "short_hash",
        "name",
        "organization",
        "format",
        "size",
        "width",
        "height",
        "protected",
        "locked",
        "created",
    )
    list_select_related = ("organization",)
    list_filter = ("protected", "locked")
    search_fields = ("=hash", "=short_hash", "=binary_hash", "name__startswith")
    ordering = ("-created", "-id")


@admin.register(StoredFile)
class StoredFileAdmin(ReadOnlyAdmin):
    list_display = ("binary_hash", "organization", "format", "size", "created", "verified_at")
    list_select_related = ("organization",)
    search_fields = ("=binary_hash", "=key")
    ordering = ("-id",)


@admin.register(Tombstone)
class TombstoneAdmin(ReadOnlyAdmin):
    list_display = ("deleted_at", "organization", "reason", "deleted_by", "expires_at")
    list_select_related = ("organization", "deleted_by")
    list_filter = ("reason",)


@admin.register(ShortHash)
class ShortHashAdmin(ReadOnlyAdmin):
    list_display = ("short_hash", "hash", "organization")
    list_select_related = ("organization",)
    search_fields = ("=short_hash", "=hash")


@admin.register(Alias)
class AliasAdmin(ReadOnlyAdmin):
    list_display = ("alias", "hash", "organization", "created")
    list_select_related = ("organization",)
    search_fields = ("=alias", "=hash")
