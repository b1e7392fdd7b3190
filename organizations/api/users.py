"""Sign-up, and the caller's account, API keys, tokens and memberships."""

from typing import Any

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.authentication import address_of, api_key_for
from organizations.api.base import AuthenticatedViewSet
from organizations.api.serializers import (
    AddedKeySerializer,
    KeySerializer,
    NewKeySerializer,
    NewUserSerializer,
    OwnMembershipSerializer,
    OwnMembershipsSerializer,
    SignUpSerializer,
    TokenSerializer,
    UserSerializer,
    validated,
)
from organizations.auth import tokens
from organizations.auth.consent import is_public
from organizations.auth.ratelimits import SIGNUPS
from organizations.auth.tokens import TokenRequest
from organizations.errors import SignupDisabled
from organizations.operations import create_key, create_organization_with_admin, create_user, delete_key
from organizations.permissions import Requirement
from rokka.core import ratelimits
from rokka.core.errors import InvalidInput
from rokka.core.openapi import errors
from rokka.core.parsers import parse_flag

TOKEN_PARAMETERS = [
    OpenApiParameter(
        "expires_in", {"type": "integer", "minimum": 1, "default": tokens.LIFETIME}, description="Lifetime in seconds."
    ),
    OpenApiParameter("renewable", OpenApiTypes.BOOL, description="Default: true if the token is bound to addresses."),
    OpenApiParameter("no_ip_protection", OpenApiTypes.BOOL, description="true: valid from any address."),
    OpenApiParameter("ips", OpenApiTypes.STR, description="Comma-separated addresses, networks or `request_ip`."),
]


class UsersViewSet(AuthenticatedViewSet):
    """Sign-up."""

    tag = "Users"
    required_permissions = {"create": Requirement.ANONYMOUS}
    serializer_class = NewUserSerializer

    @extend_schema(
        summary="Sign up",
        request=SignUpSerializer,
        auth=[],
        responses={200: NewUserSerializer, **errors(400, 403, 413, 429)},
    )
    def create(self, request: Request) -> Response:
        """Creates a user with an API key. With `organization`, also creates an organization with the user as admin."""
        if not settings.SIGNUP_ENABLED:
            raise SignupDisabled("Sign-up is disabled on this server. Ask its operators for an API key.")
        fields = validated(SignUpSerializer, request.data)
        ratelimits.hit((SIGNUPS, address_of(request)))
        if name := fields.get("organization"):
            new: Any = create_organization_with_admin(name, email=fields["email"], actor=self.actor)
        else:
            new = create_user(fields["email"], actor=self.actor)
        return Response({"id": str(new.user.pk), "email": new.user.email, "api_key": new.api_key})


class UserViewSet(AuthenticatedViewSet):
    """The caller's account and API keys."""

    tag = "Account"
    serializer_class = UserSerializer
    required_permissions = {
        "retrieve": Requirement.CREDENTIALS,
        "token": Requirement.CREDENTIALS,
        "keys": Requirement.ACCOUNT,
        "add_key": Requirement.ACCOUNT,
        "delete_key": Requirement.ACCOUNT,
        "current_key": Requirement.ACCOUNT,
        "memberships": Requirement.ACCOUNT,
    }

    @extend_schema(summary="Get the current user", responses={200: UserSerializer, **errors(401, 403, 429)})
    def retrieve(self, request: Request) -> Response:
        """Returns the user of the API key. Public users get only their ID."""
        data = {"user_id": str(self.caller.pk)}
        if is_public(self.caller):
            return Response(data)
        keys = KeySerializer(self.caller.api_keys.order_by("created"), many=True).data
        return Response(data | {"email": self.caller.email, "api_keys": keys})

    @extend_schema(
        summary="List API keys",
        responses={200: KeySerializer(many=True), **errors(401, 403, 429)},
    )
    def keys(self, request: Request) -> Response:
        """Returns the user's API keys without their secrets."""
        return Response(KeySerializer(self.caller.api_keys.order_by("created"), many=True).data)

    @extend_schema(
        summary="Create an API key",
        request=NewKeySerializer,
        responses={201: AddedKeySerializer, **errors(400, 401, 403, 413, 429)},
    )
    def add_key(self, request: Request) -> Response:
        """A user can have five keys. The key is returned only in this response."""
        comment = validated(NewKeySerializer, request.data).get("comment") or ""
        row, key = create_key(self.caller, comment=comment, actor=self.actor)
        return Response(KeySerializer(row).data | {"api_key": key}, status=status.HTTP_201_CREATED)

    @extend_schema(summary="Delete an API key", responses={204: None, **errors(401, 403, 404, 409, 429)})
    def delete_key(self, request: Request, key_id: str) -> Response:
        """The key and all tokens issued for it stop working immediately. The key of this request can't be deleted."""
        delete_key(self.caller, key_id, actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(summary="Get the current API key", responses={200: KeySerializer, **errors(401, 403, 429)})
    def current_key(self, request: Request) -> Response:
        """Returns the key of this request, or the one its token was issued for."""
        return Response(KeySerializer(api_key_for(self.credentials)).data)

    @extend_schema(
        summary="Get a token",
        parameters=TOKEN_PARAMETERS,
        responses={200: TokenSerializer, **errors(400, 401, 403, 429)},
    )
    def token(self, request: Request) -> Response:
        """The token is bound to the caller's address by default. Send a renewable token to renew it."""
        options, address = token_options(request), address_of(request)
        if self.credentials.token:
            token = tokens.renew(self.credentials.token, options, address=address)
        else:
            token = tokens.issue(self.caller.pk, api_key_for(self.credentials).pk, options, address=address)
        return Response({"token": token.signed(), "payload": token.payload})

    @extend_schema(
        summary="List the memberships of the current user",
        responses={200: OwnMembershipsSerializer, **errors(401, 403, 429)},
    )
    def memberships(self, request: Request) -> Response:
        """Returns the organizations of the user and the user's roles there."""
        memberships = self.caller.memberships.select_related("organization").order_by("organization__name")
        items = OwnMembershipSerializer(memberships, many=True).data
        return Response({"total": len(items), "items": items})


def token_options(request: Request) -> TokenRequest:
    """Read the token options in the query. Raises InvalidInput naming the parameter."""
    query = request.query_params
    seconds, renewable = query.get("expires_in", "").strip(), query.get("renewable", "").strip()
    if seconds and not (seconds.isascii() and seconds.isdigit() and len(seconds) < 18):
        raise InvalidInput("expires_in: must be an integer number of seconds.")
    return TokenRequest(
        expires_in=int(seconds) if seconds else None,
        renewable=parse_flag("renewable", renewable) if renewable else None,
        no_ip_protection=parse_flag("no_ip_protection", query.get("no_ip_protection", "").strip()),
        ips=tuple(entry for part in query.get("ips", "").split(",") if (entry := part.strip())),
    )
