"""The caller: account, keys, tokens, memberships."""

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
        "expires_in", {"type": "integer", "minimum": 1, "default": tokens.LIFETIME}, description="Seconds."
    ),
    OpenApiParameter("renewable", OpenApiTypes.BOOL, description="Default: whether it is bound to addresses."),
    OpenApiParameter("no_ip_protection", OpenApiTypes.BOOL),
    OpenApiParameter("ips", OpenApiTypes.STR, description="Addresses, networks, `request_ip`, separated by commas."),
]


class UsersViewSet(AuthenticatedViewSet):
    """Signing up."""

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
        """Make a user with a key, and, if it is named, an organization of which it is the admin."""
        if not settings.SIGNUP_ENABLED:
            raise SignupDisabled("Nobody can sign up here by themselves. Ask those who run this server for a key.")
        wanted = validated(SignUpSerializer, request.data)
        ratelimits.hit((SIGNUPS, address_of(request)))
        if name := wanted.get("organization"):
            new: Any = create_organization_with_admin(name, email=wanted["email"], actor=self.actor)
        else:
            new = create_user(wanted["email"], actor=self.actor)
        return Response({"id": str(new.user.pk), "email": new.user.email, "api_key": new.api_key})


class UserViewSet(AuthenticatedViewSet):
    """Who calls, and with which keys."""

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
        """The user of the key. Public users learn their id and nothing else."""
        known = {"user_id": str(self.caller.pk)}
        if is_public(self.caller):
            return Response(known)
        keys = KeySerializer(self.caller.api_keys.order_by("created"), many=True).data
        return Response(known | {"email": self.caller.email, "api_keys": keys})

    @extend_schema(
        summary="List the keys of the current user",
        responses={200: KeySerializer(many=True), **errors(401, 403, 429)},
    )
    def keys(self, request: Request) -> Response:
        """All keys of the user, without the keys themselves."""
        return Response(KeySerializer(self.caller.api_keys.order_by("created"), many=True).data)

    @extend_schema(
        summary="Add a key",
        request=NewKeySerializer,
        responses={201: AddedKeySerializer, **errors(400, 401, 403, 413, 429)},
    )
    def add_key(self, request: Request) -> Response:
        """One more key, up to five. It is in this answer and can never be shown again."""
        comment = validated(NewKeySerializer, request.data).get("comment") or ""
        row, key = create_key(self.caller, comment=comment, actor=self.actor)
        return Response(KeySerializer(row).data | {"api_key": key}, status=status.HTTP_201_CREATED)

    @extend_schema(summary="Delete a key", responses={204: None, **errors(401, 403, 404, 409, 429)})
    def delete_key(self, request: Request, key_id: str) -> Response:
        """The key and every token made with it stop working at once. The key of the request itself stays."""
        delete_key(self.caller, key_id, actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(summary="Get the key of this request", responses={200: KeySerializer, **errors(401, 403, 429)})
    def current_key(self, request: Request) -> Response:
        """Or the one behind its token."""
        return Response(KeySerializer(api_key_for(self.credentials)).data)

    @extend_schema(
        summary="Get a token",
        parameters=TOKEN_PARAMETERS,
        responses={200: TokenSerializer, **errors(400, 401, 403, 429)},
    )
    def token(self, request: Request) -> Response:
        """Bound to the caller's address unless asked otherwise. A renewable token gets its successor."""
        wish, address = token_options(request), address_of(request)
        if self.credentials.token:
            token = tokens.renew(self.credentials.token, wish, address=address)
        else:
            token = tokens.issue(self.caller.pk, api_key_for(self.credentials).pk, wish, address=address)
        return Response({"token": token.signed(), "payload": token.payload})

    @extend_schema(
        summary="List the memberships of the current user",
        responses={200: OwnMembershipsSerializer, **errors(401, 403, 429)},
    )
    def memberships(self, request: Request) -> Response:
        """In which organizations the user is, with which roles."""
        found = self.caller.memberships.select_related("organization").order_by("organization__name")
        items = OwnMembershipSerializer(found, many=True).data
        return Response({"total": len(items), "items": items})


def token_options(request: Request) -> TokenRequest:
    """What the query asks of a token. Raises Invalid naming the parameter."""
    query = request.query_params
    seconds, renewable = query.get("expires_in", "").strip(), query.get("renewable", "").strip()
    if seconds and not (seconds.isascii() and seconds.isdigit() and len(seconds) < 18):
        raise InvalidInput("expires_in: it must be a number of seconds.")
    return TokenRequest(
        expires_in=int(seconds) if seconds else None,
        renewable=parse_flag("renewable", renewable) if renewable else None,
        no_ip_protection=parse_flag("no_ip_protection", query.get("no_ip_protection", "").strip()),
        ips=tuple(entry for part in query.get("ips", "").split(",") if (entry := part.strip())),
    )
