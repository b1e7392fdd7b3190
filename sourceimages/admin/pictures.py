"""Pictures in the back-office."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.utils import timezone

from organizations.audit import Actor
from organizations.permissions import Permission
from rokka.admin import OperationAdmin, operation
from rokka.errors import Conflict
from sourceimages.models import SourceImage, Tombstone
from sourceimages.operations import delete_image, restore_image, set_locked

TRASH = f"What is deleted can be restored within {settings.TRASH_DAYS} days. What is locked stays where it is."


class StateFilter(admin.SimpleListFilter):
    """The living, unless one asks for the trash; never both."""

    title = "state"
    parameter_name = "state"
    LIVING, TRASH = "living", "trash"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(self.LIVING, "living"), (self.TRASH, "in the trash")]

    def value(self) -> str:
        return super().value() or self.LIVING

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        return islice(super().choices(changelist), 1, None)  # the first is "All"

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.in_trash() if self.value() == self.TRASH else queryset.living()


def shows_trash(request: HttpRequest) -> bool:
    return request.GET.get(StateFilter.parameter_name) == StateFilter.TRASH


@admin.register(SourceImage)
class SourceImageAdmin(OperationAdmin):
    needs = Permission.IMAGES_READ
    list_display = (
        "short_hash",
        "name",
        "organization",
        "state",
        "locked",
        "protected",
        "created",
        "size",
        "format",
        "width",
        "height",
    )
    list_display_in_trash = (*list_display[:4], "deleted_at", "days_left", *list_display[5:])  # none is locked there
    list_select_related = ("organization", "tombstone")
    list_filter = (StateFilter, "protected", "locked")
    search_fields = ("=hash", "=short_hash", "=binary_hash", "name__startswith")
    fields = (
        "short_hash",
        "name",
        "organization",
        "state",
        "tombstone",
        "days_left",
        "locked",
        "protected",
        "created",
        "format",
        "mimetype",
        "size",
        "width",
        "height",
        "user_metadata",
        "dynamic_metadata",
        "hash",
        "identity",
        "binary_hash",
        "file",
    )
    readonly_fields = ("state", "days_left")
    actions = ("lock", "unlock", "delete", "restore")
    beyond = "The API deletes everything as a job, and “Restore all of it” at a tombstone undoes such a deletion."

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        return self.list_display_in_trash if shows_trash(request) else self.list_display

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """What came or went last comes first; these are the ways that an index serves without an organization."""
        return ("-tombstone__expires_at", "-id") if shows_trash(request) else ("-id",)

    def get_action_choices(self, request: HttpRequest, *args: Any) -> list[tuple[str, str]]:
        offered = {"", "restore"} if shows_trash(request) else {"", "lock", "unlock", "delete"}
        return [choice for choice in super().get_action_choices(request, *args) if choice[0] in offered]

    def buttons(self, image: SourceImage) -> Sequence[str]:
        if image.deleted:
            return ("restore",)
        return ("unlock",) if image.locked else ("lock", "delete")

    def describe(self, image: SourceImage) -> str:
        return f"{image} of {image.organization}{', locked' if image.locked else ''}"

    @operation(
        "Lock",
        needs=Permission.IMAGES_UNLOCK,
        done="locked",
        explanation="What is locked can be neither deleted nor changed.",
    )
    def lock(self, image: SourceImage, actor: Actor) -> None:
        set_locked(image, True, actor=actor)

    @operation(
        "Unlock",
        needs=Permission.IMAGES_UNLOCK,
        done="unlocked",
        explanation="What is unlocked can be deleted and changed again.",
    )
    def unlock(self, image: SourceImage, actor: Actor) -> None:
        set_locked(image, False, actor=actor)

    @operation(
        "Move to the trash",
        needs=Permission.IMAGES_WRITE,
        done="moved to the trash",
        explanation=TRASH,
    )
    def delete(self, image: SourceImage, actor: Actor) -> None:
        delete_image(image, reason=Tombstone.Reason.STAFF, actor=actor)

    @operation(
        "Restore",
        needs=Permission.IMAGES_WRITE,
        done="restored",
        explanation="What comes back is as it was when it was deleted.",
    )
    def restore(self, image: SourceImage, actor: Actor) -> None:
        restored = restore_image(image.organization, image.hash, actor=actor)
        if restored != image:
            raise Conflict(f"Another source image {image.short_hash} lives now: this one stays in the trash.")

    @admin.display
    def state(self, image: SourceImage) -> str:
        return "trash" if image.deleted else "living"

    @admin.display(description="deleted", ordering="tombstone__deleted_at")
    def deleted_at(self, image: SourceImage) -> Any:
        return image.tombstone and image.tombstone.deleted_at

    @admin.display(ordering="tombstone__expires_at")
    def days_left(self, image: SourceImage) -> int | str:
        """Begun ones count: until the last moment there is one."""
        if image.tombstone is None:
            return self.get_empty_value_display()
        return max(0, -((timezone.now() - image.tombstone.expires_at) // timedelta(days=1)))
