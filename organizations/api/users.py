"""Sign-up, and the caller's account, API keys, tokens and memberships."""

from dataclasses import replace
from typing import Any

from django.conf import settings
from django.db.models import Prefetch
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.authentication import address_of, api_key_for
from organizations.api.base import AuthenticatedViewSet
from organizations.api.serializers import (
    AddedKeySerializer,
    ChangedKeySerializer,
    KeyChangeSerializer,
    KeyEffectsSerializer,
    KeySerializer,
    MemberKeysSerializer,
    MembersKeysSerializer,
    NewKeySerializer,
    NewUserSerializer,
    OwnMembershipSerializer,
    OwnMembershipsSerializer,
    SecondFactorSerializer,
    SignUpSerializer,
    TokenSerializer,
    UserSerializer,
    key_options,
    validated,
)
from organizations.auth import tokens
from organizations.auth.ratelimits import SIGNUPS
from organizations.auth.second_factor import refuse_without_code, totp_state
from organizations.auth.tokens import Token, TokenRequest
from organizations.errors import KeyNotFound, SignupDisabled, TotpInvalid, WouldLockOut
from organizations.models import ApiKey, Membership, SecondFactor, User
from organizations.operations import (
    create_key,
    create_organization_with_admin,
    create_user,
    delete_key,
    effects_of,
    had_key,
    update_key,
    use_totp,
)
from organizations.permissions import Permission, Requirement
from rokka.core import ratelimits
from rokka.core.addresses import client_key
from rokka.core.errors import InvalidInput
from rokka.core.openapi import errors, extend_schema
from rokka.core.parsers import parse_flag, parse_uuid

TOKEN_PARAMETERS = [
    OpenApiParameter(
        "expires_in", {"type": "integer", "minimum": 1, "default": tokens.LIFETIME}, description="Lifetime in seconds."
    ),
    OpenApiParameter("renewable", OpenApiTypes.BOOL, description="Default: true if the token is bound to addresses."),
    OpenApiParameter("no_ip_protection", OpenApiTypes.BOOL, description="true: valid from any address."),
    OpenApiParameter("ips", OpenApiTypes.STR, description="Comma-separated addresses, networks or `request_ip`."),
]


MAX_ORGANIZATIONS, MAX_MEMBERSHIPS = 50, 1000  # of the list of keys of members
FORCE = OpenApiParameter("force", OpenApiTypes.BOOL, description="true: even if it locks out the key of this request.")


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
        ratelimits.hit((SIGNUPS, client_key(address_of(request))))
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
        "post_token": Requirement.CREDENTIALS,
        "keys": Requirement.ACCOUNT,
        "add_key": Requirement.ACCOUNT,
        "change_key": Requirement.ACCOUNT,
        "delete_key": Requirement.ACCOUNT,
        "current_key": Requirement.ACCOUNT,
        "key_effects": Requirement.ACCOUNT,
        "memberships": Requirement.ACCOUNT,
        "admin_keys": Requirement.ACCOUNT,
    }
    actions_without_code = {"token", "post_token"}

    @extend_schema(summary="Get the current user", responses={200: UserSerializer, **errors(401, 403, 429)})
    def retrieve(self, request: Request) -> Response:
        """Returns the user of the API key. Public users get only their ID, unless the key is trusted."""
        data = {"user_id": str(self.caller.pk)}
        if not self.manages_account:
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
        """A user can have five keys. The key is returned only in this response.

        A key made with a token has at least the restrictions of the key of the token.
        """
        self.check_can_manage_keys()
        fields = self.validated_body(NewKeySerializer)
        options = key_options(fields, limit=self.key_limit)
        row, key = create_key(self.caller, comment=fields.get("comment") or "", options=options, actor=self.actor)
        return Response(KeySerializer(row).data | {"api_key": key}, status=status.HTTP_201_CREATED)

    @extend_schema(
        summary="Change the restrictions of an API key",
        parameters=[FORCE],
        request=KeyChangeSerializer,
        responses={200: ChangedKeySerializer, **errors(400, 401, 403, 404, 413, 429)},
    )
    def change_key(self, request: Request, key_id: str) -> Response:
        """Changes apply immediately, also to tokens issued before. Options that are not sent are unchanged."""
        self.check_can_manage_keys()
        force = parse_flag("force", request.query_params.get("force", "").strip())
        changes = self.validated_body(KeyChangeSerializer, context={"force": force})
        try:
            key = update_key(self.caller, key_id, changes, limit=self.key_limit, force=force, actor=self.actor)
        except WouldLockOut as error:
            raise WouldLockOut(f"{error.message} Send force=true to lock out the key of this request.") from error
        return Response(ChangedKeySerializer(key).data)

    @extend_schema(summary="Delete an API key", responses={204: None, **errors(401, 403, 404, 409, 429)})
    def delete_key(self, request: Request, key_id: str) -> Response:
        """The key and all tokens issued for it stop working immediately. The key of this request can't be deleted."""
        self.check_can_manage_keys()
        delete_key(self.caller, key_id, actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        summary="List what was made with an API key",
        responses={200: KeyEffectsSerializer, **errors(401, 403, 404, 429)},
    )
    def key_effects(self, request: Request, key_id: str) -> Response:
        """Also for a key that was deleted, for example because it had leaked.

        Returns only what the caller may see in each organization now.
        """
        not_found = KeyNotFound("API key not found.")
        key = parse_uuid("key_id", key_id, error=not_found)
        if not had_key(self.caller, key):
            raise not_found
        granted = {one.organization_id: one.granted for one in self.caller.memberships.filter(active=True)}
        context = {
            name: {organization for organization, permissions in granted.items() if permission in permissions}
            for name, permission in {
                "sees": Permission.ORGANIZATION_READ_BASIC,
                "sees_members_of": Permission.MEMBERSHIPS_READ,
                "sees_images_of": Permission.IMAGES_READ,
            }.items()
        }
        return Response(KeyEffectsSerializer(effects_of(key), context=context).data)

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
        return self._token(request)

    @extend_schema(
        summary="Get a token with POST",
        parameters=TOKEN_PARAMETERS,
        request=SecondFactorSerializer,
        responses={200: TokenSerializer, **errors(400, 401, 403, 413, 429)},
    )
    def post_token(self, request: Request) -> Response:
        """The same as GET, with a code of the second factor in the body if the key requires one.

        Options are in the query. The body can be empty.
        """
        return self._token(request, validated(SecondFactorSerializer, request.data).get("totp"))

    def _token(self, request: Request, code: str | None = None) -> Response:
        options = token_options(request)
        if self.code_missing and (code is None or totp_state(self.caller.pk) != SecondFactor.State.ACTIVE):
            refuse_without_code(self.caller.pk)
        if code is not None and not (self.code_missing or self.manages_account):
            # Anyone may have the key of a public user, and could block the codes of its trusted keys with wrong ones.
            raise TotpInvalid("This key belongs to a public user and needs no code. Leave out totp.")
        token = self._new_token(options, address_of(request))
        if code is not None:
            use_totp(self.caller, code)
            token = replace(token, mfa=True)
        return Response({"token": token.signed(), "payload": token.payload})

    def _new_token(self, options: TokenRequest, address: str) -> Token:
        key = api_key_for(self.credentials)
        if self.credentials.token:
            return tokens.renew(self.credentials.token, options, address=address, key_expires=key.expires)
        return tokens.issue(self.caller.pk, key.pk, options, address=address, key_expires=key.expires)

    @extend_schema(
        summary="List the memberships of the current user",
        responses={200: OwnMembershipsSerializer, **errors(401, 403, 429)},
    )
    def memberships(self, request: Request) -> Response:
        """Returns the organizations of the user and the user's roles there."""
        memberships = self.caller.memberships.select_related("organization").order_by("organization__name")
        items = OwnMembershipSerializer(memberships, many=True).data
        return Response({"total": len(items), "items": items})

    @extend_schema(
        summary="List the API keys of members",
        responses={200: MembersKeysSerializer, **errors(401, 403, 429)},
    )
    def admin_keys(self, request: Request) -> Response:
        """Returns members and their keys, without secrets, of all organizations that the caller administers."""
        memberships, truncated = memberships_administered_by(self.caller)
        items = MemberKeysSerializer(memberships, many=True).data
        return Response({"total": len(items), "truncated": truncated, "items": items})


def memberships_administered_by(user: User) -> tuple[list[Membership], bool]:
    """The memberships of organizations in which the user may see members, and whether there are more of them.

    At most MAX_ORGANIZATIONS and MAX_MEMBERSHIPS, by the name of the organization, oldest members first. Organizations
    whose membership the user has not accepted are last, so that strangers can't push the user's own off the list.
    """
    own = user.memberships.filter(active=True).order_by("organization__name")
    administered = [one for one in own if Permission.MEMBERSHIPS_READ in one.granted]
    administered.sort(key=lambda one: one.accepted_at is None)
    keys = Prefetch("user__api_keys", ApiKey.objects.order_by("created", "id"))
    found = Membership.objects.select_related("organization", "user").prefetch_related(keys)
    memberships: list[Membership] = []
    for pending in (False, True):
        ids = [one.organization_id for one in administered[:MAX_ORGANIZATIONS] if (one.accepted_at is None) == pending]
        if ids:
            members = found.filter(organization__in=ids).order_by("organization__name", "created", "id")
            memberships += members[: MAX_MEMBERSHIPS + 1 - len(memberships)]
    truncated = len(administered) > MAX_ORGANIZATIONS or len(memberships) > MAX_MEMBERSHIPS
    return memberships[:MAX_MEMBERSHIPS], truncated


def token_options(request: Request) -> TokenRequest:
    """Read the token options in the query. Raises InvalidInput naming the parameter."""
    query = request.query_params
    if "totp" in query:
        raise InvalidInput("totp: must not be in the URL, which servers log. Send it in the body of a POST.")
    for parameter in TOKEN_PARAMETERS:
        if len(query.getlist(parameter.name)) > 1:  # the first one could be the restriction
            raise InvalidInput(f"{parameter.name}: must be in the URL only once.")
    seconds, renewable = query.get("expires_in", "").strip(), query.get("renewable", "").strip()
    if seconds and not (seconds.isascii() and seconds.isdigit() and len(seconds) < 18):
        raise InvalidInput("expires_in: must be an integer number of seconds.")
    return TokenRequest(
        expires_in=int(seconds) if seconds else None,
        renewable=parse_flag("renewable", renewable) if renewable else None,
        no_ip_protection=parse_flag("no_ip_protection", query.get("no_ip_protection", "").strip()),
        ips=tuple(entry for part in query.get("ips", "").split(",") if (entry := part.strip())),
    )
