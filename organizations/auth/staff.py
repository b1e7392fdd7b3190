"""Permissions of staff users in the admin: superusers have all, others those of their roles."""

from functools import cached_property
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet, Value
from django.http import HttpRequest

from organizations import permissions
from organizations.audit import Actor, staff_actor
from organizations.auth.consent import accept
from organizations.auth.second_factor import active_factor
from organizations.errors import MembershipNotAccepted, OrganizationNotFound, RoleMissing
from organizations.models import Membership, Organization, SecondFactor, User
from organizations.permissions import Permission

ALL_PERMISSIONS = frozenset(Permission)


class StaffAccess:
    """A logged-in staff user. Memberships are read once per request."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.superuser = user.is_active and user.is_staff and user.is_superuser

    @cached_property
    def memberships(self) -> dict[UUID, Membership]:
        if not (self.user.is_active and self.user.is_staff):
            return {}
        return {one.organization_id: one for one in self.user.memberships.filter(active=True)}

    @cached_property
    def second_factor(self) -> SecondFactor | None:
        """The active second factor of the user."""
        return active_factor(self.user)

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
        """Return the organizations in which the user has the permission."""
        if self.superuser:
            return Organization.objects.all()
        return Organization.objects.filter(pk__in=self.organization_ids_with(permission))

    def organization_ids_with(self, permission: Permission, *, accepted: bool = False) -> list[UUID]:
        """Return the IDs of the organizations in which a role of the user grants the permission; no extra query.

        With `accepted`, without those that a stranger has added the user to.
        """
        return [
            key
            for key, one in self.memberships.items()
            if permission in one.granted and (one.accepted_at is not None or not accepted)
        ]

    def organization(self, name: str, *needed: Permission) -> Organization:
        """Return the organization of this name, in which the user has one of the `needed` permissions.

        Raises OrganizationNotFound if it does not exist or the user is not a member, and RoleMissing.
        """
        organization = Organization.objects.filter(name=name).first()
        if organization is None or not self.granted(organization.pk):
            raise OrganizationNotFound(name)
        self.check(organization, *needed)
        return organization

    def destinations(self) -> QuerySet[Organization]:
        """Return the organizations the user can copy to. Memberships that others created must be accepted first."""
        if self.superuser:
            return Organization.objects.all()
        accepted = {key for key, one in self.memberships.items() if one.accepted_at}
        return Organization.objects.filter(
            pk__in=accepted.intersection(self.organization_ids_with(Permission.IMAGES_COPY_TO))
        )

    def destination(self, name: str) -> Organization:
        """Return one of the destinations. Raises OrganizationNotFound, RoleMissing, MembershipNotAccepted."""
        organization = self.organization(name, Permission.IMAGES_COPY_TO)
        if not self.destinations().filter(pk=organization.pk).exists():
            raise MembershipNotAccepted(
                f"You have not accepted your membership in {name!r} yet. Open the organization's page to accept it."
            )
        return organization

    def enter(self, organization: Organization) -> None:
        """Accept the user's membership, if it is pending, because the user has opened the organization's page."""
        membership = self.memberships.get(organization.pk)
        if membership is not None and membership.accepted_at is None and accept(membership.pk, self.user):
            del self.memberships

    def user_name(self, user: User | None, organization: Organization) -> str:
        """The name of a user who did something in the organization, as this user may see it."""
        members = Membership.objects.filter(organization=organization, user=user).exclude(accepted_at=None)
        return visible_name(user, self.superuser or members.exists())

    def check(self, organization: Organization, *needed: Permission) -> None:
        """Check that the user has one of these permissions in the organization. Raises RoleMissing."""
        if needed and self.granted(organization.pk).isdisjoint(needed):
            roles = ", ".join(permissions.roles_granting(*needed))
            raise RoleMissing(f"Your roles in {organization.name!r} do not allow this. Required: one of {roles}.")

    def check_anywhere(self, needed: Permission) -> None:
        """Check that the user has the permission in at least one organization. Raises RoleMissing."""
        if not self.has_permission_anywhere(needed):
            raise RoleMissing(
                "Your roles do not allow this in any organization. Ask an admin of the organization for the role."
            )


def known_user(staff: StaffAccess, field: str = "user") -> Exists | Value:
    """An annotation `user_is_known` of rows of organizations: whether the user in this field is known there.

    A user whom an admin of another organization added, and who has not accepted, isn't. Anyone can use the key of a
    public user there.
    """
    if staff.superuser:
        return Value(True)
    members = Membership.objects.filter(organization=OuterRef("organization"), user=OuterRef(field))
    return Exists(members.exclude(accepted_at=None))


def visible_name(user: User | None, is_known: bool) -> str:
    """The username; or the email, which staff see only of users who are known to the organization; or else the ID."""
    if user is None:
        return ""
    return str(user) if is_known else user.username or str(user.pk)


def staff_of(request: HttpRequest) -> StaffAccess:
    """Return the access of the logged-in user, cached on the request."""
    if (staff := getattr(request, "staff", None)) is None:
        staff = request.staff = StaffAccess(request.user)  # type: ignore[attr-defined,arg-type]
    return staff


def actor_of(request: HttpRequest, user: User | None = None) -> Actor:
    """Return the user, by default the logged-in one, as an actor for the audit log."""
    address, request_id = request.META.get("REMOTE_ADDR") or None, request.META.get("rokka.request_id", "")
    return staff_actor(user or staff_of(request).user, address=address, request_id=request_id)
