"""Staff users and their permissions in the admin."""

import pytest
from django.test import RequestFactory

from organizations.auth.staff import StaffAccess, actor_of, staff_of
from organizations.errors import OrganizationNotFound, RoleMissing
from organizations.models import Membership, Organization
from organizations.permissions import ROLE_PERMISSIONS, Permission, Role
from tests.support.staff import helper, superuser

pytestmark = pytest.mark.any_database


@pytest.fixture
def other(charlie):
    return Organization.objects.get(name="other")


@pytest.mark.parametrize("role", Role)
def test_roles_grant_in_their_organization_what_they_grant_in_the_api(acme, other, role):
    staff = StaffAccess(helper(acme, role))
    assert staff.granted(acme.pk) == ROLE_PERMISSIONS[role]
    assert staff.granted(other.pk) == frozenset()
    for permission in Permission:
        allowed = permission in ROLE_PERMISSIONS[role]
        assert staff.has_permission(permission, acme) is staff.has_permission(permission, acme.pk) is allowed
        assert staff.has_permission_anywhere(permission) is allowed
        assert staff.organization_ids_with(permission) == ([acme.pk] if allowed else [])
        assert list(staff.organizations(permission)) == ([acme] if allowed else [])


def test_superusers_have_all_permissions_everywhere(acme, other):
    staff = StaffAccess(superuser())
    assert staff.granted(other.pk) == frozenset(Permission)
    assert set(staff.organizations(Permission.IMAGES_READ)) == {acme, other}
    assert staff.organization("acme", Permission.MEMBERSHIPS_WRITE) == acme


@pytest.mark.parametrize("missing", ["is_active", "is_staff"])
def test_only_active_staff_users_have_permissions(acme, missing):
    for user in (helper(acme, Role.ADMIN), superuser()):
        setattr(user, missing, False)
        assert not StaffAccess(user).superuser
        assert StaffAccess(user).granted(acme.pk) == frozenset()
        assert not any(StaffAccess(user).has_permission_anywhere(permission) for permission in Permission)


def test_an_inactive_membership_grants_nothing(acme):
    staff = StaffAccess(helper(acme, Role.ADMIN, active=False))
    assert staff.granted(acme.pk) == frozenset()
    with pytest.raises(OrganizationNotFound):
        staff.organization("acme")


def test_organizations_of_others_are_not_found(acme, other):
    staff = StaffAccess(helper(acme, Role.ADMIN))
    told = []
    for name in ("other", "nothing"):
        with pytest.raises(OrganizationNotFound) as error:
            staff.organization(name, Permission.IMAGES_READ)
        told.append(error.value.message.replace(name, ""))
    assert told[0] == told[1]


def test_a_refusal_names_the_roles_that_grant_the_permission(acme):
    staff = StaffAccess(helper(acme, Role.READ))
    staff.check(acme, Permission.IMAGES_WRITE, Permission.IMAGES_READ)  # one of them is enough
    with pytest.raises(RoleMissing, match=r"admin, write, sourceimages:write\.$"):
        staff.check(acme, Permission.IMAGES_WRITE)
    with pytest.raises(RoleMissing):
        staff.check_anywhere(Permission.IMAGES_WRITE)
    staff.check_anywhere(Permission.IMAGES_READ)


def test_memberships_are_read_once(acme, other, django_assert_num_queries):
    user = helper(acme, Role.READ)
    Membership.objects.create(organization=other, user=user, roles=[Role.WRITE])
    request = RequestFactory().get("/admin/")
    request.user = user
    with django_assert_num_queries(1):
        assert staff_of(request).has_permission(Permission.IMAGES_READ, acme)
        assert staff_of(request).has_permission(Permission.IMAGES_WRITE, other)
        assert not staff_of(request).has_permission(Permission.IMAGES_WRITE, acme)


def test_the_audit_log_has_the_user_and_the_address(acme):
    request = RequestFactory().post("/admin/", REMOTE_ADDR="192.0.2.1")
    request.user, request.META["rokka.request_id"] = helper(acme), "abc"
    actor = actor_of(request)
    assert (actor.source, actor.user, actor.address, actor.request_id) == ("staff", request.user, "192.0.2.1", "abc")
