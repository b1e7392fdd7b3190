"""Long work. It is here because all of it is about pictures."""

from collections.abc import Sequence

from django.contrib import admin
from django.utils.html import format_html

from organizations.audit import Actor
from organizations.models import Job
from organizations.permissions import Permission
from rokka.admin import OperationAdmin, operation
from rokka.errors import Conflict
from sourceimages import jobs


@admin.register(Job)
class JobAdmin(OperationAdmin):
    needs = Permission.IMAGES_READ
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

    @operation(
        "Stop",
        needs=Permission.IMAGES_DELETE_ALL,
        done="stopped",
        explanation="What a job has done stays done, and what it has not is left.",
    )
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
