"""Who sits in the back-office and what they may do there: superusers everything, others what their roles grant."""

from functools import cached_property
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest

from organizations import permissions
from organizations.audit import Actor, staff_actor
from organizations.auth.consent import accept
from organizations.errors import MembershipNotAccepted, OrganizationNotFound, RoleMissing
from organizations.models import Membership, Organization, User
from organizations.permissions import Permission

ALL_PERMISSIONS = frozenset(Permission)


class StaffAccess:
    """A person who is logged in. Memberships are read once for a request."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.superuser = user.is_active and user.is_staff and user.is_superuser

    @cached_property
    def memberships(self) -> dict[UUID, Membership]:
        if not (self.user.is_active and self.user.is_staff):
            return {}
        return {one.organization_id: one for one in self.user.memberships.filter(active=True)}

    def granted(self, organization_id: UUID) -> frozenset[Permission]:
        if self.superuser:
            return ALL_PERMISSIONS
        membership = self.memberships.get(organization_id)
        return membership.granted if membership else frozenset()

    def has_permission(self, permission: Permission, organization: Organization | UUID) -> bool:
        return permission in self.granted(organization.pk if isinstance(organization, Organization) else organization)

    def has_permission_anywhere(self, permission: Permission) -> bool:
        return self.superuser or any(permission in one.granted for one in self.memberships.values())

    def organizations(self, permission: Permission) -> QuerySet[Organization]:
        """Those in which this person may do it."""
        if self.superuser:
            return Organization.objects.all()
        return Organization.objects.filter(pk__in=self.organization_ids_with(permission))

    def organization_ids_with(self, permission: Permission) -> list[UUID]:
        """The same for people with memberships, without asking the database again."""
        return [key for key, one in self.memberships.items() if permission in one.granted]

    def organization(self, name: str, *needed: Permission) -> Organization:
        """The organization of this name, in which the person may do one of what is `needed`.

        Raises OrganizationNotFound for what is none of theirs, there or not, and RoleMissing.
        """
        found = Organization.objects.filter(name=name).first()
        if found is None or not self.granted(found.pk):
            raise OrganizationNotFound(name)
        self.check(found, *needed)
        return found

    def destinations(self) -> QuerySet[Organization]:
        """Organizations that this person may copy to. Those that others made them a member of have to be accepted."""
        if self.superuser:
            return Organization.objects.all()
        accepted = {key for key, one in self.memberships.items() if one.accepted_at}
        return Organization.objects.filter(
            pk__in=accepted.intersection(self.organization_ids_with(Permission.IMAGES_COPY_TO))
        )

    def destination(self, name: str) -> Organization:
        """One of them. Raises OrganizationNotFound, RoleMissing, MembershipNotAccepted."""
        organization = self.organization(name, Permission.IMAGES_COPY_TO)
        if not self.destinations().filter(pk=organization.pk).exists():
            raise MembershipNotAccepted(
                f"You have not accepted your membership in {name!r} yet. Open the page of the organization first."
            )
        return organization

    def enter(self, organization: Organization) -> None:
        """The person looks at the page of the organization, which accepts the membership."""
        membership = self.memberships.get(organization.pk)
        if membership is not None and membership.accepted_at is None and accept(membership.pk, self.user):
            del self.memberships

    def check(self, organization: Organization, *needed: Permission) -> None:
        """Raises RoleMissing."""
        if needed and self.granted(organization.pk).isdisjoint(needed):
            roles = ", ".join(permissions.roles_granting(*needed))
            raise RoleMissing(f"Your roles in {organization.name!r} do not allow this. It takes one of: {roles}.")

    def check_anywhere(self, needed: Permission) -> None:
        """Raises RoleMissing."""
        if not self.has_permission_anywhere(needed):
            raise RoleMissing(
                "You are a member of no organization in which your roles allow this. Ask one of its admins."
            )


def staff_of(request: HttpRequest) -> StaffAccess:
    """The person who is logged in, the same object for the whole request."""
    if (known := getattr(request, "staff", None)) is None:
        known = request.staff = StaffAccess(request.user)  # type: ignore[attr-defined,arg-type]
    return known


def actor_of(request: HttpRequest) -> Actor:
    """The same person, as the audit trail knows them."""
    address, request_id = request.META.get("REMOTE_ADDR") or None, request.META.get("rokka.request_id", "")
    return staff_actor(staff_of(request).user, address=address, request_id=request_id)
