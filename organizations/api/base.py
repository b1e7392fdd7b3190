"""The one place that decides whether a caller may come near something at all: each viewset of the API is a scope."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from organizations.api.authentication import address_of, api_key_for, credentials
from organizations.audit import Actor
from organizations.auth.consent import is_public
from organizations.auth.credentials import Credentials, resolve_access
from organizations.auth.ratelimits import FAILURES, PER_ADDRESS, PER_KEY, PER_ORGANIZATION
from organizations.errors import InvalidOrganizationName, NotAMember, OrganizationNotFound, PublicUser, RoleMissing
from organizations.models import ORGANIZATION_NAME, AuditEvent, Organization, User
from organizations.permissions import Permission, Requirement
from rokka.core import ratelimits
from rokka.core.errors import Unauthenticated
from rokka.core.methods import PlainOptions
from rokka.core.ratelimits import RateLimitState


class AuthenticatedViewSet(PlainOptions, GenericViewSet):
    """A viewset that finds out who calls and whether they may, and counts how often, before anything else.

    `needs` names what each action asks for, several permissions meaning one of them; an action that names nothing
    does not exist.
    """

    tag: ClassVar[str]  # under which the OpenAPI document has the actions
    required_permissions: ClassVar[Mapping[str, Requirement | Permission | tuple[Permission, ...]]]
    unthrottled_actions: ClassVar[set[str]] = set()  # actions that are never answered 429

    credentials: Credentials
    user: User | None = None
    key_id: UUID | None = None
    allowance: RateLimitState | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        try:
            super().initial(request, *args, **kwargs)
        except Unauthenticated:
            if self.action not in self.unthrottled_actions:
                ratelimits.hit((FAILURES, address_of(request)))
            raise

    @property
    def required_permission(self) -> Requirement | Permission | tuple[Permission, ...]:
        """What the action asks for. Who calls what does not exist is asked who they are, if anybody is here."""
        public = all(need == Requirement.ANONYMOUS for need in self.required_permissions.values())
        return self.required_permissions.get(
            self.action or "", Requirement.ANONYMOUS if public else Requirement.CREDENTIALS
        )

    def perform_authentication(self, request: Request) -> None:
        if self.required_permission == Requirement.ANONYMOUS:
            self._set_caller(request, None, None)
            return
        self.credentials = credentials(request)
        key = api_key_for(self.credentials)
        self._set_caller(request, key.user, key.pk)

    def check_permissions(self, request: Request) -> None:
        if self.action not in self.required_permissions:
            raise MethodNotAllowed(request.method or "")
        if self.required_permission == Requirement.ACCOUNT and self.user is not None and is_public(self.user):
            raise PublicUser("This key is meant to be public, by its roles: it cannot see or change an account.")

    def check_throttles(self, request: Request) -> None:
        if self.action not in self.unthrottled_actions:
            self.allowance = ratelimits.hit(*self.throttle_keys())

    def throttle_keys(self) -> list[tuple[ratelimits.Limit, str]]:
        if self.key_id is None:
            return [(PER_ADDRESS, address_of(self.request))]
        return [(PER_KEY, self.key_id.hex)]

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        if self.allowance is not None:
            response["X-RateLimit-Limit"] = str(self.allowance.limit)
            response["X-RateLimit-Remaining"] = str(self.allowance.remaining)
        return super().finalize_response(request, response, *args, **kwargs)

    @property
    def caller(self) -> User:
        """Who calls an action that asks for credentials."""
        assert self.user is not None  # noqa: S101 (such an action is not reached without)
        return self.user

    @property
    def actor(self) -> Actor:
        return Actor(
            AuditEvent.Source.API,
            user=self.user,
            api_key_id=self.key_id,
            address=address_of(self.request) or None,
            request_id=self.request.META.get("rokka.request_id", ""),
        )

    def _set_caller(self, request: Request, user: User | None, key_id: UUID | None) -> None:
        self.user, self.key_id = user, key_id
        request.user, request.auth = user, key_id  # type: ignore[assignment]


class OrganizationScope(AuthenticatedViewSet):
    """A viewset below `/…/{org}`: resolves organization and membership, and refuses before anything is looked up."""

    organization: Organization
    granted_permissions: frozenset[Permission]

    def perform_authentication(self, request: Request) -> None:
        """Who calls and what they may do here are one question; only a refusal asks again, to say why."""
        if isinstance(self.required_permissions.get(self.action or ""), Requirement):
            return super().perform_authentication(request)
        name = self.kwargs["organization"]
        self.credentials = credentials(request)
        if re.match(ORGANIZATION_NAME, name) and (found := resolve_access(self.credentials, name)):
            self.organization, self.granted_permissions = found.organization, found.granted
            return self._set_caller(request, found.user, found.key_id)
        api_key_for(self.credentials)
        raise access_error(name)

    def check_permissions(self, request: Request) -> None:
        super().check_permissions(request)
        need = self.required_permission
        if not isinstance(need, Requirement) and not self.granted(*(need if isinstance(need, tuple) else (need,))):
            raise RoleMissing(f"Your roles in {self.organization.name!r} do not allow this.")

    def throttle_keys(self) -> list[tuple[ratelimits.Limit, str]]:
        organization = getattr(self, "organization", None)
        return super().throttle_keys() + ([(PER_ORGANIZATION, organization.pk.hex)] if organization else [])

    def granted(self, *permissions: Permission) -> bool:
        """Does the caller have one of these here?"""
        return not self.granted_permissions.isdisjoint(permissions)


def access_error(name: str) -> Exception:
    """Why somebody whose credentials are valid has no access to the organization of this name."""
    if not re.match(ORGANIZATION_NAME, name):
        return InvalidOrganizationName(name)
    if not Organization.objects.filter(name=name).exists():
        return OrganizationNotFound(name)
    return NotAMember(f"You are not a member of {name!r}.")
