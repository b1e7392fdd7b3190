"""The one place that decides whether a caller may come near an organization at all."""

import re
from typing import Any, ClassVar, cast
from uuid import UUID

from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.viewsets import GenericViewSet

from organizations.api.authentication import sent_key
from organizations.audit import Actor
from organizations.errors import InvalidOrganizationName, NotAMember, OrganizationNotFound, RoleMissing
from organizations.models import ORGANIZATION_NAME, AuditEvent, Membership, Organization, User
from organizations.permissions import Permission


class OrganizationScope(GenericViewSet):
    """A viewset below `/…/{org}`: resolves organization and membership, and refuses before anything is looked up.

    `needs` names the permission of each action; an action that names none does not exist.
    """

    needs: ClassVar[dict[str, Permission]]

    organization: Organization
    membership: Membership

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.organization = self.membership.organization
        if self.action not in self.needs:
            raise MethodNotAllowed(request.method or "")
        if not self.granted(self.needs[self.action]):
            raise RoleMissing(f"Your roles in {self.organization.name!r} do not allow this.")

    def perform_authentication(self, request: Request) -> None:
        """Who calls and what they may do here are one question; only a refusal asks again, to say why."""
        name = self.kwargs["organization"]
        if re.match(ORGANIZATION_NAME, name):
            for membership in Membership.objects.of_key(sent_key(request), name):  # one, or none
                self.membership = membership
                request.user, request.auth = membership.user, membership.key_id
                return
        super().perform_authentication(request)
        raise self._refusal(name)

    def granted(self, permission: Permission) -> bool:
        return permission in self.membership.granted

    @property
    def actor(self) -> Actor:
        return Actor(
            AuditEvent.Source.API,
            user=cast(User, self.request.user),
            api_key_id=cast(UUID, self.request.auth),
            address=self.request.META.get("REMOTE_ADDR") or None,
            request_id=self.request.META.get("rokka.request_id", ""),
        )

    def _refusal(self, name: str) -> Exception:
        if not re.match(ORGANIZATION_NAME, name):
            return InvalidOrganizationName(name)
        if not Organization.objects.filter(name=name).exists():
            return OrganizationNotFound(name)
        return NotAMember(f"You are not a member of {name!r}.")
