"""The trash, by act of deleting."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import IntegerField, OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from organizations.audit import Actor
from organizations.permissions import Permission
from rokka.admin import OperationAdmin, operation
from sourceimages import jobs
from sourceimages.admin.pictures import StateFilter
from sourceimages.models import SourceImage, Tombstone
from sourceimages.tasks import hurry

COUNTED = 1000  # pictures of a tombstone; a million would take too long to count in a list


class CappedCount(Subquery):
    """How many rows a query of limited length finds."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS found)"


@admin.register(Tombstone)
class TombstoneAdmin(OperationAdmin):
    needs = Permission.IMAGES_READ
    list_display = ("deleted_at", "organization", "reason", "deleted_by", "pictures", "expires_at")
    list_select_related = ("organization", "deleted_by")
    list_filter = ("reason",)
    ordering = ("-expires_at",)  # as they were made, by the index that there is
    readonly_fields = ("pictures",)
    actions = ("restore",)
    most = 20

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        images = SourceImage.objects.filter(tombstone=OuterRef("pk")).values("pk")[: COUNTED + 1]
        count = CappedCount(images, output_field=IntegerField())
        found: QuerySet = super().get_queryset(request).annotate(count=count)
        return found

    def buttons(self, tombstone: Any) -> Sequence[str]:
        return ("restore",) if tombstone.count and tombstone.expires_at > timezone.now() else ()

    def describe(self, tombstone: Any) -> str:
        pictures = f"{counted(tombstone)} picture{pluralize(tombstone.count)}"
        return f"{pictures} of {tombstone.organization}, deleted {tombstone.deleted_at:%Y-%m-%d %H:%M}"

    @operation(
        "Restore all of it",
        needs=Permission.IMAGES_WRITE,
        explanation="A job brings the pictures back, except those that live again already.",
    )
    def restore(self, tombstone: Tombstone, actor: Actor) -> str:
        job = jobs.restore_all(tombstone.organization, tombstone.pk, actor=actor)
        hurry(job.pk)
        address = reverse("admin:organizations_job_change", args=[job.pk])
        return format_html('What was deleted is being restored: <a href="{}">see how far the job is</a>.', address)

    @admin.display
    def pictures(self, tombstone: Tombstone) -> str:
        """A link to those that are still in the trash."""
        query = {StateFilter.parameter_name: StateFilter.TRASH, "tombstone__id__exact": tombstone.pk}
        address = reverse("admin:sourceimages_sourceimage_changelist", query=query)
        return format_html('<a href="{}">{}</a>', address, counted(tombstone))


def counted(tombstone: Any) -> str:
    """The number of its pictures, as far as it was counted."""
    return f"more than {COUNTED}" if tombstone.count > COUNTED else str(tombstone.count)
