"""Registers images in the admin. Each mixin adds some of their pages."""

from django.contrib import admin

from organizations.permissions import Permission
from sourceimages.admin.bulk_actions import BulkActionMixin
from sourceimages.admin.detail_view import DetailMixin
from sourceimages.admin.list_view import ListMixin
from sourceimages.admin.upload_view import UploadMixin
from sourceimages.models import SourceImage


@admin.register(SourceImage)
class SourceImageAdmin(ListMixin, DetailMixin, UploadMixin, BulkActionMixin):
    permission = Permission.IMAGES_READ
