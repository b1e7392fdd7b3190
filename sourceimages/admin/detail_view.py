"""The page of one picture: what is known of it, and what may be changed about it."""

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path

from organizations.admin.base import ReadOnlyAdmin, error_page
from organizations.auth.staff import actor_of, staff_of
from organizations.models import AuditEvent
from organizations.permissions import Permission
from rokka.core.errors import Conflict, DomainError, InvalidInput, NotFound
from sourceimages import metadata, thumbnails
from sourceimages.admin.bulk_actions import available_actions, change_url
from sourceimages.admin.list_view import can_view
from sourceimages.downloads import original
from sourceimages.downloads.access import can_download_original, check_original
from sourceimages.errors import ImageNotFound, VersionNotFound
from sourceimages.metadata.user import USER_TYPES, parse_form_value
from sourceimages.models import ImageVersion, SourceImage
from sourceimages.operations import (
    change_dynamic_metadata,
    rename_image,
    replace_user_metadata,
    restore_version,
    update_in_place,
)
from sourceimages.operations.aliases import delete_alias, set_alias

EVENT_LIMIT = 50
VERSION_LIMIT = 50
RELATED_LIMIT = 50  # pictures of the same bytes
AREAS = {"subject_area": "Subject area", "crop_area": "Crop area"}
AREA_FIELDS = ("x", "y", "width", "height")
SAVE_MODES = {
    "beside": "as another picture with its own hash, beside this one",
    "instead": "as another picture with its own hash; this one goes to the trash",
    "keep": "on this picture, which keeps its hash; what is cached of it may stay as it was",
}


class DetailMixin(ReadOnlyAdmin):
    """Mixin: the page of one picture."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        own = [path("<int:pk>/download/", view(self.download), name="sourceimages_download")]
        return [*own, *super().get_urls()]

    def image(self, request: HttpRequest, key: str | int) -> SourceImage:
        """Raises ImageNotFound, also for those of other organizations."""
        images = self.get_queryset(request).select_related("organization", "file", "tombstone", "tombstone__deleted_by")
        image: SourceImage | None = (
            images.filter(pk=key).first() if str(key).isdecimal() and len(str(key)) < 19 else None
        )
        if image is None:
            raise ImageNotFound("There is no such picture, or it belongs to an organization that you cannot see.")
        return image

    @error_page
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        image = self.image(request, object_id)
        problem = ("", "")
        if request.method == "POST":
            do = str(request.POST.get("do", ""))
            if do not in FORM_HANDLERS:
                raise InvalidInput("There is no such change.")
            staff_of(request).check(image.organization, Permission.IMAGES_WRITE)
            try:
                after = FORM_HANDLERS[do](self, request, image)
                return HttpResponseRedirect(f"{change_url(after.pk)}#{do}")
            except DomainError as error:
                problem = (do, error.message)
                image = self.image(request, object_id)
        context = self.admin_site.each_context(request) | self._context(request, image) | {"problem": problem}
        status = 400 if problem[0] else 200
        return TemplateResponse(request, "admin/sourceimages/source_image.html", context, status=status)

    def _context(self, request: HttpRequest, image: SourceImage) -> dict[str, Any]:
        staff, organization = staff_of(request), image.organization
        granted = staff.granted(organization.pk)
        events = AuditEvent.objects.filter(organization=organization, target=image.hash).select_related("user")
        others = image.file.images.exclude(pk=image.pk)  # an organization keeps bytes once
        areas, sent = area_rows(image), request.POST
        numbers = [(side, sent.get(side, areas[0][side])) for side in AREA_FIELDS]
        typing = submitted_rows(request) if request.POST.get("do") == "metadata" else None
        return {
            "title": image.name,
            "image": image,
            "downloadable": can_download_original(image, granted),
            "visible": can_view(staff, image) and image.file.format in thumbnails.SUPPORTED_FORMATS,
            "may": {permission.name: permission in granted for permission in Permission},
            "writable": Permission.IMAGES_WRITE in granted and not image.deleted and not image.locked,
            "acts": [
                (action.name, action.label, action.destructive)
                for action in available_actions(granted, in_trash=image.deleted)
                if action.is_applicable(image)
            ],
            "fields": typing or metadata_rows(image),
            "version": request.POST.get("version") if typing else metadata_etag(image),
            "types": list(USER_TYPES),
            "areas": areas,
            "numbers": numbers,
            "how": SAVE_MODES,
            "other_entries": {
                name: json.dumps(value, indent=2, ensure_ascii=False)
                for name, value in image.dynamic_metadata.items()
                if name not in AREAS
            },
            "static": image.file.static_metadata,
            "colours": image.file.static_metadata.get("color", {}).get("dominant", []),
            "others": list(others.select_related("tombstone", "file").order_by("-id")[:RELATED_LIMIT]),
            "aliases": list(organization.aliases.filter(hash=image.hash).order_by("alias")),
            "versions": [
                (version, [(name, form_text(value)) for name, value in sorted(version.before.items())])
                for version in ImageVersion.objects.filter(image_id=image.pk)
                .select_related("user")
                .order_by("-id")[:VERSION_LIMIT]
            ],
            "events": list(events.order_by("-created", "-id")[:EVENT_LIMIT]),
            "links": {
                "API": request.build_absolute_uri(f"/sourceimages/{organization.name}/{image.hash}"),
                "Original, through the API": request.build_absolute_uri(
                    f"/sourceimages/{organization.name}/{image.hash}/download"
                ),
            },
        }

    @error_page
    def download(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """The original, as an attachment, under the conditions of the API."""
        image, staff = self.image(request, pk), staff_of(request)
        check_original(image, staff.granted(image.organization_id))
        return original.original_response(request, image)

    # --- Changes: each answers the picture to go on with --------------------------------------------------------------

    def rename(self, request: HttpRequest, image: SourceImage) -> SourceImage:
        rename_image(image, str(request.POST.get("name", "")), actor=actor_of(request))
        messages.success(request, "It has another name.")
        return image

    def set_fields(self, request: HttpRequest, image: SourceImage) -> SourceImage:
        """All fields as the form has them; those without a name are none."""
        if request.POST.get("version") != metadata_etag(image):
            raise Conflict("Somebody else has changed the metadata since this page was shown. Load it again first.")
        sent: dict[str, Any] = {}
        for name, kind, value in submitted_rows(request):
            if not name:
                continue
            if any(metadata.field_name(key) == name for key in sent):
                raise InvalidInput(f"The field {name[:80]!r} is there twice.")
            sent[f"{kind}:{name}"] = parse_form_value(kind, value)
        replace_user_metadata(image, metadata.user_metadata(sent), actor=actor_of(request))
        messages.success(request, "The metadata is saved.")
        return image

    def set_area(self, request: HttpRequest, image: SourceImage) -> SourceImage:
        sent = request.POST
        name, how = str(sent.get("area", "")), str(sent.get("how", "beside"))
        if name not in AREAS or how not in SAVE_MODES:
            raise InvalidInput("There is no such area, or no such way to keep it.")
        changes: dict[str, Any] = {name: None}
        if not sent.get("remove"):
            numbers = {side: str(sent.get(side, "")) for side in AREA_FIELDS}
            changes = dict([metadata.dynamic_entry(name, numbers)])
            metadata.check_bounds(changes, image.width, image.height)
        actor = actor_of(request)
        if how == "keep":
            update_in_place(image, changes, actor=actor)
            messages.success(request, f"{AREAS[name]}: saved.")
            return image
        derived = change_dynamic_metadata(image, changes, delete_previous=how == "instead", actor=actor)
        messages.success(request, f"{AREAS[name]}: saved. This is the picture {derived.image.short_hash}.")
        return derived.image

    def add_alias(self, request: HttpRequest, image: SourceImage) -> SourceImage:
        sent = request.POST
        set_alias(image, str(sent.get("alias", "")), overwrite=bool(sent.get("overwrite")), actor=actor_of(request))
        messages.success(request, "The alias means this picture now.")
        return image

    def remove_alias(self, request: HttpRequest, image: SourceImage) -> SourceImage:
        name = str(request.POST.get("alias", ""))
        if not image.organization.aliases.filter(alias=name, hash=image.hash).exists():
            raise NotFound(f"This picture has no alias {name[:80]!r} any more.")
        delete_alias(image.organization, name, actor=actor_of(request))
        messages.success(request, "The alias is gone, the picture stays.")
        return image

    def restore_version(self, request: HttpRequest, image: SourceImage) -> SourceImage:
        key = str(request.POST.get("of", ""))
        if not (key.isascii() and key.isdecimal() and len(key) < 19):
            raise VersionNotFound(f"Image {image.short_hash} has no version {key[:80]!r} in its history.")
        restore_version(image, int(key), actor=actor_of(request))
        messages.success(request, "The version is restored. This is in the history too, and can be undone there.")
        return image


FORM_HANDLERS: dict[str, Callable[[DetailMixin, HttpRequest, SourceImage], SourceImage]] = {
    "name": DetailMixin.rename,
    "metadata": DetailMixin.set_fields,
    "area": DetailMixin.set_area,
    "alias": DetailMixin.add_alias,
    "no-alias": DetailMixin.remove_alias,
    "history": DetailMixin.restore_version,
}


def form_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def metadata_rows(image: SourceImage) -> list[tuple[str, str, str]]:
    """Name, type and text of each field of user metadata, for a form."""
    found = []
    for key, value in sorted(image.user_metadata.items(), key=lambda item: metadata.field_name(item[0])):
        kind, _, name = key.rpartition(":")
        found.append((name, kind or "str", "\n".join(value) if isinstance(value, list) else str(value)))
    return found


def submitted_rows(request: HttpRequest) -> list[tuple[str, str, str]]:
    """What was sent of such a form."""
    sent = [[str(one) for one in request.POST.getlist(name)] for name in ("field", "type", "value")]
    if len({len(column) for column in sent}) > 1:
        raise InvalidInput("The form is not whole.")
    return [(name.strip(), kind, value) for name, kind, value in zip(*sent, strict=True)]


def metadata_etag(image: SourceImage) -> str:
    """Another one for every other content of the user metadata."""
    return sha256(json.dumps(image.user_metadata, sort_keys=True).encode()).hexdigest()[:16]


def area_rows(image: SourceImage) -> list[dict[str, Any]]:
    """Each area in pixels, for drawing; without numbers where there is none."""
    found = []
    for name, label in AREAS.items():
        area = dict(image.dynamic_metadata.get(name) or {})
        if area.pop("percentage", False):
            for side, whole in (
                ("x", image.width),
                ("width", image.width),
                ("y", image.height),
                ("height", image.height),
            ):
                area[side] = round(area[side] * whole / 100)
        found.append({"name": name, "label": label, **(area or dict.fromkeys(AREA_FIELDS, ""))})
    return found
