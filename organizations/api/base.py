"""Base viewsets of the API. They authenticate, check permissions and apply rate limits before any action runs."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.viewsets import GenericViewSet

from organizations.api.authentication import address_of, api_key_for, credentials
from organizations.api.serializers import validated
from organizations.audit import Actor
from organizations.auth.consent import is_public
from organizations.auth.credentials import Credentials, resolve_access
from organizations.auth.ratelimits import FAILURES, PER_ADDRESS, PER_KEY, PER_ORGANIZATION
from organizations.auth.restrictions import KeyLimit, restrictions_of
from organizations.errors import (
    InvalidOrganizationName,
    NotAMember,
    OrganizationNotFound,
    PublicUser,
    RoleMissing,
    TokenNotAllowed,
)
from organizations.models import ORGANIZATION_NAME, AuditEvent, Organization, User
from organizations.permissions import Permission, Requirement
from rokka.core import ratelimits
from rokka.core.addresses import client_key
from rokka.core.errors import FeatureUnavailable, InvalidInput, Unauthenticated
from rokka.core.methods import PlainOptions
from rokka.core.openapi import errors, extend_schema
from rokka.core.ratelimits import RateLimitState

NO_CREDENTIALS = Credentials()


class AuthenticatedViewSet(PlainOptions, GenericViewSet):
    """A viewset that authenticates, authorizes and rate-limits the caller before anything else.

    `required_permissions` maps each action to what it requires; of a tuple of permissions, one is enough. An action
    without an entry answers 405.
    """

    tag: ClassVar[str]  # of the actions in the OpenAPI document
    required_permissions: ClassVar[Mapping[str, Requirement | Permission | tuple[Permission, ...]]]
    # Actions for keys that require a code of the second factor even without it.
    actions_without_code: ClassVar[set[str]] = set()
    unthrottled_actions: ClassVar[set[str]] = set()  # actions that never answer 429

    credentials: Credentials = NO_CREDENTIALS
    user: User | None = None
    key_id: UUID | None = None
    trusted: bool = False  # the key manages the account even if the user is public
    code_missing: bool = False  # the key requires a code, in one of `actions_without_code`
    allowance: RateLimitState | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        try:
            super().initial(request, *args, **kwargs)
        except Unauthenticated:
            if self.action not in self.unthrottled_actions:
                ratelimits.hit((FAILURES, client_key(address_of(request))))
            raise

    @property
    def required_permission(self) -> Requirement | Permission | tuple[Permission, ...]:
        """What the action requires.

        An unknown action requires credentials, unless all actions of the viewset are anonymous.
        """
        public = all(required == Requirement.ANONYMOUS for required in self.required_permissions.values())
        return self.required_permissions.get(
            self.action or "", Requirement.ANONYMOUS if public else Requirement.CREDENTIALS
        )

    def perform_authentication(self, request: Request) -> None:
        if self.required_permission == Requirement.ANONYMOUS:
            self._set_caller(request, None, None)
            return
        without_code = self.action in self.actions_without_code
        self.credentials = replace(credentials(request), without_code=without_code)
        key = api_key_for(self.credentials)
        self.code_missing = self.credentials.code_missing(key.requires_mfa)
        self._set_caller(request, key.user, key.pk, trusted=key.trusted)

    def check_permissions(self, request: Request) -> None:
        if self.action not in self.required_permissions:
            raise MethodNotAllowed(request.method or "")
        match self.required_permission:
            case Requirement.ACCOUNT:
                allowed = self.manages_account
            case Requirement.NOT_PUBLIC:
                allowed = not is_public(self.caller)
            case _:
                allowed = True
        if not allowed:
            raise PublicUser("This key belongs to a public user, which can't view or change its account.")

    def check_throttles(self, request: Request) -> None:
        if self.action not in self.unthrottled_actions:
            self.allowance = ratelimits.hit(*self.throttle_keys())

    def validated_body(self, serializer_class: type[Serializer], **options: Any) -> dict[str, Any]:
        """Validate the body. Its members are refused in the query, where they would be ignored. Raises InvalidInput."""
        for name in serializer_class().get_fields():
            if name in self.request.query_params:
                raise InvalidInput(f"{name}: must be in the body, not in the URL.")
        return validated(serializer_class, self.request.data, **options)

    def throttle_keys(self) -> list[tuple[ratelimits.Limit, str]]:
        if self.key_id is None:
            return [(PER_ADDRESS, client_key(address_of(self.request)))]
        return [(PER_KEY, self.key_id.hex)]

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        if self.allowance is not None:
            response.headers.setdefault("X-RateLimit-Limit", str(self.allowance.limit))  # a refusal has its own
            response.headers.setdefault("X-RateLimit-Remaining", str(self.allowance.remaining))
        return super().finalize_response(request, response, *args, **kwargs)

    @property
    def caller(self) -> User:
        """The user who calls an action that requires credentials."""
        assert self.user is not None  # noqa: S101 (perform_authentication has set it)
        return self.user

    @property
    def manages_account(self) -> bool:
        """Whether the key is secret enough to view and change the account of its user."""
        return self.trusted or not is_public(self.caller)

    @property
    def key_limit(self) -> KeyLimit | None:
        """What new keys are limited to, if the request is made with a token, or with a key that a token made."""
        key = api_key_for(self.credentials)
        return KeyLimit(restrictions_of(key), key.trusted) if self.credentials.token or key.from_token else None

    def check_can_manage_keys(self, what: str = "manage API keys and second factors") -> None:
        """Raise TokenNotAllowed for tokens, if they can't give lasting access on this server."""
        if self.credentials.token and not settings.TOKENS_MANAGE_KEYS:
            raise TokenNotAllowed(f"Tokens can't {what} on this server. Use your API key.")

    @property
    def actor(self) -> Actor:
        return Actor(
            AuditEvent.Source.API,
            user=self.user,
            api_key_id=self.key_id,
            address=address_of(self.request) or None,
            request_id=self.request.META.get("rokka.request_id", ""),
            token=self.credentials.token.fingerprint if self.credentials.token else "",
        )

    def _set_caller(self, request: Request, user: User | None, key_id: UUID | None, *, trusted: bool = False) -> None:
        self.user, self.key_id, self.trusted = user, key_id, trusted
        request.user, request.auth = user, key_id  # type: ignore[assignment]


class OrganizationScope(AuthenticatedViewSet):
    """A viewset below `/…/{org}`: resolves the organization and the membership before anything else is looked up."""

    organization: Organization
    granted_permissions: frozenset[Permission]

    def perform_authentication(self, request: Request) -> None:
        """Resolve user and permissions in one query; only a refused request runs more, to find the reason."""
        if isinstance(self.required_permissions.get(self.action or ""), Requirement):
            return super().perform_authentication(request)
        name = self.kwargs["organization"]
        self.credentials = credentials(request)
        if re.match(ORGANIZATION_NAME, name) and (access := resolve_access(self.credentials, name)):
            self.organization, self.granted_permissions = access.organization, access.granted
            return self._set_caller(request, access.user, access.key_id, trusted=access.trusted)
        api_key_for(self.credentials)
        raise access_error(name)

    def check_permissions(self, request: Request) -> None:
        super().check_permissions(request)
        required = self.required_permission
        if isinstance(required, Requirement):
            return
        if not self.granted(*(required if isinstance(required, tuple) else (required,))):
            raise RoleMissing(f"Your roles in {self.organization.name!r} do not allow this.")

    def throttle_keys(self) -> list[tuple[ratelimits.Limit, str]]:
        organization = getattr(self, "organization", None)
        return super().throttle_keys() + ([(PER_ORGANIZATION, organization.pk.hex)] if organization else [])

    def granted(self, *permissions: Permission) -> bool:
        """Return whether the caller has at least one of the permissions in the organization."""
        return not self.granted_permissions.isdisjoint(permissions)


def unsupported_action(
    summary: str,
    message: str,
    *,
    parameters: list[OpenApiParameter],
    lookup: Callable[..., object] | None = None,
) -> Callable[..., Response]:
    """An action for an endpoint of rokka.io that this server does not support.

    It raises FeatureUnavailable once the caller is authorized. `lookup(organization, *path_parameters)` can raise
    NotFound before that.
    """

    def action(self: OrganizationScope, request: Request, organization: str, **path_parameters: str) -> Response:
        if lookup is not None:
            lookup(self.organization, *path_parameters.values())
        raise FeatureUnavailable(message)

    schema = extend_schema(
        summary=summary,
        description=f"Not supported: always refused with `feature_unavailable`. {message}",
        parameters=parameters,
        request=None,
        responses=errors(400, 401, 403, 404, 429),
    )
    return schema(action)


def access_error(name: str) -> Exception:
    """The error for a caller with valid credentials but no access to the organization of this name."""
    if not re.match(ORGANIZATION_NAME, name):
        return InvalidOrganizationName(name)
    if not Organization.objects.filter(name=name).exists():
        return OrganizationNotFound(name)
    return NotAMember(f"You are not a member of {name!r}.")
