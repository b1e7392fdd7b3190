"""Pictures, the trash and long work in the back-office. Jobs are here because all of them are about pictures."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import IntegerField, OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from organizations.audit import Actor
from organizations.models import Job
from rokka.admin import OperationAdmin, ReadOnlyAdmin, operation
from rokka.errors import Conflict
from sourceimages import jobs
from sourceimages.models import Alias, MetadataField, ShortHash, SourceImage, StoredFile, Tombstone
from sourceimages.operations import delete_image, restore_image, set_locked
from sourceimages.tasks import hurry

COUNTED = 1000  # pictures of a tombstone; a million would take too long to count in a list

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

    @operation("Lock", done="locked", explanation="What is locked can be neither deleted nor changed.")
    def lock(self, image: SourceImage, actor: Actor) -> None:
        set_locked(image, True, actor=actor)

    @operation("Unlock", done="unlocked", explanation="What is unlocked can be deleted and changed again.")
    def unlock(self, image: SourceImage, actor: Actor) -> None:
        set_locked(image, False, actor=actor)

    @operation("Move to the trash", done="moved to the trash", explanation=TRASH)
    def delete(self, image: SourceImage, actor: Actor) -> None:
        delete_image(image, reason=Tombstone.Reason.STAFF, actor=actor)

    @operation("Restore", done="restored", explanation="What comes back is as it was when it was deleted.")
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


@admin.register(StoredFile)
class StoredFileAdmin(ReadOnlyAdmin):
    list_display = ("binary_hash", "organization", "format", "size", "created", "verified_at")
    list_select_related = ("organization",)
    search_fields = ("=binary_hash", "=key")
    ordering = ("-id",)


class CappedCount(Subquery):
    """How many rows a query of limited length finds."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS found)"


@admin.register(Tombstone)
class TombstoneAdmin(OperationAdmin):
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

    @operation("Restore all of it", explanation="A job brings the pictures back, except those that live again already.")
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


@admin.register(Job)
class JobAdmin(OperationAdmin):
    list_display = ("kind", "organization", "state", "created", "who", "progress", "outcome")
    list_select_related = ("organization", "user")
    list_filter = ("state", "kind")
    ordering = ("-created", "-id")
    fields = (
        "kind",
        "organization",
        "arguments",
        "state",
        "progress",
        "outcome",
        "failed",
        "who",
        "api_key_id",
        "address",
        "created",
        "started",
        "heartbeat",
        "finished",
    )
    readonly_fields = ("progress", "outcome", "who")
    actions = ("stop",)

    def buttons(self, job: Job) -> Sequence[str]:
        return ("stop",) if job.unfinished else ()

    def describe(self, job: Job) -> str:
        return f"{job.kind} of {job.organization}, {job.done} of {job.total} pictures"

    @operation("Stop", done="stopped", explanation="What a job has done stays done, and what it has not is left.")
    def stop(self, job: Job, actor: Actor) -> None:
        stopped = jobs.cancel(job, actor=actor)
        if stopped.state != Job.State.CANCELLED:
            raise Conflict(f"The job {job.kind} of {job.organization} is over: {stopped.state}.")

    @admin.display
    def progress(self, job: Job) -> str:
        if not job.total:
            return f"{job.done}"
        percent = min(100, 100 * job.done // job.total)
        bar = '<progress value="{}" max="100" aria-label="progress"></progress> {}&nbsp;%, {} of {}'
        return format_html(bar, percent, percent, job.done, job.total)

    @admin.display
    def outcome(self, job: Job) -> str:
        """What has become of how many pictures, and why the job failed, if it did."""
        report = [f"{count} {name}" for name, count in sorted(job.report.items())]
        return ". ".join(filter(None, [", ".join(report), job.error]))

    @admin.display
    def who(self, job: Job) -> str:
        return f"{job.user} ({job.source})" if job.user else job.source


@admin.register(ShortHash)
class ShortHashAdmin(ReadOnlyAdmin):
    list_display = ("short_hash", "hash", "organization")
    list_select_related = ("organization",)
    search_fields = ("=short_hash", "=hash")


@admin.register(Alias)
class AliasAdmin(ReadOnlyAdmin):
    list_display = ("alias", "hash", "organization", "created")
    list_select_related = ("organization",)
    search_fields = ("=alias", "=hash")


@admin.register(MetadataField)
class MetadataFieldAdmin(ReadOnlyAdmin):
    list_display = ("name", "type", "organization")
    list_select_related = ("organization",)
    search_fields = ("name",)
