"""Pictures in the back-office: one model, whose pages are in the modules that are mixed together here."""

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
