"""The admin of the trash, which lists deletions."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import BooleanField, ExpressionWrapper, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import pluralize
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from organizations.admin.base import ActionAdmin, UserNameAdmin, error_page, row_action
from organizations.audit import Actor
from organizations.auth.staff import actor_of, staff_of
from organizations.permissions import Permission
from rokka.core.clock import DatabaseNow
from rokka.core.errors import DomainError, Forbidden, InvalidInput, NotFound
from sourceimages import jobs, queue
from sourceimages.formats import RENDERABLE
from sourceimages.models import SourceImage, Tombstone
from sourceimages.operations import expire_tombstone
from sourceimages.outcomes import Outcome
from sourceimages.templatetags.sourceimages_admin import days_left, is_expiring

COUNT_CAP = 1000  # images counted per deletion; counting a million takes too long for a list
PREVIEWS_PER_ROW = 3  # thumbnails
PER_PAGE = 60
RESTORABLE = ExpressionWrapper(Q(expires_at__gt=DatabaseNow()), output_field=BooleanField())


class CappedCount(Subquery):
    """The number of rows of a query with a limit, so that counting stops at the limit."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS found)"


class DeletePermanentlyForm(forms.Form):
    """Confirms the permanent deletion with the name of the organization."""

    name = forms.CharField(required=False)

    def __init__(self, *args: Any, tombstone: Tombstone, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.expected = tombstone.organization.name
        self.fields["name"].label = f"Type the name of the organization ({self.expected}) to confirm"
        self.fields["name"].widget.attrs |= {"autocomplete": "off", "required": True}

    def clean_name(self) -> str:
        if self.cleaned_data["name"] != self.expected:
            raise ValidationError(f"Type {self.expected!r} to confirm. Nothing was deleted.")
        return self.expected


@admin.register(Tombstone)
class TombstoneAdmin(UserNameAdmin, ActionAdmin):
    list_title = "Trash"
    permission = Permission.IMAGES_READ
    list_display = ("deleted", "preview", "organization", "images", "user_name", "reason", "expires_in")
    list_select_related = ("organization", "deleted_by")
    user_field = "deleted_by"
    list_filter = ("reason",)
    ordering = ("-expires_at",)  # served by an index
    actions = ("restore",)
    max_rows = 20

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        images = SourceImage.objects.filter(tombstone=OuterRef("pk"))
        count = CappedCount(images.values("pk")[: COUNT_CAP + 1], output_field=IntegerField())
        visible = images.filter(format__in=RENDERABLE, protected=False).order_by("id").values("pk")
        previews = {f"preview_{number}": Subquery(visible[number : number + 1]) for number in range(PREVIEWS_PER_ROW)}
        rows: QuerySet = super().get_queryset(request).annotate(count=count, restorable=RESTORABLE, **previews)
        return rows

    def object_actions(self, tombstone: Any) -> Sequence[str]:
        return ("restore",) if tombstone.count and tombstone.restorable else ()

    def row_label(self, tombstone: Any) -> str:
        count = f"{count_label(tombstone)} image{pluralize(tombstone.count)}"
        when = f"{tombstone.deleted_at:%Y-%m-%d %H:%M}"
        return f"{count} of {tombstone.organization}, deleted {when} ({tombstone.get_reason_display().lower()})"

    @row_action(
        "Restore all",
        permission=Permission.IMAGES_WRITE,
        help_text="Images whose hash is in use again stay in the trash; the active images take over metadata that they "
        "lack.",
    )
    def restore(self, tombstone: Tombstone, actor: Actor) -> str:
        job = queue.run_or_enqueue(jobs.start_restore(tombstone.organization, tombstone.pk, actor=actor))
        url = reverse("admin:organizations_job_change", args=[job.pk])
        restored = job.counts.get(Outcome.RESTORED, 0)
        text = "Restore started" if job.unfinished else f"{restored} image{pluralize(restored)} restored"
        return format_html('{}. <a href="{}">View job</a>', text, url)

    @error_page
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The images of one deletion, paged by id."""
        tombstone = self.get_object(request, object_id)
        if tombstone is None:
            raise NotFound("Deletion not found.")
        if "_restore" in request.POST:
            return super().change_view(request, object_id, form_url, extra_context)
        form = DeletePermanentlyForm(request.POST if "expire" in request.POST else None, tombstone=tombstone)
        error = ""
        if form.is_bound:
            try:
                return self._expire(request, tombstone, form)
            except DomainError as refusal:
                error = refusal.message
        after = request.GET.get("after", "")
        images = tombstone.images.filter(id__gt=int(after) if after.isdecimal() and len(after) < 19 else 0)
        items = list(images.select_related("organization", "file", "tombstone").order_by("id")[: PER_PAGE + 1])
        context = self.admin_site.each_context(request) | {
            "title": f"Deleted {tombstone.deleted_at:%Y-%m-%d %H:%M}",
            "tombstone": tombstone,
            "deleted_by": self.user_name(tombstone),
            "count": count_label(tombstone),
            "images": items[:PER_PAGE],
            "after": items[PER_PAGE - 1].pk if len(items) > PER_PAGE else None,
            "before": after,
            "restorable": bool(self.object_actions(tombstone))
            and self.has_action_permission(request, "restore", tombstone),
            "form": form,
            "error": error,
        }
        status = 400 if error else 200
        return TemplateResponse(request, "admin/sourceimages/deletion.html", context, status=status)

    def _expire(self, request: HttpRequest, tombstone: Tombstone, form: DeletePermanentlyForm) -> HttpResponse:
        """Expire the deletion now. Raises Forbidden unless the user is a superuser, InvalidInput for a wrong name."""
        if not staff_of(request).superuser:
            raise Forbidden("Only superusers can delete permanently before a deletion expires.")
        if not form.is_valid():
            raise InvalidInput(str(form.errors["name"][0]))
        expire_tombstone(tombstone, actor=actor_of(request))
        queue.enqueue_purge()
        messages.success(request, "Scheduled for permanent deletion (within an hour).")
        return HttpResponseRedirect(reverse("admin:sourceimages_tombstone_changelist"))

    @admin.display(description="deleted", ordering="deleted_at")
    def deleted(self, tombstone: Tombstone) -> str:
        return f"{tombstone.deleted_at:%Y-%m-%d %H:%M}"

    @admin.display(description="")
    def preview(self, tombstone: Any) -> str:
        ids = filter(None, (getattr(tombstone, f"preview_{number}") for number in range(PREVIEWS_PER_ROW)))
        urls = ((reverse("admin:sourceimages_preview", args=[pk, "small"]),) for pk in ids)
        looks = format_html_join("", '<img class="look" src="{}" alt="" loading="lazy">', urls)
        return format_html('<span class="looks">{}</span>', looks)

    @admin.display(description="expires", ordering="expires_at")
    def expires_in(self, tombstone: Tombstone) -> str:
        label = "label expiring" if is_expiring(tombstone) else "label"
        return format_html('<span class="{}">{}</span>', label, days_left(tombstone))

    @admin.display
    def images(self, tombstone: Tombstone) -> str:
        return count_label(tombstone)


def count_label(tombstone: Any) -> str:
    """The number of images of the deletion as text: exact up to COUNT_CAP."""
    return f"more than {COUNT_CAP}" if tombstone.count > COUNT_CAP else str(tombstone.count)
