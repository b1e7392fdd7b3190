"""The one place that decides whether a caller may come near an organization at all."""

import re
from typing import Any, ClassVar, cast

from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.viewsets import GenericViewSet

from organizations.audit import Actor
from organizations.errors import InvalidOrganizationName, NotAMember, OrganizationNotFound, RoleMissing
from organizations.models import ORGANIZATION_NAME, ApiKey, AuditEvent, Membership, Organization, User
from organizations.permissions import Permission


class OrganizationScope(GenericViewSet):
    """A viewset below `/…/{org}`: resolves organization and membership, and refuses before anything is looked up.

    `needs` names the permission of each action; an action that names none is refused to everybody.
    """

    needs: ClassVar[dict[str, Permission]]

    organization: Organization
    membership: Membership

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.membership = self._membership(request, kwargs["organization"])
        self.organization = self.membership.organization
        if self.action not in self.needs:
            raise MethodNotAllowed(request.method or "")
        if not self.granted(self.needs[self.action]):
            raise RoleMissing(f"Your roles in {self.organization.name!r} do not allow this.")

    def granted(self, permission: Permission) -> bool:
        return permission in self.membership.granted

    @property
    def actor(self) -> Actor:
        return Actor(
            AuditEvent.Source.API,
            user=cast(User, self.request.user),
            api_key=cast(ApiKey, self.request.auth),
            address=self.request.META.get("REMOTE_ADDR") or None,
            request_id=self.request.META.get("rokka.request_id", ""),
        )

    def _membership(self, request: Request, name: str) -> Membership:
        membership = (
            Membership.objects.select_related("organization")
            .filter(user=cast(User, request.user), organization__name=name, active=True)
            .first()
        )
        if membership is not None:
            return membership
        if not re.match(ORGANIZATION_NAME, name):
            raise InvalidOrganizationName(name)
        if not Organization.objects.filter(name=name).exists():
            raise OrganizationNotFound(name)
        raise NotAMember(f"You are not a member of {name!r}.")
