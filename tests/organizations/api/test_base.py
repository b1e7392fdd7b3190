"""Access to endpoints: strangers, members without the role, invalid keys."""

import pytest
from rest_framework.test import APIClient

from organizations.permissions import ROLE_PERMISSIONS, Permission, Role, granted
from tests.conftest import Person
from tests.support import images

pytestmark = pytest.mark.any_database

ACTIONS = {
    "upload": ("POST", "/sourceimages/acme"),
    "list": ("GET", "/sourceimages/acme"),
    "binary_hash": ("GET", "/sourceimages/acme/binaryhash/{binary_hash}"),
    "get": ("GET", "/sourceimages/acme/{hash}"),
    "download": ("GET", "/sourceimages/acme/{hash}/download"),
}


def call(person: Person, action: str, image):
    method, path = ACTIONS[action]
    if action == "upload":
        return person.upload("acme", images.png())
    return person.api.generic(method, path.format(hash=image.hash, binary_hash=image.binary_hash))


def test_a_missing_role_is_no_failed_authentication(image, member):
    body = call(member(Role.UPLOAD), "list", image).json()
    assert body["error"]["reason"] == "role_missing"
    assert "invalid_authentication" not in body


@pytest.mark.parametrize("action", ACTIONS)
def test_a_stranger_gets_the_same_error_whether_an_image_exists_or_not(image, charlie, action):
    answer = call(charlie, action, image)
    assert answer.status_code == 403
    assert answer.json()["error"]["reason"] == "not_a_member"
    assert "invalid_authentication" not in answer.json()
    image.delete()
    again = call(charlie, action, image)
    assert (again.status_code, again.json()) == (answer.status_code, answer.json())


def test_an_inactive_membership_gives_no_access(image, member):
    assert call(member(Role.ADMIN, active=False), "list", image).json()["error"]["reason"] == "not_a_member"


def test_unknown_and_invalid_organization_names_have_different_errors(acme, alice):
    unknown = alice.api.get("/sourceimages/nobody")
    assert (unknown.status_code, unknown.json()["error"]["reason"]) == (404, "organization_not_found")
    for name in ("ACME", "a_b", "-a", "a-", "x" * 64, "é", "a.b"):
        impossible = alice.api.get(f"/sourceimages/{name}")
        assert (impossible.status_code, impossible.json()["error"]["reason"]) == (400, "invalid_organization_name")


@pytest.mark.parametrize("key", [None, "", "wrong", "é", "x" * 10_000])
def test_an_invalid_key_fails_to_authenticate(acme, key):
    headers = {} if key is None else {"Api-Key": key}
    for path in ("/sourceimages/acme", "/sourceimages/nobody", "/"):
        response = APIClient(headers=headers).get(path)
        assert response.status_code == 403
        assert response.json()["invalid_authentication"] is True
        assert response.json()["code"] == response.json()["error"]["code"] == 403


def test_the_key_of_a_deactivated_user_is_invalid(acme, alice):
    alice.user.is_active = False
    alice.user.save()
    assert alice.api.get("/sourceimages/acme").json()["invalid_authentication"] is True


def test_roles_add_up_and_unknown_ones_allow_nothing():
    assert (
        granted([Role.UPLOAD, Role.IMAGES_READ]) == ROLE_PERMISSIONS[Role.UPLOAD] | ROLE_PERMISSIONS[Role.IMAGES_READ]
    )
    assert granted(["made-up"]) == frozenset()
    assert granted([]) == frozenset()
    assert granted([Role.ADMIN]) == frozenset(Permission)


def test_every_role_says_what_it_grants():
    assert set(ROLE_PERMISSIONS) == set(Role)
