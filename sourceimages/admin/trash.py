"""The trash, by act of deleting."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.db.models import BooleanField, ExpressionWrapper, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import pluralize
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from organizations.admin.base import ActionAdmin, error_page, row_action
from organizations.audit import Actor
from organizations.auth.staff import actor_of, staff_of
from organizations.permissions import Permission
from rokka.core.clock import DatabaseNow
from rokka.core.errors import DomainError, Forbidden, InvalidInput
from sourceimages import jobs, tasks, thumbnails
from sourceimages.models import SourceImage, Tombstone
from sourceimages.operations import expire_tombstone
from sourceimages.templatetags.sourceimages_admin import days_left

COUNT_CAP = 1000  # pictures of a tombstone; a million would take too long to count in a list
PREVIEWS_PER_ROW = 3  # pictures of each in the list
PER_PAGE = 60
RESTORABLE = ExpressionWrapper(Q(expires_at__gt=DatabaseNow()), output_field=BooleanField())


class CappedCount(Subquery):
    """How many rows a query of limited length finds."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS found)"


@admin.register(Tombstone)
class TombstoneAdmin(ActionAdmin):
    permission = Permission.IMAGES_READ
    list_display = ("deleted", "preview", "organization", "pictures", "deleted_by", "reason", "expires_in")
    list_select_related = ("organization", "deleted_by")
    list_filter = ("reason",)
    ordering = ("-expires_at",)  # as they were made, by the index that there is
    actions = ("restore",)
    max_rows = 20

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        images = SourceImage.objects.filter(tombstone=OuterRef("pk"))
        count = CappedCount(images.values("pk")[: COUNT_CAP + 1], output_field=IntegerField())
        drawn = images.filter(format__in=thumbnails.SUPPORTED_FORMATS, protected=False).order_by("id").values("pk")
        looks = {f"look{number}": Subquery(drawn[number : number + 1]) for number in range(PREVIEWS_PER_ROW)}
        found: QuerySet = super().get_queryset(request).annotate(count=count, restorable=RESTORABLE, **looks)
        return found

    def object_actions(self, tombstone: Any) -> Sequence[str]:
        return ("restore",) if tombstone.count and tombstone.restorable else ()

    def row_label(self, tombstone: Any) -> str:
        pictures = f"{count_label(tombstone)} picture{pluralize(tombstone.count)}"
        when = f"{tombstone.deleted_at:%Y-%m-%d %H:%M}"
        return f"{pictures} of {tombstone.organization}, deleted {when} ({tombstone.get_reason_display()})"

    @row_action(
        "Restore all of it",
        permission=Permission.IMAGES_WRITE,
        explanation="A job restores the images. Those whose hash is in use again are merged into the active ones.",
    )
    def restore(self, tombstone: Tombstone, actor: Actor) -> str:
        job = tasks.run_or_enqueue(jobs.start_restore(tombstone.organization, tombstone.pk, actor=actor))
        address = reverse("admin:organizations_job_change", args=[job.pk])
        said = "is being restored" if job.unfinished else f"is restored: {job.counts.get('restored', 0)}"
        return format_html('What was deleted {}. <a href="{}">See the job</a>.', said, address)

    @error_page
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The pictures of one act, a page at a time by id."""
        tombstone = self.get_object(request, object_id)
        if tombstone is None:
            raise InvalidInput(
                "There is no such act of deleting, or it belongs to an organization that you cannot see."
            )
        if "_restore" in request.POST:
            return super().change_view(request, object_id, form_url, extra_context)
        problem = ""
        if "expire" in request.POST:
            try:
                return self._expire(request, tombstone)
            except DomainError as error:
                problem = error.message
        after = request.GET.get("after", "")
        images = tombstone.images.filter(id__gt=int(after) if after.isdecimal() and len(after) < 19 else 0)
        items = list(images.select_related("organization", "file", "tombstone").order_by("id")[: PER_PAGE + 1])
        context = self.admin_site.each_context(request) | {
            "title": f"Deleted {tombstone.deleted_at:%Y-%m-%d %H:%M}",
            "tombstone": tombstone,
            "count": count_label(tombstone),
            "images": items[:PER_PAGE],
            "after": items[PER_PAGE - 1].pk if len(items) > PER_PAGE else None,
            "before": after,
            "restorable": bool(self.object_actions(tombstone))
            and self.has_action_permission(request, "restore", tombstone),
            "problem": problem,
        }
        status = 400 if problem else 200
        return TemplateResponse(request, "admin/sourceimages/deletion.html", context, status=status)

    def _expire(self, request: HttpRequest, tombstone: Tombstone) -> HttpResponse:
        """For superusers, who have to type the name of the organization: this cannot be undone."""
        if not staff_of(request).superuser:
            raise Forbidden("Only superusers may remove something before its time.")
        if request.POST.get("name", "").strip() != tombstone.organization.name:
            raise InvalidInput(f"Nothing was removed: type {tombstone.organization.name!r} to confirm it.")
        expire_tombstone(tombstone, actor=actor_of(request))
        tasks.enqueue_purge()
        messages.success(request, "It has expired. Its pictures are removed for good within the hour.")
        return HttpResponseRedirect(reverse("admin:sourceimages_tombstone_changelist"))

    @admin.display(description="deleted", ordering="deleted_at")
    def deleted(self, tombstone: Tombstone) -> str:
        return f"{tombstone.deleted_at:%Y-%m-%d %H:%M}"

    @admin.display(description="")
    def preview(self, tombstone: Any) -> str:
        looks = filter(None, (getattr(tombstone, f"look{number}") for number in range(PREVIEWS_PER_ROW)))
        addresses = ((reverse("admin:sourceimages_preview", args=[pk, "small"]),) for pk in looks)
        return format_html_join(" ", '<img class="preview" src="{}" alt="" loading="lazy">', addresses)

    @admin.display(description="expires", ordering="expires_at")
    def expires_in(self, tombstone: Tombstone) -> str:
        return days_left(tombstone)

    @admin.display
    def pictures(self, tombstone: Tombstone) -> str:
        return count_label(tombstone)


def count_label(tombstone: Any) -> str:
    """The number of its pictures, as far as it was counted."""
    return f"more than {COUNT_CAP}" if tombstone.count > COUNT_CAP else str(tombstone.count)
