"""Jobs: start, list, get, cancel, retry and undo them."""

from typing import Any
from uuid import UUID

from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema_serializer
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.serializers import validated
from organizations.auth import credentials
from organizations.errors import NotAMember, RoleMissing
from organizations.models import Job, Organization
from organizations.permissions import Permission
from rokka.core import cursors
from rokka.core.clock import rfc3339
from rokka.core.errors import InvalidInput
from rokka.core.openapi import ORGANIZATION, errors, extend_schema
from rokka.core.parsers import parse_uuid
from sourceimages import jobs
from sourceimages.api.base import WritableStorageViewSet
from sourceimages.api.copy import get_destination
from sourceimages.errors import TombstoneNotFound
from sourceimages.jobs import undo
from sourceimages.queue import enqueue_job

KINDS = (jobs.COPY_ALL, jobs.DELETE_ALL, jobs.RESTORE_DELETION)
START_PERMISSIONS = tuple(jobs.permission_for(kind) for kind in KINDS)
PAGE_SIZE = 100
JOB_ID = OpenApiParameter("job_id", OpenApiTypes.UUID, OpenApiParameter.PATH)


class NewJobSerializer(serializers.Serializer):
    kind = serializers.ChoiceField(list(KINDS))
    destination = serializers.CharField(
        required=False, help_text="For `copy_all`: the name of the organization to copy to."
    )
    overwrite = serializers.BooleanField(
        required=False, default=False, help_text="For `copy_all`: overwrite existing images at the destination."
    )
    deletion_id = serializers.CharField(
        required=False, help_text="For `restore_deletion`: the deletion to restore. Defaults to the latest."
    )


class JobSerializer(serializers.Serializer):
    """A job and its progress."""

    id = serializers.UUIDField()
    kind = serializers.CharField()
    state = serializers.ChoiceField(Job.State.values)
    total = serializers.IntegerField(allow_null=True, help_text="Number of images, fixed when the job is created.")
    processed = serializers.IntegerField(help_text="Images processed so far, at most `total`.")
    failed = serializers.IntegerField(help_text="Images that could not be processed.")
    skipped = serializers.IntegerField(
        help_text="Images that were skipped because they are locked, were removed or were changed."
    )
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="Number of images by outcome.")
    errors = serializers.ListField(  # type: ignore[assignment]
        child=serializers.DictField(child=serializers.CharField()),
        help_text="The first 100 images that failed or were skipped: `hash` and `message`.",
    )
    error = serializers.CharField(allow_blank=True, help_text="Why the job failed; empty otherwise.")
    params = serializers.DictField()
    user_id = serializers.UUIDField(allow_null=True, help_text="The user who started the job.")
    created = serializers.DateTimeField()
    started = serializers.DateTimeField(allow_null=True)
    finished = serializers.DateTimeField(allow_null=True)

    def to_representation(self, job: Job) -> dict[str, Any]:
        shape: dict[str, Any] = {str(name): getattr(job, str(name)) for name in self.fields}
        for name in ("created", "started", "finished"):
            shape[name] = shape[name] and rfc3339(shape[name])
        return shape | {"id": str(job.pk), "user_id": job.user_id and str(job.user_id)}


@extend_schema_serializer(many=False)  # the answer of a list is an object
class JobsSerializer(serializers.Serializer):
    items = JobSerializer(many=True)
    cursor = serializers.CharField(
        required=False, help_text="Send it as `cursor` to get the next page. Omitted on the last page."
    )


class JobViewSet(WritableStorageViewSet):
    """Jobs of an organization."""

    tag = "Jobs"
    serializer_class = JobSerializer
    required_permissions = {
        "list": Permission.IMAGES_READ,
        "retrieve": Permission.IMAGES_READ,
        "create": START_PERMISSIONS,
        "destroy": START_PERMISSIONS,
        "undo": Permission.IMAGES_READ,  # and to write where the images are that the job has changed
        "retry": START_PERMISSIONS,
    }

    @extend_schema(
        summary="List jobs",
        parameters=[ORGANIZATION, OpenApiParameter("cursor", OpenApiTypes.STR)],
        responses={200: JobsSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def list(self, request: Request, organization: str) -> Response:
        """Newest first."""
        found = self.organization.jobs.order_by("-created", "-id")
        if sent := request.query_params.get("cursor"):
            found = found.filter(created__lt=created_from_cursor(sent))
        items = list(found[: PAGE_SIZE + 1])
        answer: dict[str, Any] = {"items": JobSerializer(items[:PAGE_SIZE], many=True).data}
        if len(items) > PAGE_SIZE:
            answer["cursor"] = cursors.encode([cursors.format_datetime(items[PAGE_SIZE - 1].created)])
        return Response(answer)

    @extend_schema(
        summary="Get a job",
        parameters=[ORGANIZATION, JOB_ID],
        responses={200: JobSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def retrieve(self, request: Request, organization: str, job_id: str) -> Response:
        """The job with its current progress."""
        return Response(JobSerializer(jobs.get(self.organization, job_id)).data)

    @extend_schema(
        summary="Start a job",
        parameters=[ORGANIZATION],
        request=NewJobSerializer,
        responses={202: JobSerializer, **errors(400, 401, 403, 404, 409, 413, 429)},
    )
    def create(self, request: Request, organization: str) -> Response:
        """`copy_all` copies all active images to another organization, `delete_all` moves them to the trash (admins
        only), `restore_deletion` restores the images of one deletion.
        """
        wanted = validated(NewJobSerializer, request.data)
        self._check(wanted["kind"])
        return accepted(self._start(wanted))

    @extend_schema(
        summary="Retry skipped and failed images",
        parameters=[ORGANIZATION, JOB_ID],
        request=None,
        responses={202: JobSerializer, **errors(400, 401, 403, 404, 409, 429)},
    )
    def retry(self, request: Request, organization: str, job_id: str) -> Response:
        """Start a job of the same kind for the images that this one skipped or failed to process, within 30 days."""
        job = jobs.get(self.organization, job_id)
        self._check(job.kind)
        if destination := job.params.get("destination"):
            get_destination(destination, self.organization, self.credentials)  # raises if the caller can't write there
        return accepted(jobs.start_retry(job, actor=self.actor))

    @extend_schema(
        summary="Cancel a job",
        parameters=[ORGANIZATION, JOB_ID],
        responses={200: JobSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def destroy(self, request: Request, organization: str, job_id: str) -> Response:
        """The job stops after the current batch. Images that were processed stay changed."""
        job = jobs.get(self.organization, job_id)
        self._check(job.kind)
        return Response(JobSerializer(jobs.cancel(job, actor=self.actor)).data)

    @extend_schema(
        summary="Undo a job",
        parameters=[ORGANIZATION, JOB_ID],
        request=None,
        responses={202: JobSerializer, **errors(400, 401, 403, 404, 409, 429)},
    )
    def undo(self, request: Request, organization: str, job_id: str) -> Response:
        """Start a job that restores values that this one replaced, restores images that it deleted, and moves images
        that it created to the trash. Images that were changed since are skipped and listed in `errors`.

        To undo a copy, a job starts in the destination, where the caller needs `sourceimages:write`.
        """
        job = jobs.get(self.organization, job_id)
        self._check_writable(undo.get_organization(job) or self.organization)
        return accepted(jobs.start_undo(job, actor=self.actor))

    def _start(self, wanted: dict[str, Any]) -> Job:
        match wanted["kind"]:
            case jobs.COPY_ALL:
                destination = get_destination(wanted.get("destination", ""), self.organization, self.credentials)
                overwrite = wanted["overwrite"]
                return jobs.start_copy_all(self.organization, destination, overwrite=overwrite, actor=self.actor)
            case jobs.DELETE_ALL:
                return jobs.start_delete_all(self.organization, actor=self.actor)
            case jobs.RESTORE_DELETION:
                return jobs.start_restore(
                    self.organization, parse_deletion_id(wanted.get("deletion_id")), actor=self.actor
                )
        raise Http404

    def _check(self, kind: str) -> None:
        """Raises RoleMissing unless the roles of the caller allow jobs of this kind."""
        if not self.granted(jobs.permission_for(kind)):
            raise RoleMissing(f"Your roles in {self.organization.name!r} do not allow {kind}.")

    def _check_writable(self, organization: Organization) -> None:
        """Raises NotAMember, RoleMissing."""
        granted: frozenset[Permission] | None = self.granted_permissions
        if organization != self.organization:
            found = credentials.resolve_access(self.credentials, organization.name)
            granted = found.granted if found else None
        if granted is None:
            raise NotAMember(f"You are not a member of {organization.name!r}, whose images the job changed.")
        if jobs.permission_for(jobs.UNDO) not in granted:
            raise RoleMissing(f"Your roles in {organization.name!r} do not allow {jobs.UNDO}.")


def accepted(job: Job) -> Response:
    """The response for a job that was just created."""
    enqueue_job(job.pk)
    job.refresh_from_db()
    headers = {"Location": f"/jobs/{job.organization.name}/{job.pk}"}
    return Response(JobSerializer(job).data, status=status.HTTP_202_ACCEPTED, headers=headers)


def parse_deletion_id(text: str | None) -> UUID | None:
    return parse_uuid("deletion_id", text, error=TombstoneNotFound("Deletion not found.")) if text else None


def created_from_cursor(text: str) -> Any:
    try:
        (created,) = cursors.decode(text)
        return cursors.parse_datetime(created)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidInput("cursor: not a valid cursor.") from error
