"""Copy images to another organization."""

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.auth.credentials import Credentials, resolve_access
from organizations.errors import MembershipNotAccepted, NotAMember, RoleMissing
from organizations.models import Organization
from organizations.permissions import Permission
from rokka.core.errors import InvalidInput
from rokka.core.openapi import ORGANIZATION, errors, extend_schema
from sourceimages.api.base import SourceImageScopedViewSet
from sourceimages.api.openapi import DESTINATION, HASH, OVERWRITE
from sourceimages.errors import InvalidDestination
from sourceimages.operations import copy_by_hashes, copy_image
from sourceimages.outcomes import Outcome

MAX_COPIES = 100


class CopyResultSerializer(serializers.Serializer):
    """Full hashes. `existing` lists images that already existed at the destination, overwritten or not."""

    existing = serializers.ListField(child=serializers.CharField())
    created = serializers.ListField(child=serializers.CharField())
    notfound = serializers.ListField(child=serializers.CharField())
    protected = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="Images in `notfound` that are protected: your roles do not allow copying them.",
    )


class CopyMixin(SourceImageScopedViewSet):
    """Copies one image, or up to 100."""

    required_permissions = {"copy_one": Permission.IMAGES_COPY_FROM, "copy_many": Permission.IMAGES_COPY_FROM}

    @extend_schema(
        summary="Copy an image to another organization",
        parameters=[ORGANIZATION, HASH, DESTINATION, OVERWRITE],
        request=None,
        responses={201: dict, 204: None, **errors(400, 401, 403, 404, 409, 412, 423, 429, 503)},
    )
    def copy_one(self, request: Request, organization: str, hash: str) -> Response:
        """Copies all metadata, but not the lock.

        Returns 201 if the image is new at the destination, and 204 if it was overwritten.

        Copying a protected image requires the permission to download its original.
        """
        destination = destination_from_header(request, self.organization, self.credentials)
        outcome = copy_image(
            self.active_image(hash), destination, overwrite=should_overwrite(request), actor=self.actor
        )
        return Response({}, status=201) if outcome is Outcome.CREATED else Response(status=204)

    @extend_schema(
        summary="Copy up to 100 images to another organization",
        parameters=[ORGANIZATION, DESTINATION, OVERWRITE],
        request=serializers.ListSerializer(child=serializers.CharField()),
        responses={200: CopyResultSerializer, **errors(400, 401, 403, 404, 413, 429)},
    )
    def copy_many(self, request: Request, organization: str) -> Response:
        """The body is a JSON array of hashes or short hashes. Images that can't be copied do not affect the others."""
        destination = destination_from_header(request, self.organization, self.credentials)
        hashes = request.data
        if not isinstance(hashes, list) or not all(isinstance(hash, str) for hash in hashes):
            raise InvalidInput("The body must be a JSON array of hashes.")
        if len(hashes) > MAX_COPIES:
            raise InvalidInput(
                f"{len(hashes)} hashes; the limit is {MAX_COPIES}. To copy all images, start a job: "
                f"POST /jobs/{self.organization}."
            )
        copied = copy_by_hashes(
            self.organization, hashes, destination, overwrite=should_overwrite(request), actor=self.actor
        )
        answer = {"existing": copied.existing, "created": copied.created, "notfound": copied.notfound}
        return Response(answer | ({"protected": copied.protected} if copied.protected else {}))


def destination_from_header(request: Request, source: Organization, credentials: Credentials) -> Organization:
    """The organization in the `Destination` header, checked for permission to copy to it."""
    return get_destination(request.headers.get("Destination", "").strip(), source, credentials)


def get_destination(name: str, source: Organization, credentials: Credentials) -> Organization:
    """The destination. Raises InvalidDestination, NotAMember, RoleMissing or MembershipNotAccepted."""
    if not name:
        raise InvalidDestination("Destination: the header is required. Set it to the organization to copy to.")
    if name == source.name:
        raise InvalidDestination("Destination: must differ from the organization to copy from.")
    found = resolve_access(credentials, name, addressed=False)
    if found is None:
        if not Organization.objects.filter(name=name).exists():
            raise InvalidDestination(f"Destination: organization {name[:80]!r} not found.")
        raise NotAMember(f"You are not a member of {name!r}.")
    if Permission.IMAGES_COPY_TO not in found.granted:
        raise RoleMissing(f"Your roles in {name!r} do not allow copying to it.")
    if not found.accepted:
        raise MembershipNotAccepted(
            f"You have not accepted your membership in {name!r}, which another user created. To accept it, send a "
            f"request to the organization, such as GET /organizations/{name}. Keys of public users can't accept "
            "memberships."
        )
    return found.organization


def should_overwrite(request: Request) -> bool:
    """Return whether to overwrite: only `Overwrite: F` (RFC 4918, 10.6) prevents it."""
    return request.headers.get("Overwrite", "").strip().upper() != "F"
