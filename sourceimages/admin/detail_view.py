"""The page of one image: its details, history and related images, and the forms that change it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path

from organizations.admin.base import ReadOnlyAdmin, error_page
from organizations.admin.forms import cleaned_data
from organizations.auth.staff import actor_of, known_user, staff_of
from organizations.models import AuditEvent
from organizations.permissions import Permission
from rokka.core.errors import Conflict, DomainError, InvalidInput, NotFound
from sourceimages import metadata
from sourceimages.admin.bulk_actions import available_actions, change_url
from sourceimages.admin.forms import (
    AREA_FIELDS,
    AREAS,
    SAVE_MODES,
    AddAliasForm,
    AliasForm,
    AreaForm,
    MetadataForm,
    NameForm,
    VersionForm,
    metadata_rows_of,
)
from sourceimages.admin.list_view import can_view
from sourceimages.downloads import original
from sourceimages.downloads.access import can_download_original, check_original
from sourceimages.errors import ImageNotFound
from sourceimages.formats import RENDERABLE
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
from sourceimages.templatetags.sourceimages_admin import as_text

EVENT_LIMIT = 50
VERSION_LIMIT = 50
RELATED_LIMIT = 50  # images from the same file


FormData = dict[str, Any]


class DetailMixin(ReadOnlyAdmin):
    """The page of one image, and the download of its original."""

    @property
    def image_actions(self) -> "Mapping[str, ImageAction]":
        """What can be submitted on the page, by name."""
        return ACTIONS

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        own = [path("<int:pk>/download/", view(self.download), name="sourceimages_download")]
        return [*own, *super().get_urls()]

    def image(self, request: HttpRequest, key: str | int) -> SourceImage:
        """Return the image. Raises ImageNotFound, also without permission to view its organization."""
        images = self.get_queryset(request).select_related("organization", "file", "tombstone", "tombstone__deleted_by")
        image: SourceImage | None = (
            images.filter(pk=key).first() if str(key).isdecimal() and len(str(key)) < 19 else None
        )
        if image is None:
            raise ImageNotFound("Image not found, or you don't have permission to view it.")
        return image

    @error_page
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        image = self.image(request, object_id)
        problem = ("", "")
        if request.method == "POST":
            name = str(request.POST.get("action", ""))
            action = self.image_actions.get(name)
            if action is None:
                raise InvalidInput("Invalid request: unknown action. Reload the page and try again.")
            staff_of(request).check(image.organization, action.permission)
            try:
                result = action.handler(self, request, image, cleaned_data(action.form, request.POST))
                if result is not None:
                    return HttpResponseRedirect(f"{change_url(result.pk)}#{name}")
            except DomainError as error:
                problem = (name, error.message)
                image = self.image(request, object_id)
        context = self.admin_site.each_context(request) | self._context(request, image) | {"problem": problem}
        status = 400 if problem[0] else 200
        return TemplateResponse(request, "admin/sourceimages/source_image.html", context, status=status)

    def _context(self, request: HttpRequest, image: SourceImage) -> dict[str, Any]:
        staff, organization = staff_of(request), image.organization
        granted = staff.granted(organization.pk)
        known = known_user(staff)
        events = AuditEvent.objects.filter(organization=organization, target=image.hash).select_related("user")
        versions = ImageVersion.objects.filter(image_id=image.pk).select_related("user")
        others = image.file.images.exclude(pk=image.pk)  # an organization stores each content once
        areas, data = area_rows(image), request.POST
        submitted = submitted_rows(request) if data.get("action") == "metadata" else None
        return {
            "title": image.name,
            "image": image,
            "downloadable": can_download_original(image, granted),
            "visible": can_view(staff, image) and image.file.format in RENDERABLE,
            "can_write": Permission.IMAGES_WRITE in granted,
            "writable": Permission.IMAGES_WRITE in granted and not image.deleted and not image.locked,
            "actions": [
                (action.name, action.label, action.destructive)
                for action in available_actions(granted, in_trash=image.deleted)
                if action.is_applicable(image)
            ],
            "fields": submitted or metadata_rows(image),
            "version": data.get("version") if submitted else metadata_etag(image),
            "types": list(USER_TYPES),
            "areas": areas,
            "area_values": [(side, data.get(side, areas[0][side])) for side in AREA_FIELDS],
            "save_modes": SAVE_MODES,
            "other_entries": {
                name: json.dumps(value, indent=2, ensure_ascii=False)
                for name, value in image.dynamic_metadata.items()
                if name not in AREAS
            },
            "static": image.file.static_metadata,
            "colors": image.file.static_metadata.get("color", {}).get("dominant", []),
            "others": list(others.select_related("tombstone", "file").order_by("-id")[:RELATED_LIMIT]),
            "aliases": list(organization.aliases.filter(hash=image.hash).order_by("alias")),
            "versions": [
                (version, [(name, as_text(value)) for name, value in sorted(version.before.items())])
                for version in versions.annotate(user_is_known=known).order_by("-id")[:VERSION_LIMIT]
            ],
            "events": list(events.annotate(user_is_known=known).order_by("-created", "-id")[:EVENT_LIMIT]),
            "deleted_by": image.tombstone and staff.user_name(image.tombstone.deleted_by, organization),
            "links": {
                "API": request.build_absolute_uri(f"/sourceimages/{organization.name}/{image.hash}"),
                "Original (API)": request.build_absolute_uri(
                    f"/sourceimages/{organization.name}/{image.hash}/download"
                ),
            },
        }

    @error_page
    def download(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Return the original file as an attachment. Permissions are those of the API."""
        image, staff = self.image(request, pk), staff_of(request)
        check_original(image, staff.granted(image.organization_id))
        return original.original_response(request, image)

    # --- Actions: see ImageAction ------------------------------------------------------------------------------------

    def rename(self, request: HttpRequest, image: SourceImage, data: FormData) -> SourceImage:
        rename_image(image, data["name"], actor=actor_of(request))
        messages.success(request, "Image renamed.")
        return image

    def set_fields(self, request: HttpRequest, image: SourceImage, data: FormData) -> SourceImage:
        """Replace all user metadata with the submitted fields, without those that have no name."""
        if data["version"] != metadata_etag(image):
            raise Conflict("The metadata was changed in the meantime. Reload and try again.")
        fields: dict[str, Any] = {}
        for name, kind, text in data["rows"]:
            if not name:
                continue
            if any(metadata.field_name(key) == name for key in fields):
                raise InvalidInput(f"Duplicate field {name[:80]!r}.")
            fields[f"{kind}:{name}"] = parse_form_value(kind, text)
        replace_user_metadata(image, metadata.user_metadata(fields), actor=actor_of(request))
        messages.success(request, "Metadata saved.")
        return image

    def set_area(self, request: HttpRequest, image: SourceImage, data: FormData) -> SourceImage:
        name, save_as, actor = data["area"], data["save_as"] or "new", actor_of(request)
        changes: dict[str, Any] = {name: None}
        if not data["remove"]:
            changes = dict([metadata.dynamic_entry(name, {side: data[side] for side in AREA_FIELDS})])
            metadata.check_bounds(changes, image.width, image.height)
        if save_as == "keep_hash":
            update_in_place(image, changes, actor=actor)
            messages.success(request, f"{AREAS[name]} saved.")
            return image
        derived = change_dynamic_metadata(image, changes, delete_previous=save_as == "replace", actor=actor)
        messages.success(request, f"{AREAS[name]} saved as new image {derived.image.short_hash}.")
        return derived.image

    def add_alias(self, request: HttpRequest, image: SourceImage, data: FormData) -> SourceImage:
        set_alias(image, data["alias"], overwrite=data["overwrite"], actor=actor_of(request))
        messages.success(request, "Alias added.")
        return image

    def remove_alias(self, request: HttpRequest, image: SourceImage, data: FormData) -> SourceImage:
        name = data["alias"]
        if not image.organization.aliases.filter(alias=name, hash=image.hash).exists():
            raise NotFound(f"This image has no alias {name[:80]!r}.")
        delete_alias(image.organization, name, actor=actor_of(request))
        messages.success(request, "Alias removed.")
        return image

    def restore_version(self, request: HttpRequest, image: SourceImage, data: FormData) -> SourceImage:
        restore_version(image, data["version_id"], actor=actor_of(request))
        messages.success(request, "Version restored. You can undo this in the history.")
        return image


@dataclass(frozen=True, slots=True)
class ImageAction:
    """Something a user can submit on the page: the form that reads it, and the method that does it.

    The method returns the image whose page to show next, or None to show this page again with what was submitted.
    """

    form: type[forms.Form]
    handler: Callable[[Any, HttpRequest, SourceImage, FormData], SourceImage | None]
    permission: Permission = Permission.IMAGES_WRITE


ACTIONS = {
    "name": ImageAction(NameForm, DetailMixin.rename),
    "metadata": ImageAction(MetadataForm, DetailMixin.set_fields),
    "area": ImageAction(AreaForm, DetailMixin.set_area),
    "alias": ImageAction(AddAliasForm, DetailMixin.add_alias),
    "remove_alias": ImageAction(AliasForm, DetailMixin.remove_alias),
    "history": ImageAction(VersionForm, DetailMixin.restore_version),
}


def metadata_rows(image: SourceImage) -> list[tuple[str, str, str]]:
    """Return name, type and text of each field of user metadata, for the form."""
    rows = []
    for key, value in sorted(image.user_metadata.items(), key=lambda item: metadata.field_name(item[0])):
        kind, _, name = key.rpartition(":")
        rows.append((name, kind or "str", "\n".join(value) if isinstance(value, list) else str(value)))
    return rows


def submitted_rows(request: HttpRequest) -> list[tuple[str, str, str]]:
    """Return the submitted fields of user metadata. Raises InvalidInput."""
    try:
        return metadata_rows_of(request.POST)
    except forms.ValidationError as error:
        raise InvalidInput(error.messages[0]) from error


def metadata_etag(image: SourceImage) -> str:
    """Return a digest of the user metadata, 16 hex digits."""
    return sha256(json.dumps(image.user_metadata, sort_keys=True).encode()).hexdigest()[:16]


def area_rows(image: SourceImage) -> list[dict[str, Any]]:
    """Return name, label and pixels of each area; the numbers of an unset area are ""."""
    rows = []
    for name, label in AREAS.items():
        area = dict(image.dynamic_metadata.get(name) or {})
        if area.pop("percentage", False):
            totals = {"x": image.width, "width": image.width, "y": image.height, "height": image.height}
            area |= {side: round(area[side] * total / 100) for side, total in totals.items()}
        rows.append({"name": name, "label": label, **(area or dict.fromkeys(AREA_FIELDS, ""))})
    return rows
