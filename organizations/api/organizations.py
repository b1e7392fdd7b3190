"""Organizations, their options and their signing keys."""

from collections.abc import Iterable
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from organizations import permissions
from organizations.api.base import AuthenticatedViewSet, OrganizationScope
from organizations.api.serializers import (
    OrganizationChangeSerializer,
    OrganizationSerializer,
    OrganizationsSerializer,
    SigningKeySerializer,
    validated,
)
from organizations.errors import NotOrganizationAdmin, OrganizationNameTaken
from organizations.models import Organization
from organizations.operations import (
    add_signing_key,
    create_organization,
    remove_signing_key,
    update_options,
    update_organization,
)
from organizations.options import OPTIONS
from organizations.permissions import Permission, Requirement
from rokka.core.errors import InvalidInput
from rokka.core.openapi import ORGANIZATION, errors, extend_schema
from rokka.core.parsers import json_or_text

ANYTHING = {"application/json": OpenApiTypes.ANY}
OPTION_NAME = OpenApiParameter("name", OpenApiTypes.STR, OpenApiParameter.PATH, enum=list(OPTIONS))


class OrganizationsViewSet(AuthenticatedViewSet):
    """The organizations of the caller."""

    tag = "Organizations"
    required_permissions = {"list": Requirement.CREDENTIALS}
    serializer_class = OrganizationsSerializer

    @extend_schema(
        summary="List the organizations of the current user",
        responses={200: OrganizationsSerializer, **errors(401, 403, 429)},
    )
    def list(self, request: Request) -> Response:
        """Returns the organizations the user is an active member of. The fields depend on the user's roles there."""
        memberships = self.caller.memberships.filter(active=True).order_by("organization__name")
        items = [
            organization_data(membership.organization, membership.granted)
            for membership in memberships.select_related("organization__master_organization")
        ]
        return Response({"total": len(items), "items": items})


class OrganizationViewSet(OrganizationScope):
    """One organization."""

    tag = "Organizations"
    serializer_class = OrganizationSerializer
    required_permissions = {
        "retrieve": Permission.ORGANIZATION_READ_BASIC,
        "sub_organizations": Permission.ORGANIZATION_WRITE,
        "upsert": Requirement.NOT_PUBLIC,
        "set_options": Permission.ORGANIZATION_WRITE,
        "set_option": Permission.ORGANIZATION_WRITE,
        "add_signing_key": Permission.ORGANIZATION_WRITE,
        "remove_signing_key": Permission.ORGANIZATION_WRITE,
    }

    @extend_schema(
        summary="Get an organization",
        parameters=[ORGANIZATION],
        responses={200: OrganizationSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def retrieve(self, request: Request, organization: str) -> Response:
        """Members see basic fields, `read` also the options, `admin` also the signing keys and the billing email."""
        return Response(organization_data(self.organization, self.granted_permissions))

    @extend_schema(
        summary="List the organizations of which this is the master organization",
        parameters=[ORGANIZATION],
        responses={200: OrganizationsSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def sub_organizations(self, request: Request, organization: str) -> Response:
        """Returns basic fields, and those that the caller's own roles in each organization allow to see."""
        children = self.organization.children.select_related("master_organization").order_by("name")
        memberships = self.caller.memberships.filter(active=True, organization__master_organization=self.organization)
        granted = {membership.organization_id: membership.granted for membership in memberships}
        items = [organization_data(child, granted.get(child.pk, frozenset())) for child in children]
        return Response({"total": len(items), "items": items})

    @extend_schema(
        summary="Create or change an organization",
        parameters=[ORGANIZATION],
        request=OrganizationChangeSerializer,
        responses={
            200: OrganizationSerializer,
            201: OrganizationSerializer,
            **errors(400, 401, 403, 404, 409, 413, 429),
        },
    )
    def upsert(self, request: Request, organization: str) -> Response:
        """Creates an organization with the caller as its admin, or changes it. Only admins can change it."""
        fields = validated(OrganizationChangeSerializer, request.data)
        master = fields.pop("master_organization", None)
        options = {"admin": self.caller, "master": master, "actor": self.actor}
        created = not Organization.objects.filter(name=organization).exists()
        try:
            operation = create_organization if created else update_organization
            saved = operation(organization, fields, **options)
        except OrganizationNameTaken as error:  # created by another request in the meantime
            raise NotOrganizationAdmin(organization) from error
        return Response(
            organization_data(saved, frozenset(Permission)),
            status=status.HTTP_201_CREATED if created else status.HTTP_200_OK,
        )

    @extend_schema(
        summary="Set options",
        parameters=[ORGANIZATION],
        request=ANYTHING,
        responses={200: OrganizationSerializer, **errors(400, 401, 403, 404, 413, 429)},
    )
    def set_options(self, request: Request, organization: str) -> Response:
        """Sets the options in the JSON object. `null` removes an option; options that are not sent are unchanged."""
        options = {} if request.data in (None, []) else request.data
        if not isinstance(options, dict):
            raise InvalidInput("The body must be a JSON object of options.")
        return self._update_options(options)

    @extend_schema(
        summary="Set an option",
        parameters=[ORGANIZATION, OPTION_NAME],
        request=ANYTHING,
        responses={200: OrganizationSerializer, **errors(400, 401, 403, 404, 413, 429)},
    )
    def set_option(self, request: Request, organization: str, name: str) -> Response:
        """The body is the value, as JSON or plain text. `null` removes the option."""
        return self._update_options({name: json_or_text(request)})

    @extend_schema(
        summary="Add a signing key",
        parameters=[ORGANIZATION],
        request=None,
        responses={201: SigningKeySerializer, **errors(400, 401, 403, 404, 429)},
    )
    def add_signing_key(self, request: Request, organization: str) -> Response:
        """The new key is valid immediately. To rotate keys, add one, start using it, then remove the old one."""
        key = add_signing_key(self.organization, actor=self.actor)
        return Response(SigningKeySerializer(key).data, status=status.HTTP_201_CREATED)

    @extend_schema(
        summary="Remove a signing key",
        parameters=[ORGANIZATION, OpenApiParameter("key_id", OpenApiTypes.STR, OpenApiParameter.PATH)],
        responses={204: None, **errors(400, 401, 403, 404, 409, 429)},
    )
    def remove_signing_key(self, request: Request, organization: str, key_id: str) -> Response:
        """URLs signed with it become invalid. The last key can't be removed."""
        remove_signing_key(self.organization, key_id, actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _update_options(self, options: dict[str, Any]) -> Response:
        organization = update_options(self.organization, options, actor=self.actor)
        return Response(organization_data(organization, self.granted_permissions))


def organization_data(organization: Organization, granted: Iterable[permissions.Permission]) -> dict[str, Any]:
    """Serialize an organization with the fields that these permissions allow to see."""
    context = {"full": Permission.ORGANIZATION_READ in granted, "admin": Permission.ORGANIZATION_WRITE in granted}
    return dict(OrganizationSerializer(organization, context=context).data)
