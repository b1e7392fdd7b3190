"""Memberships of an organization."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.base import OrganizationScope
from organizations.api.serializers import (
    MembershipSerializer,
    MembershipsSerializer,
    NewMemberSerializer,
    NewMembershipSerializer,
    RolesSerializer,
    key_options,
)
from organizations.errors import MembershipNotFound, PublicUser, RoleMissing, UserNotFound
from organizations.operations import MembershipChange, add_member_with_new_user, remove_member, set_roles
from organizations.permissions import Permission
from rokka.core.openapi import ORGANIZATION, errors, extend_schema
from rokka.core.parsers import parse_uuid

USER_ID = OpenApiParameter("user_id", OpenApiTypes.UUID, OpenApiParameter.PATH)
NOT_A_MEMBER = "This user is not a member of the organization."


class MembershipViewSet(OrganizationScope):
    """Members of an organization and their roles."""

    tag = "Memberships"
    serializer_class = MembershipSerializer
    required_permissions = {
        "list": Permission.MEMBERSHIPS_READ,
        "retrieve": Permission.MEMBERSHIPS_READ,
        "current": Permission.ORGANIZATION_READ_BASIC,
        "create": Permission.MEMBERSHIPS_WRITE,
        "update": Permission.MEMBERSHIPS_WRITE,
        "destroy": Permission.ORGANIZATION_READ_BASIC,  # enough to leave; removing others takes MEMBERSHIPS_WRITE
    }

    @extend_schema(
        summary="List members",
        parameters=[ORGANIZATION],
        responses={200: MembershipsSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def list(self, request: Request, organization: str) -> Response:
        """Returns all members, oldest first."""
        members = self.organization.memberships.select_related("user").order_by("created", "id")
        items = MembershipSerializer(members, many=True).data
        return Response({"total": len(items), "items": items})

    @extend_schema(
        summary="Get a member",
        parameters=[ORGANIZATION, USER_ID],
        responses={200: MembershipSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def retrieve(self, request: Request, organization: str, user_id: str) -> Response:
        """Returns the membership of a user."""
        members = self.organization.memberships.select_related("user")
        not_found = MembershipNotFound(NOT_A_MEMBER)
        member = members.filter(user=parse_uuid("user_id", user_id, error=not_found)).first()
        if member is None:
            raise not_found
        return Response(MembershipSerializer(member).data)

    @extend_schema(
        summary="Get the membership of the current user",
        parameters=[ORGANIZATION],
        responses={200: MembershipSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def current(self, request: Request, organization: str) -> Response:
        """Returns the caller's own roles. The key of a public user does not see the email address."""
        membership = self.organization.memberships.select_related("user").filter(user=self.caller).first()
        if membership is None:  # removed since the request was authenticated
            raise MembershipNotFound(NOT_A_MEMBER)
        data = MembershipSerializer(membership).data
        return Response(data | {"email": ""} if not self.manages_account else data)

    @extend_schema(
        summary="Add a member with a new user",
        parameters=[ORGANIZATION],
        request=NewMembershipSerializer,
        responses={201: NewMemberSerializer, **errors(400, 401, 403, 404, 413, 429)},
    )
    def create(self, request: Request, organization: str) -> Response:
        """Creates a user with the caller's email address, an API key and a membership.

        A key made with a token has at least the restrictions of the key of the token.
        """
        self.check_can_manage_keys("add members")
        if not self.manages_account:  # a stranger gave the role, and the response would have the email of the user
            raise PublicUser("This key belongs to a public user, which can't create other users.")
        fields = self.validated_body(NewMembershipSerializer)
        key = fields["api_key"] or {}
        new = add_member_with_new_user(
            self.organization,
            fields["roles"],
            email=self.caller.email,
            comment=fields["comment"] or "",
            key_comment=key.get("comment"),
            key_options=key_options(key, limit=self.key_limit, own=False),
            actor=self.actor,
        )
        data = MembershipSerializer(new.membership).data | {"api_key": new.api_key}
        return Response(data, status=status.HTTP_201_CREATED)

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
        """Adds a user as a member (201), changes the roles of a member (200), or changes nothing (204)."""
        self.check_can_manage_keys("add members and change roles")
        fields = self.validated_body(RolesSerializer)
        membership, outcome = set_roles(
            self.organization,
            parse_uuid("user_id", user_id, error=UserNotFound("User not found.")),
            fields["roles"],
            comment=fields["comment"],
            actor=self.actor,
        )
        if outcome is MembershipChange.UNCHANGED:
            return Response(status=status.HTTP_204_NO_CONTENT)
        created = outcome is MembershipChange.CREATED
        return Response(MembershipSerializer(membership).data, status=201 if created else 200)

    @extend_schema(
        summary="Remove a member, or leave",
        parameters=[ORGANIZATION, USER_ID],
        responses={204: None, **errors(400, 401, 403, 404, 409, 429)},
    )
    def destroy(self, request: Request, organization: str, user_id: str) -> Response:
        """Admins can remove any member. Members can leave; public users only with a trusted key.

        The user and its keys are not deleted. The last admin can't be removed.
        """
        can_remove = self.granted(Permission.MEMBERSHIPS_WRITE)
        not_allowed = RoleMissing(f"Your roles in {self.organization.name!r} do not allow removing other members.")
        user = parse_uuid("user_id", user_id, error=MembershipNotFound(NOT_A_MEMBER) if can_remove else not_allowed)
        if user != self.caller.pk and not can_remove:
            raise not_allowed
        if user == self.caller.pk and not self.manages_account:
            raise PublicUser("This key belongs to a public user, which can't leave an organization.")
        remove_member(self.organization, user, actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)
