"""Pictures in the back-office: one model, whose pages are in the modules that are mixed together here."""

from django.contrib import admin

from organizations.permissions import Permission
from sourceimages.admin.bulk_actions import Acts
from sourceimages.admin.detail_view import OnePicture
from sourceimages.admin.list_view import Browse
from sourceimages.admin.upload_view import Uploads
from sourceimages.models import SourceImage


@admin.register(SourceImage)
class SourceImageAdmin(Browse, OnePicture, Uploads, Acts):
    needs = Permission.IMAGES_READ
