"""What staff do to many pictures at once: they see what will happen, confirm it once, and a job does it."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html

from organizations.admin.base import ReadOnlyAdmin, error_page
from organizations.audit import Actor
from organizations.auth.staff import StaffAccess, actor_of, staff_of
from organizations.models import Job, Organization
from organizations.permissions import Permission
from rokka.core.errors import DomainError, InvalidInput
from sourceimages import jobs, metadata, tasks
from sourceimages.downloads import zip_archive
from sourceimages.errors import ImageNotFound, SelectionChanged
from sourceimages.jobs import bulk_actions
from sourceimages.jobs.selection import Selection
from sourceimages.metadata.user import USER_TYPES
from sourceimages.models import SourceImage, Tombstone
from sourceimages.operations import copy_image, delete_image, set_protected

ZIP = "archive"
ITERATOR_CHUNK = 500  # rows read at a time
PREVIEW_LIMIT = 12  # pictures on the page that asks
SCOPE_ACTIVE, SCOPE_TRASH = (False,), (True,)  # whether what is chosen may lie in the trash


def copy_arguments(fields: Mapping[str, str], staff: StaffAccess, organization: Organization) -> dict[str, Any]:
    if not fields.get("destination"):
        raise InvalidInput("Choose the organization to copy to.")
    destination = staff.destination(fields["destination"])
    return {"destination": destination, "overwrite": bool(fields.get("overwrite"))}


def metadata_arguments(fields: Mapping[str, str], staff: StaffAccess, organization: Organization) -> dict[str, Any]:
    """One field of user metadata, set or removed. Raises InvalidMetadata."""
    name, kind = fields.get("name", "").strip(), fields.get("type", "str")
    value = None if fields.get("remove") else parse_form_value(kind, fields.get("value", ""))
    return {"changes": metadata.user_metadata({f"{kind}:{name}": value})}


def parse_form_value(kind: str, text: str) -> Any:
    """What a form sends for a field of this type; arrays come a line each."""
    if kind.startswith("array"):
        return [line.strip() for line in text.splitlines() if line.strip()]
    return text.replace("\r\n", "\n")


def no_params(fields: Mapping[str, str], staff: StaffAccess, organization: Organization) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class BulkActionView:
    """Something that can be done to many pictures. `params` reads what else its form asks for."""

    label: str
    permission: Permission
    help_text: str
    scopes: tuple[bool, ...] = SCOPE_ACTIVE
    skips_locked: bool = False
    destructive: bool = False
    params: Callable[[Mapping[str, str], StaffAccess, Organization], dict[str, Any]] = no_params
    form: str = ""  # template of what it asks for


BULK_ACTION_VIEWS = {
    "lock": BulkActionView("Lock", Permission.IMAGES_UNLOCK, "What is locked can be neither deleted nor changed."),
    "unlock": BulkActionView("Unlock", Permission.IMAGES_UNLOCK, "What is unlocked can be deleted and changed again."),
    "protect": BulkActionView(
        "Protect",
        Permission.IMAGES_WRITE,
        "Originals of protected pictures are for those only whose role says so. Each gets another hash; the one it has "
        "now goes to the trash.",
        skips_locked=True,
    ),
    "unprotect": BulkActionView(
        "Lift protection",
        Permission.IMAGES_WRITE,
        "Everybody with a key to read may download the originals again. Each gets another hash; the one it has now "
        "goes to the trash.",
        skips_locked=True,
    ),
    "set_metadata": BulkActionView(
        "Set a metadata field",
        Permission.IMAGES_WRITE,
        "The field is set, or removed, on each of the pictures. Their other fields stay as they are.",
        skips_locked=True,
        params=metadata_arguments,
        form="admin/sourceimages/bulk_action_metadata.html",
    ),
    "copy": BulkActionView(
        "Copy to an organization",
        Permission.IMAGES_COPY_FROM,
        "The copies are pictures of their own with the same hashes. The originals stay where they are.",
        params=copy_arguments,
        form="admin/sourceimages/bulk_action_copy.html",
    ),
    ZIP: BulkActionView(
        "Download as ZIP", Permission.IMAGES_READ, "One archive with the originals, made while it is sent."
    ),
    "delete": BulkActionView(
        "Move to the trash",
        Permission.IMAGES_WRITE,
        "All of them are one act in the trash, which can be undone as a whole or in parts until it expires.",
        skips_locked=True,
        destructive=True,
    ),
    "restore": BulkActionView(
        "Restore",
        Permission.IMAGES_WRITE,
        "What comes back is as it was. An image whose hash is in use again stays, and is merged into the active one.",
        scopes=SCOPE_TRASH,
    ),
}


class BulkActionMixin(ReadOnlyAdmin):
    """Mixin: acts on a selection."""

    def get_urls(self) -> list[Any]:
        return [
            path("act/", self.admin_site.admin_view(self.bulk_action_view), name="sourceimages_act"),
            *super().get_urls(),
        ]

    @error_page
    def bulk_action_view(self, request: HttpRequest) -> HttpResponseBase:
        """First what is going to happen; once that is confirmed, it happens."""
        staff, sent = staff_of(request), request.POST
        kind = str(sent.get("kind", ""))
        if request.method != "POST" or kind not in BULK_ACTION_VIEWS:
            raise InvalidInput("Choose what is to be done in the list of pictures.")
        act = BULK_ACTION_VIEWS[kind]
        organization = staff.organization(str(sent.get("organization", "")), act.permission)
        staff.check(organization, Permission.IMAGES_READ)
        selection = selection_from_request(organization, sent)
        if selection.in_trash not in act.scopes:
            raise InvalidInput(
                f"{act.label}: not for pictures that are {'in the trash' if selection.in_trash else 'living'}."
            )
        if kind == "delete" and selection.is_unfiltered:
            staff.check(organization, Permission.IMAGES_DELETE_ALL)  # as for the job of the API
        error = ""
        if "confirmed" in sent:
            try:
                params = act.params(sent.dict(), staff, organization)
                if selection.ids is not None and len(selection.ids) == 1 and kind != ZIP:
                    return self._apply_to_one(request, kind, selection, params)
                return self._start_job(request, kind, selection, params, expected=expected_fingerprint(selection, sent))
            except DomainError as refusal:
                error = refusal.message
        return self._confirm(request, kind, selection, error)

    def _confirm(self, request: HttpRequest, kind: str, selection: Selection, error: str) -> HttpResponseBase:
        act, summary, staff = BULK_ACTION_VIEWS[kind], selection.summary(), staff_of(request)
        destinations = staff.destinations().exclude(pk=selection.organization.pk)
        images = list(selection.images().select_related("file").order_by("-id")[:PREVIEW_LIMIT])
        context = self.admin_site.each_context(request) | {
            "title": act.label,
            "kind": kind,
            "act": act,
            "selection": selection,
            "summary": summary,
            "affected": summary.count - summary.locked if act.skips_locked else summary.count,
            "images": images,
            "more": summary.count - len(images),
            "sent": request.POST,
            "error": error,
            "destinations": destinations.order_by("name") if kind == "copy" else (),
            "types": list(USER_TYPES),
            "back": next_url(request.POST),
        }
        return TemplateResponse(request, "admin/sourceimages/bulk_action.html", context, status=400 if error else 200)

    def _start_job(
        self, request: HttpRequest, kind: str, selection: Selection, params: dict[str, Any], expected: str | None
    ) -> HttpResponseBase:
        if kind == ZIP:
            return self._archive(request, selection, expected)
        job = jobs.start_bulk_action(kind, selection, expected=expected, actor=actor_of(request), **params)
        job = tasks.run_or_enqueue(job)
        address = reverse("admin:organizations_job_change", args=[job.pk])
        if job.unfinished or (job.total or 0) > tasks.INLINE_LIMIT:
            return HttpResponseRedirect(address)
        report = ", ".join(f"{count:,} {name}" for name, count in sorted(job.counts.items())) or "nothing to do"
        level = messages.SUCCESS if job.state == Job.State.SUCCEEDED else messages.WARNING
        said = format_html(
            '{}: {}. {} <a href="{}">The whole report</a>', BULK_ACTION_VIEWS[kind].label, report, job.error, address
        )
        messages.add_message(request, level, said)
        for failure in job.errors[:3]:
            messages.warning(request, failure["message"])
        return HttpResponseRedirect(next_url(request.POST))

    def _apply_to_one(
        self, request: HttpRequest, kind: str, selection: Selection, params: dict[str, Any]
    ) -> HttpResponseBase:
        """At once, without a job. A refusal says why."""
        image = selection.images().select_related("organization", "file").first()
        if image is None:
            raise ImageNotFound("This picture is not there any more.")
        actor = actor_of(request)
        became, after = apply_to_one(kind, image, params, actor)
        messages.success(request, f"{image}: {became}.")
        address = next_url(request.POST)
        if after != image and request.POST.get("back") == str(image.pk):
            address = change_url(after.pk)
        return HttpResponseRedirect(address)

    def _archive(self, request: HttpRequest, selection: Selection, expected: str | None) -> HttpResponseBase:
        if expected is not None and expected != (now := selection.summary()).fingerprint:
            raise SelectionChanged(now.count)
        images = selection.images().select_related("file")
        protected = staff_of(request).has_permission(Permission.PROTECTED_ORIGINALS_DOWNLOAD, selection.organization)
        return zip_archive.zip_response(
            selection.organization, images.order_by("id").iterator(ITERATOR_CHUNK), protected=protected
        )


def expected_fingerprint(selection: Selection, sent: QueryDict) -> str | None:
    """What the page showed that a search finds; ids that somebody ticked are what they are."""
    return None if selection.ids is not None else str(sent.get("shown", ""))


def selection_from_request(organization: Organization, sent: QueryDict) -> Selection:
    """What was ticked, or everything that the list would show. Raises Invalid."""
    in_trash = sent.get("in_trash") == "yes"
    if sent.get("all") == "yes":
        return Selection(organization, in_trash=in_trash, search=str(sent.get("search", "")))
    ids = [str(one) for one in sent.getlist("ids")]
    if not ids:
        raise InvalidInput("No picture is ticked. Tick some in the list, or choose all that match.")
    if not all(one.isascii() and one.isdecimal() and len(one) < 19 for one in ids):
        raise InvalidInput("ids: these are not numbers of pictures.")
    return Selection(organization, in_trash=in_trash, ids=tuple(map(int, ids)))


def apply_to_one(kind: str, image: SourceImage, params: dict[str, Any], actor: Actor) -> tuple[str, SourceImage]:
    """Do it to this picture: what became of it, and the picture that it is now."""
    match kind:
        case "delete":
            delete_image(image, reason=Tombstone.Reason.ADMIN, actor=actor)
            return "in the trash", image
        case "copy":
            copy_image(image, params["destination"], overwrite=params["overwrite"], actor=actor)
            return f"copied to {params['destination']}", image
        case "protect" | "unprotect":
            derived = set_protected(image, kind == "protect", delete_previous=True, actor=actor)
            return f"{kind}ed" if derived.changed else "as it was", derived.image
    return bulk_actions.apply_to_one(kind, image, params, actor), image


def change_url(pk: int | str) -> str:
    return reverse("admin:sourceimages_sourceimage_change", args=[pk])


def next_url(sent: QueryDict) -> str:
    """Where the question came from: a picture, or a list of them with its parameters, and nowhere else."""
    query = str(sent.get("back", ""))
    if query.isascii() and query.isdecimal() and len(query) < 19:
        return change_url(query)
    if query.startswith("trash:"):
        with suppress(ValueError):
            return reverse("admin:sourceimages_tombstone_change", args=[UUID(query.removeprefix("trash:"))])
    address = reverse("admin:sourceimages_sourceimage_changelist")
    return f"{address}{query}" if query.startswith("?") else address
