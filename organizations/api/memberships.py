"""Who belongs to an organization."""

from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.base import OrganizationScope
from organizations.api.serializers import (
    MembershipSerializer,
    MembershipsSerializer,
    NewMemberSerializer,
    RolesSerializer,
    validated,
)
from organizations.auth.consent import is_public
from organizations.errors import MembershipNotFound, PublicUser, RoleMissing, UserNotFound
from organizations.operations import MembershipChange, add_member_with_new_user, remove_member, set_roles
from organizations.permissions import Permission
from rokka.core.openapi import ORGANIZATION, errors

USER_ID = OpenApiParameter("user_id", OpenApiTypes.UUID, OpenApiParameter.PATH)


class MembershipViewSet(OrganizationScope):
    """Members of an organization and their roles."""

    tag = "Memberships"
    serializer_class = MembershipSerializer
    required_permissions = {
        "list": Permission.MEMBERSHIPS_READ,
        "retrieve": Permission.MEMBERSHIPS_READ,
        "create": Permission.MEMBERSHIPS_WRITE,
        "update": Permission.MEMBERSHIPS_WRITE,
        "destroy": Permission.ORGANIZATION_READ_BASIC,  # to leave; others are removed by those who may
    }

    @extend_schema(
        summary="List members",
        parameters=[ORGANIZATION],
        responses={200: MembershipsSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def list(self, request: Request, organization: str) -> Response:
        """All of them, the first member first."""
        members = self.organization.memberships.select_related("user").order_by("created", "id")
        items = MembershipSerializer(members, many=True).data
        return Response({"total": len(items), "items": items})

    @extend_schema(
        summary="Get a member",
        parameters=[ORGANIZATION, USER_ID],
        responses={200: MembershipSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def retrieve(self, request: Request, organization: str, user_id: str) -> Response:
        """By the id of the user."""
        members = self.organization.memberships.select_related("user")
        member = members.filter(user=parse_uuid(user_id, MembershipNotFound("This user is no member."))).first()
        if member is None:
            raise MembershipNotFound("This user is no member.")
        return Response(MembershipSerializer(member).data)

    @extend_schema(
        summary="Add a member with a new user",
        parameters=[ORGANIZATION],
        request=RolesSerializer,
        responses={201: NewMemberSerializer, **errors(400, 401, 403, 404, 413, 429)},
    )
    def create(self, request: Request, organization: str) -> Response:
        """Make a user with the caller's e-mail address, its key, and its membership."""
        wanted = validated(RolesSerializer, request.data)
        new = add_member_with_new_user(
            self.organization,
            wanted["roles"],
            email=self.caller.email,
            comment=wanted["comment"] or "",
            actor=self.actor,
        )
        shape = MembershipSerializer(new.membership).data | {"api_key": new.api_key}
        return Response(shape, status=status.HTTP_201_CREATED)

    @extend_schema(
        summary="Set the roles of a member",
        parameters=[ORGANIZATION, USER_ID],
        request=RolesSerializer,
        responses={
            200: MembershipSerializer,
            201: MembershipSerializer,
            204: None,
            **errors(400, 401, 403, 404, 409, 413, 429),
        },
    )
    def update(self, request: Request, organization: str, user_id: str) -> Response:
        """201: is a member now. 200: has other roles now. 204: nothing has changed."""
        wanted = validated(RolesSerializer, request.data)
        membership, outcome = set_roles(
            self.organization,
            parse_uuid(user_id, UserNotFound("There is no user with this id.")),
            wanted["roles"],
            comment=wanted["comment"],
            actor=self.actor,
        )
        if outcome is MembershipChange.UNCHANGED:
            return Response(status=status.HTTP_204_NO_CONTENT)
        created = outcome is MembershipChange.ADDED
        return Response(MembershipSerializer(membership).data, status=201 if created else 200)

    @extend_schema(
        summary="Remove a member, or leave",
        parameters=[ORGANIZATION, USER_ID],
        responses={204: None, **errors(400, 401, 403, 404, 409, 429)},
    )
    def destroy(self, request: Request, organization: str, user_id: str) -> Response:
        """Admins remove any member; every member can leave, but not with the key of a public user.

        The user and its keys remain. The last admin cannot be removed.
        """
        may_remove = self.granted(Permission.MEMBERSHIPS_WRITE)
        not_allowed = RoleMissing(f"Your roles in {self.organization.name!r} do not allow removing other members.")
        unknown = MembershipNotFound("This user is no member.") if may_remove else not_allowed
        user = parse_uuid(user_id, unknown)
        if user != self.caller.pk and not may_remove:
            raise not_allowed
        if user == self.caller.pk and is_public(self.caller):
            raise PublicUser("This key is meant to be public, by its roles: it cannot end a membership.")
        remove_member(self.organization, user, actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)


def parse_uuid(text: str, otherwise: Exception) -> UUID:
    """The id, or the error of what cannot be one; e-mail addresses, which are not unique, name nobody."""
    try:
        return UUID(text)
    except ValueError:
        raise otherwise from None
