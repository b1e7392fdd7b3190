"""Bulk actions in the admin: users select images, confirm, and a job processes them."""

from collections.abc import Set
from contextlib import suppress
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat, pluralize
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from organizations.admin.base import Confirmation, ReadOnlyAdmin, error_response
from organizations.auth.staff import actor_of, staff_of
from organizations.models import Job, Organization
from organizations.permissions import Permission
from rokka.core.errors import DomainError, InvalidInput
from sourceimages import jobs, queue
from sourceimages.admin.job_details import failures
from sourceimages.errors import ImageNotFound, SelectionChanged
from sourceimages.jobs.bulk_actions import BULK_ACTIONS, BulkAction, BulkActionForm
from sourceimages.jobs.selection import Selection, Summary
from sourceimages.templatetags.sourceimages_admin import humanize_query

PREVIEW_LIMIT = 12  # images on the confirmation page
MAX_ID_DIGITS = 18


class IdsField(forms.Field):
    """A list of image ids, one hidden input each."""

    widget = forms.MultipleHiddenInput

    def clean(self, value: Any) -> tuple[int, ...]:
        ids = [str(image_id) for image_id in value or ()]
        if not all(text.isascii() and text.isdecimal() and len(text) <= MAX_ID_DIGITS for text in ids):
            raise ValidationError("Invalid image IDs.")
        return tuple(map(int, ids))


class SelectionForm(forms.Form):
    """A bulk action and its images, as submitted by the list, by the page of an image and by that of a deletion."""

    kind = forms.ChoiceField(
        choices=[(name, action.label) for name, action in BULK_ACTIONS.items()],
        error_messages=dict.fromkeys(("required", "invalid_choice"), "Choose a bulk action."),
    )
    organization = forms.CharField(required=False)
    in_trash = forms.CharField(required=False)  # "yes"
    ids = IdsField(required=False)
    all = forms.CharField(required=False)  # "yes": all results of `search` instead of `ids`
    search = forms.CharField(required=False, strip=False)
    fingerprint = forms.CharField(required=False)  # of the images that the confirmation page showed
    back = forms.CharField(required=False, strip=False)  # the page to return to, see `next_url`
    confirmed = forms.CharField(required=False)

    def check(self) -> None:
        """Raises InvalidInput with the first error of the form."""
        if not self.is_valid():
            raise InvalidInput(str(next(iter(self.errors.values()))[0]))

    @property
    def action(self) -> BulkAction:
        return BULK_ACTIONS[self.cleaned_data["kind"]]

    def selection(self, organization: Organization) -> Selection:
        """Return the selection. Raises InvalidInput if it is empty, or if the action is for images in another state."""
        fields = self.cleaned_data
        in_trash = fields["in_trash"] == "yes"
        if in_trash != self.action.scope.value:
            state = "images in the trash" if in_trash else "active images"
            raise InvalidInput(f'"{self.action.label}" is not available for {state}.')
        if fields["all"] == "yes":
            return Selection(organization, in_trash=in_trash, search=fields["search"])
        if not fields["ids"]:
            raise InvalidInput("Select at least one image.")
        return Selection(organization, in_trash=in_trash, ids=fields["ids"])

    def check_unchanged(self, selection: Selection) -> None:
        """Raises SelectionChanged if the search finds other images than those that the user confirmed."""
        if (expected := self.expected(selection)) is None:
            return
        summary = selection.summary()
        if summary.fingerprint != expected:
            raise SelectionChanged(summary.count)

    def expected(self, selection: Selection) -> str | None:
        """The fingerprint of the confirmed images; None for selected ids, which don't change."""
        return None if selection.ids is not None else self.cleaned_data["fingerprint"]

    def hidden(self, selection: Selection, summary: Summary) -> list[tuple[str, str]]:
        """The hidden fields of the confirmation page, as name and value."""
        fields = [(name, self.cleaned_data[name]) for name in ("kind", "organization", "in_trash", "back")]
        if selection.ids is not None:
            return fields + [("ids", str(image_id)) for image_id in selection.ids]
        return [*fields, ("all", "yes"), ("search", selection.search), ("fingerprint", summary.fingerprint)]


class BulkActionMixin(ReadOnlyAdmin):
    """Adds the page that confirms and starts bulk actions."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.bulk_action_view)
        return [path("bulk-action/", view, name="sourceimages_bulk_action"), *super().get_urls()]

    def bulk_action_view(self, request: HttpRequest) -> HttpResponseBase:
        """Show the confirmation page; once confirmed, run the action or start its job."""
        sent = SelectionForm(request.POST)
        try:
            return self._bulk_action(request, sent)
        except DomainError as error:
            return error_response(self, request, error, back_url=next_url(request.POST.get("back", "")))

    def _bulk_action(self, request: HttpRequest, sent: SelectionForm) -> HttpResponseBase:
        staff = staff_of(request)
        sent.check()
        action = sent.action
        organization = staff.organization(sent.cleaned_data["organization"], action.permission)
        staff.check(organization, Permission.IMAGES_READ)
        selection = sent.selection(organization)
        action.check_permission(staff, selection)
        confirmed = bool(sent.cleaned_data["confirmed"])
        form = action.form_class(request.POST if confirmed else None, staff=staff, organization=organization)
        error = ""
        if confirmed:
            try:
                if form.is_valid():
                    return self._run(request, sent, selection, form)
                error = str(next(iter(form.errors.values()))[0])
            except DomainError as refusal:
                error = refusal.message
        return self._confirm(request, sent, selection, form, error)

    def _confirm(
        self, request: HttpRequest, sent: SelectionForm, selection: Selection, form: BulkActionForm, error: str
    ) -> HttpResponseBase:
        action, summary = sent.action, selection.summary()
        affected = summary.count - summary.locked if action.skips_locked else summary.count
        images = list(selection.images().select_related("file").order_by("-id")[:PREVIEW_LIMIT])
        return Confirmation(
            title=action.label,
            help_text=action.help_text,
            summary=summary_rows(action, selection, summary, affected),
            form=form,
            error=error,
            images=images,
            more=summary.count - len(images),
            hidden=sent.hidden(selection, summary),
            button=f"{action.label}: {affected} image{pluralize(affected)}",
            destructive=action.destructive,
            enabled=affected > 0,
            cancel_url=next_url(sent.cleaned_data["back"]),
            cancel_label=next_label(sent.cleaned_data["back"], selection.organization),
        ).response(self, request)

    def _run(
        self, request: HttpRequest, sent: SelectionForm, selection: Selection, form: BulkActionForm
    ) -> HttpResponseBase:
        action, params, back = sent.action, form.params(), sent.cleaned_data["back"]
        if not action.runs_as_job:
            sent.check_unchanged(selection)
            response = action.response(selection, staff_of(request))
            assert response is not None  # noqa: S101 (an action without a job has a response)
            return response
        if selection.ids is not None and len(selection.ids) == 1:
            return self._apply_to_one(request, action, selection, params, back)
        job = jobs.start_bulk_action(
            action.name, selection, expected=sent.expected(selection), actor=actor_of(request), **params
        )
        job = queue.run_or_enqueue(job)
        job_url = reverse("admin:organizations_job_change", args=[job.pk])
        if job.unfinished or (job.total or 0) > queue.INLINE_LIMIT:
            return HttpResponseRedirect(job_url)
        counts = ", ".join(f"{count:,} {label}" for label, count in jobs.outcome_counts(job))
        level = messages.SUCCESS if job.state == Job.State.SUCCEEDED else messages.WARNING
        outcome = ". ".join(filter(None, [counts or "0 images changed", job.error.rstrip(".")]))
        text = '{}: {}. <a href="{}">View job</a>'
        messages.add_message(request, level, format_html(text, action.label, outcome, job_url))
        for failure in failures(job)[:3]:
            messages.warning(request, f"{failure['name'] or failure['hash'][:12]}: {failure['message']}")
        return HttpResponseRedirect(next_url(back))

    def _apply_to_one(
        self, request: HttpRequest, action: BulkAction, selection: Selection, params: dict[str, Any], back: str
    ) -> HttpResponseBase:
        """Process a single image immediately, without a job. Raises the DomainError of the operation."""
        image = selection.images().select_related("organization", "file").first()
        if image is None:
            raise ImageNotFound("The image no longer exists.")
        message, changed = action.apply_to_one(image, params, actor_of(request))
        messages.success(request, f"{image}: {message}.")
        if changed != image and back == str(image.pk):
            return HttpResponseRedirect(change_url(changed.pk))
        return HttpResponseRedirect(next_url(back))


def summary_rows(
    action: BulkAction, selection: Selection, summary: Summary, affected: int
) -> list[tuple[str, str | SafeString]]:
    """The summary of the selection on the confirmation page, as label and text."""
    selected = f"{summary.count} image{pluralize(summary.count)}, {filesizeformat(summary.bytes)}"
    if selection.ids is None:
        query = humanize_query(selection.search)
        selected = format_html("{} (query: <code>{}</code>)", selected, query) if query else f"{selected} (all images)"
    rows: list[tuple[str, str | SafeString]] = [("Organization", selection.organization.name), ("Selected", selected)]
    if summary.locked:
        skipped = " will be skipped" if action.skips_locked else ""
        rows.append(("Locked", format_html('<span class="label locked">{} locked</span>{}', summary.locked, skipped)))
    if summary.protected:
        rows.append(("Protected", format_html('<span class="label protected">{} protected</span>', summary.protected)))
    if action.skips_locked and summary.locked:
        rows.append(("Affected", f"{affected} image{pluralize(affected)}"))
    return rows


def available_actions(granted: Set[Permission], *, in_trash: bool) -> list[BulkAction]:
    """The bulk actions that these permissions allow, for active images or for images in the trash."""
    return [
        action for action in BULK_ACTIONS.values() if action.scope.value == in_trash and action.permission in granted
    ]


def change_url(pk: int | str) -> str:
    """The URL of the page of an image."""
    return reverse("admin:sourceimages_sourceimage_change", args=[pk])


def next_url(back: str) -> str:
    """The URL to return to: an image, a deletion, or the list with its parameters; never another site."""
    if back.isascii() and back.isdecimal() and len(back) <= MAX_ID_DIGITS:
        return change_url(back)
    if back.startswith("trash:"):
        with suppress(ValueError):
            return reverse("admin:sourceimages_tombstone_change", args=[UUID(back.removeprefix("trash:"))])
    url = reverse("admin:sourceimages_sourceimage_changelist")
    return f"{url}{back}" if back.startswith("?") else url


def next_label(back: str, organization: Organization) -> str:
    """The text of a link to `next_url`."""
    if back.startswith("trash:"):
        return "Deletion"
    return "Image" if back.isdecimal() else f"Images of {organization.display_name}"
