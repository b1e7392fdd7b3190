"""Pictures in the back-office: one model, whose pages are in the modules that are mixed together here."""

from django.contrib import admin

from organizations.permissions import Permission
from sourceimages.admin.acts import Acts
from sourceimages.admin.browse import Browse
from sourceimages.admin.picture import OnePicture
from sourceimages.admin.upload import Uploads
from sourceimages.models import SourceImage


@admin.register(SourceImage)
class SourceImageAdmin(Browse, OnePicture, Uploads, Acts):
    needs = Permission.IMAGES_READ
