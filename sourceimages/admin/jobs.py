"""The admin of jobs: their progress, and the actions to cancel, resume, retry and undo them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import pluralize
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html

from organizations.admin.base import ActionAdmin, UserNameAdmin, error_page, row_action
from organizations.audit import Actor
from organizations.auth.staff import staff_of
from organizations.models import Job, Organization
from organizations.permissions import Permission
from rokka.core.errors import Conflict, NotFound
from sourceimages import jobs, queue
from sourceimages.admin.job_details import failures, job_details
from sourceimages.jobs import permission_for, undo


def job_permission(job: Job) -> Permission:
    """The permission to start, cancel, resume and retry jobs of this kind."""
    return permission_for(job.kind)


class KindFilter(admin.SimpleListFilter):
    title, parameter_name = "kind", "kind"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        kinds = [(name, kind.label) for name, kind in jobs.KINDS.items() if kind.runs_as_job]
        return sorted(kinds, key=lambda kind: kind[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


@admin.register(Job)
class JobAdmin(UserNameAdmin, ActionAdmin):
    permission = Permission.IMAGES_READ
    list_display = (
        "kind_label",
        "organization",
        "state_label",
        "created",
        "requested_by",
        "progress",
        "result_summary",
    )
    list_select_related = ("organization", "user")
    list_filter = ("state", KindFilter)
    ordering = ("-created", "-id")
    actions = ("cancel", "resume", "retry", "undo")
    change_list_template = "admin/sourceimages/jobs.html"

    @admin.display(description="Kind", ordering="kind")
    def kind_label(self, job: Job) -> str:
        return jobs.label_of(job.kind)

    def object_actions(self, job: Job) -> Sequence[str]:
        """The actions that the state of the job allows."""
        if job.unfinished:
            return ("cancel",)
        resume = ("resume",) if job.state in jobs.RESUMABLE else ()
        retry = ("retry",) if job.failed or job.skipped else ()
        return (*resume, *retry, "undo") if undo.is_possible(job) else (*resume, *retry)

    def row_label(self, job: Job) -> str:
        return f"{jobs.title(job)}, {job.processed} of {job.total} images"

    def has_action_permission(self, request: HttpRequest, name: str, job: Job) -> bool:
        """Resuming or retrying a copy requires permission to copy to its destination, as starting one does."""
        if name in ("resume", "retry") and "destination" in job.params:
            destination = Organization.objects.filter(name=job.params["destination"]).first()
            if destination and not staff_of(request).has_permission(Permission.IMAGES_COPY_TO, destination):
                return False
        if name == "undo":
            return staff_of(request).has_permission(
                permission_for(jobs.UNDO), undo.get_organization(job) or job.organization
            )
        return super().has_action_permission(request, name, job)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        unfinished = self.get_queryset(request).filter(state__in=Job.UNFINISHED).exists()
        return super().changelist_view(request, {"unfinished": unfinished} | (extra_context or {}))

    @error_page
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        job = self.get_object(request, object_id)
        if job is None:
            raise NotFound("Job not found.")
        if request.method == "POST":
            return super().change_view(request, object_id, form_url, extra_context)
        context = self.admin_site.each_context(request) | {
            "title": jobs.title(job),
            "job": job,
            "state": state_label(job),
            "more": job.failed + job.skipped - len(job.errors),
            "percent": percent(job),
            "rate": rate(job),
            "eta": eta(job),
            "requested_by": self.requested_by(job),
            "counts": jobs.outcome_counts(job),
            "failures": failures(job),
            "details": job_details(job, staff_of(request)),
            "buttons": self.buttons(request, job),
            "deletion_id": job.kind in jobs.KINDS
            and jobs.KINDS[job.kind].tombstone_reason
            and job.params.get("deletion_id"),
        }
        return TemplateResponse(request, "admin/sourceimages/job.html", context)

    @row_action(
        "Cancel",
        permission=job_permission,
        done="cancelled",
        help_text="Images that were processed stay changed; the others are not processed.",
    )
    def cancel(self, job: Job, actor: Actor) -> None:
        cancelled = jobs.cancel(job, actor=actor)
        if cancelled.state != Job.State.CANCELLED:
            raise Conflict(f'The job "{jobs.title(job)}" has finished: {cancelled.state}.')

    @row_action(
        "Resume",
        permission=job_permission,
        done="resumed",
        help_text="The job continues where it stopped. No image is processed twice.",
    )
    def resume(self, job: Job, actor: Actor) -> None:
        if job.state not in jobs.RESUMABLE:
            raise Conflict(f'The job "{jobs.title(job)}" is {job.state} and can\'t be resumed.')
        queue.enqueue_job(jobs.resume(job, actor=actor).pk)

    @row_action(
        "Undo changes",
        permission=permission_for(jobs.UNDO),
        help_text="Restores values that the job replaced and images that it deleted, and moves images it created to "
        "the trash. Images that were changed after the job are skipped; the new job lists them.",
    )
    def undo(self, job: Job, actor: Actor) -> str:
        started = jobs.start_undo(job, actor=actor)
        queue.enqueue_job(started.pk)
        url = reverse("admin:organizations_job_change", args=[started.pk])
        return format_html('Started: <a href="{}">{}</a>.', url, jobs.title(started))

    @row_action(
        "Retry skipped and failed images",
        permission=job_permission,
        help_text="A new job processes only the images that this one skipped or that failed.",
    )
    def retry(self, job: Job, actor: Actor) -> str:
        started = jobs.start_retry(job, actor=actor)
        queue.enqueue_job(started.pk)
        url = reverse("admin:organizations_job_change", args=[started.pk])
        images = f"{started.total} image{pluralize(started.total or 0)}"
        return format_html('Retry started for {}. <a href="{}">View job</a>', images, url)

    @admin.display(description="state", ordering="state")
    def state_label(self, job: Job) -> str:
        return format_html('<span class="label {}">{}</span>', job.state, state_label(job))

    @admin.display
    def progress(self, job: Job) -> str:
        if not job.total:
            return f"{job.processed}"
        bar = '<progress value="{}" max="100" data-state="{}" aria-label="Progress"></progress> {} of {}'
        return format_html(bar, percent(job), job.state, job.processed, job.total)

    @admin.display
    def result_summary(self, job: Job) -> str:
        """The counts by outcome, and the error of a failed job."""
        counts = [f"{count} {label}" for label, count in jobs.outcome_counts(job)]
        return ". ".join(filter(None, [", ".join(counts), job.error]))

    @admin.display
    def requested_by(self, job: Job) -> str:
        name = self.user_name(job)
        return f"{name} ({job.source})" if name else job.source


def state_label(job: Job) -> str:
    """The state as the admin shows it."""
    return str(job.get_state_display()).lower()


def percent(job: Job) -> int:
    """The processed share of the images, from 0 to 100."""
    if not job.total:
        return 0 if job.unfinished else 100
    return min(100, 100 * job.processed // job.total)


def rate(job: Job) -> float | None:
    """Images per second between the start and the end or last heartbeat; None if unknown."""
    end = job.finished or job.heartbeat
    seconds = (end - job.started).total_seconds() if end and job.started else 0
    return job.processed / seconds if seconds > 0 and job.processed else None


def eta(job: Job) -> str:
    """The remaining time, as h:mm:ss; empty if it is unknown."""
    current = rate(job)
    if not job.unfinished or not current or not job.total:
        return ""
    seconds = int(max(0, job.total - job.processed) / current)
    return str(timedelta(seconds=seconds))
