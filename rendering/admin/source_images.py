"""Registers images in the admin again, with previews and renders."""

from django.contrib import admin

from rendering.admin.previews import PreviewMixin
from rendering.admin.renders import RenderMixin
from sourceimages.admin.source_images import SourceImageAdmin
from sourceimages.models import SourceImage

admin.site.unregister(SourceImage)


@admin.register(SourceImage)
class RenderedImageAdmin(PreviewMixin, RenderMixin, SourceImageAdmin):
    pass
