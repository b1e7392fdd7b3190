"""Renders on the page of an image: seen with a stack, as a URL to copy or to sign, and purged."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest
from django.template.defaultfilters import pluralize

from organizations.admin.forms import EmptyForm
from organizations.auth.signed_urls import EXPIRY_ROUNDING_SECONDS, round_up, signed_url
from organizations.auth.signing_keys import newest_key, use_key
from organizations.auth.staff import StaffAccess, actor_of, staff_of
from organizations.permissions import Permission
from rendering.explain import explain
from rendering.grammar import DYNAMIC
from rendering.links import local_url, public_url
from rendering.models import IS_PREVIEW
from rendering.operations.cache import purge_image
from sourceimages.admin.detail_view import DetailMixin, FormData, ImageAction
from sourceimages.admin.list_view import can_view
from sourceimages.formats import RENDERABLE
from sourceimages.models import SourceImage

FORMATS = ("jpg", "png", "webp", "avif")
DEFAULT_OPERATIONS = "resize-width-800"  # of the dynamic stack
MAX_STACKS = 500  # in the list
EXPIRIES = {  # seconds, and how long that is
    3600: "1 hour",
    86_400: "1 day",
    7 * 86_400: "7 days",
    30 * 86_400: "30 days",
    365 * 86_400: "1 year",
    0: "never",
}
SHOWN_SECONDS = 300  # that the signature of the shown image is valid


class RenderForm(forms.Form):
    """Which render the page shows."""

    stack = forms.CharField(required=False)
    format = forms.ChoiceField(choices=[(name, name) for name in FORMATS], required=False)


class SignForm(RenderForm):
    seconds = forms.TypedChoiceField(choices=list(EXPIRIES.items()), coerce=int)


@dataclass(frozen=True, kw_only=True, slots=True)
class Render:
    """What the section of the page shows. `src` is empty if the user can't see the render."""

    stacks: list[str]
    stack: str
    format: str
    src: str
    url: str
    signed: str  # URL
    until: datetime | None
    needs_signature: bool
    has_key: bool
    can_sign: bool
    can_purge: bool
    seconds: int  # of the expiry that is selected
    formats: tuple[str, ...] = FORMATS
    expiries: tuple[tuple[int, str], ...] = tuple(EXPIRIES.items())


class RenderMixin(DetailMixin):
    """The section of renders on the page of an image."""

    @property
    def image_actions(self) -> Mapping[str, ImageAction]:
        return {
            **super().image_actions,
            "sign_url": ImageAction(SignForm, RenderMixin.sign_url, Permission.URLS_SIGN),
            "purge_renders": ImageAction(EmptyForm, RenderMixin.purge_renders),
        }

    def _context(self, request: HttpRequest, image: SourceImage) -> dict[str, Any]:
        shown = image.file.format in RENDERABLE and not image.deleted
        return super()._context(request, image) | {"render": render_of(request, image) if shown else None}

    def sign_url(self, request: HttpRequest, image: SourceImage, data: FormData) -> None:
        """Mark the key as used; the page is shown again, with the signed URL."""
        use_key(image.organization)

    def purge_renders(self, request: HttpRequest, image: SourceImage, data: FormData) -> SourceImage:
        removed = purge_image(image, actor=actor_of(request))
        messages.success(request, f"{removed} render{pluralize(removed)} purged.")
        return image


def render_of(request: HttpRequest, image: SourceImage) -> Render:
    """The render that the request selects; by default a resize."""
    staff, organization = staff_of(request), image.organization
    names = stack_names(staff, image)
    form = sign_form(request)
    fields = cleaned(form or RenderForm(request.GET))
    name = str(fields.get("stack") if fields.get("stack") in names else DYNAMIC)
    format = fields.get("format") or FORMATS[0]
    key = newest_key(organization)
    can_sign = staff.has_permission(Permission.URLS_SIGN, organization)
    part = f"/{DEFAULT_OPERATIONS}" if name == DYNAMIC else ""
    path = f"/{name}{part}/{image.short_hash}.{format}"
    needs_signature = bool(explain(request.build_absolute_uri(local_url(organization.name, path))).needs_signature)
    signed, until = "", None
    if form and key and can_sign:
        until = expiry(fields["seconds"]) if fields["seconds"] else None
        signed = signed_url(path, key.key, until=until)
    shown = path
    if needs_signature:
        shown = signed_url(path, key.key, until=expiry(SHOWN_SECONDS)) if key and can_sign else ""
    return Render(
        stacks=names,
        stack=name,
        format=format,
        src=local_url(organization.name, shown) if shown and can_view(staff, image) else "",
        url=public_url(request, organization.name, path),
        signed=public_url(request, organization.name, signed) if signed else "",
        until=until,
        needs_signature=needs_signature,
        has_key=key is not None,
        can_sign=can_sign,
        can_purge=staff.has_permission(Permission.IMAGES_WRITE, organization),
        seconds=fields.get("seconds", next(iter(EXPIRIES))),
    )


def sign_form(request: HttpRequest) -> SignForm | None:
    """The form for a signed URL, if it was submitted and is valid."""
    if request.POST.get("action") != "sign_url":
        return None
    form = SignForm(request.POST)
    return form if form.is_valid() else None


def cleaned(form: forms.Form) -> dict[str, Any]:
    """The valid fields of the form."""
    form.is_valid()
    fields: dict[str, Any] = form.cleaned_data
    return fields


def stack_names(staff: StaffAccess, image: SourceImage) -> list[str]:
    """The stacks to choose from: the dynamic one, and those of the organization if the user can see them."""
    if not staff.has_permission(Permission.STACKS_READ, image.organization_id):
        return [DYNAMIC]
    stacks = image.organization.stacks.exclude(IS_PREVIEW).order_by("name")
    return [DYNAMIC, *stacks.values_list("name", flat=True)[:MAX_STACKS]]


def expiry(seconds: int) -> datetime:
    return round_up(datetime.now(UTC) + timedelta(seconds=seconds), EXPIRY_ROUNDING_SECONDS)
