"""Every endpoint in the URL configuration with every role, in this organization and others, by key and by token."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from organizations.api.base import AuthenticatedViewSet, OrganizationScope
from organizations.models import ApiKey, Membership, Organization
from organizations.permissions import Requirement, Role
from tests.conftest import Person
from tests.support import images

pytestmark = pytest.mark.any_database

NO_API = {
    "doc",
    "doc/openapi.json",
    "health/live",
    "health/ready",
    "metrics",
}  # without the admin

ADMIN, ADMIN_READ, WRITE, READ = Role.ADMIN, Role.ADMIN_READ, Role.WRITE, Role.READ
IMAGES_WRITE, IMAGES_READ, UPLOAD = Role.IMAGES_WRITE, Role.IMAGES_READ, Role.UPLOAD
DOWNLOAD, UNLOCK, BILLING = Role.PROTECTED_DOWNLOAD, Role.UNLOCK, Role.BILLING_READ

ALL_ROLES = set(Role)
READERS = {ADMIN, ADMIN_READ, WRITE, READ, IMAGES_WRITE, IMAGES_READ}
WRITERS = {ADMIN, WRITE, IMAGES_WRITE}
NOT_PUBLIC = ALL_ROLES - {READ, UPLOAD, IMAGES_READ}

# The contract's table of operations and roles.
ALLOWED: dict[str, set[Role]] = {
    "POST /sourceimages/{organization}": {ADMIN, WRITE, IMAGES_WRITE, UPLOAD},
    "GET /sourceimages/{organization}": READERS,
    "GET /sourceimages/{organization}/fields": READERS,
    "GET /sourceimages/{organization}/binaryhash/{binary_hash}": READERS,
    "GET /sourceimages/{organization}/{hash}": READERS,
    "GET /sourceimages/{organization}/{hash}/download": READERS,
    "DELETE /sourceimages/{organization}": WRITERS,
    "POST /sourceimages/{organization}/copy": READERS,
    "GET /sourceimages/{organization}/download": READERS,
    "DELETE /sourceimages/{organization}/{hash}": WRITERS,
    "COPY /sourceimages/{organization}/{hash}": READERS,
    "POST /sourceimages/{organization}/{hash}/copy": READERS,
    "POST /sourceimages/{organization}/{hash}/restore": WRITERS,
    "GET /sourceimages/{organization}/{hash}/history": READERS,
    "POST /sourceimages/{organization}/{hash}/history/{version}/restore": WRITERS,
    "PUT /sourceimages/{organization}/{hash}/name": WRITERS,
    "PUT /sourceimages/{organization}/{hash}/options/protected": WRITERS,
    "PUT /sourceimages/{organization}/{hash}/options/locked": {ADMIN, UNLOCK},
    "GET /sourceimages/{organization}/{hash}/meta/user": READERS,
    "PUT /sourceimages/{organization}/{hash}/meta/user": WRITERS,
    "PATCH /sourceimages/{organization}/{hash}/meta/user": WRITERS,
    "DELETE /sourceimages/{organization}/{hash}/meta/user": WRITERS,
    "GET /sourceimages/{organization}/{hash}/meta/user/{field}": READERS,
    "PUT /sourceimages/{organization}/{hash}/meta/user/{field}": WRITERS,
    "DELETE /sourceimages/{organization}/{hash}/meta/user/{field}": WRITERS,
    "PUT /sourceimages/{organization}/{hash}/meta/dynamic/{name}": WRITERS,
    "DELETE /sourceimages/{organization}/{hash}/meta/dynamic/{name}": WRITERS,
    "GET /sourceimages/{organization}/alias/{alias}": READERS,
    "PUT /sourceimages/{organization}/alias/{alias}": WRITERS,
    "DELETE /sourceimages/{organization}/alias/{alias}": WRITERS,
    "DELETE /sourceimages/{organization}/alias/{alias}/cache": WRITERS,
    "DELETE /sourceimages/{organization}/{hash}/cache": WRITERS,
    "POST /sourceimages/{organization}/{hash}/autolabel": WRITERS,
    "POST /sourceimages/{organization}/{hash}/autodescription": WRITERS,
    "GET /jobs/{organization}": READERS,
    "GET /jobs/{organization}/{job_id}": READERS,
    "POST /jobs/{organization}": READERS,  # each kind also requires its own permission
    "DELETE /jobs/{organization}/{job_id}": READERS,
    "POST /jobs/{organization}/{job_id}/undo": READERS,  # also requires write access where images were changed
    "POST /jobs/{organization}/{job_id}/retry": READERS,
    "GET /stacks/{organization}": {ADMIN, ADMIN_READ, WRITE, READ},
    "GET /stacks/{organization}/{stack}": {ADMIN, ADMIN_READ, WRITE, READ},
    "PUT /stacks/{organization}/{stack}": {ADMIN, WRITE},
    "DELETE /stacks/{organization}/{stack}": {ADMIN, WRITE},
    "DELETE /stacks/{organization}/{stack}/cache": {ADMIN, WRITE},
    "GET /": ALL_ROLES,
    "GET /operations": ALL_ROLES,
    "GET /stackoptions": ALL_ROLES,
    "POST /users": ALL_ROLES,
    "GET /user": ALL_ROLES,
    "GET /user/apikeys/token": ALL_ROLES,
    "POST /user/apikeys/token": ALL_ROLES,
    "GET /user/apikeys": NOT_PUBLIC,
    "POST /user/apikeys": NOT_PUBLIC,
    "GET /user/apikeys/current": NOT_PUBLIC,
    "PATCH /user/apikeys/{key_id}": NOT_PUBLIC,
    "DELETE /user/apikeys/{key_id}": NOT_PUBLIC,
    "GET /user/apikeys/{key_id}/effects": NOT_PUBLIC,
    "GET /user/memberships": NOT_PUBLIC,
    "GET /user/admin/apikeys": NOT_PUBLIC,
    "GET /user/mfa/totp": NOT_PUBLIC,
    "POST /user/mfa/totp": NOT_PUBLIC,
    "POST /user/mfa/totp/confirm": NOT_PUBLIC,
    "DELETE /user/mfa/totp": NOT_PUBLIC,
    "GET /organizations": ALL_ROLES,
    "GET /organizations/{organization}": ALL_ROLES,
    "PUT /organizations/{organization}": NOT_PUBLIC,
    "GET /organizations/{organization}/sub_organizations": {ADMIN},
    "PUT /organizations/{organization}/options": {ADMIN},
    "PUT /organizations/{organization}/options/{name}": {ADMIN},
    "POST /organizations/{organization}/signing_keys": {ADMIN},
    "DELETE /organizations/{organization}/signing_keys/{key_id}": {ADMIN},
    "GET /organizations/{organization}/memberships": {ADMIN, ADMIN_READ},
    "POST /organizations/{organization}/memberships": {ADMIN},
    "GET /organizations/{organization}/memberships/current": ALL_ROLES,
    "GET /organizations/{organization}/memberships/{user_id}": {ADMIN, ADMIN_READ},
    "PUT /organizations/{organization}/memberships/{user_id}": {ADMIN},
    "DELETE /organizations/{organization}/memberships/{user_id}": {ADMIN},
    "GET /stats/{organization}": {ADMIN, ADMIN_READ, WRITE, READ},
    "GET /billing/{organization}": {ADMIN, WRITE, BILLING},
    "GET /audit/{organization}": {ADMIN},
    "POST /utils/{organization}/sign_url": {ADMIN, ADMIN_READ, WRITE, READ, DOWNLOAD},
}
REFUSALS = {"role_missing", "public_user", "not_a_member", "invalid_authentication", "invalid_token"}


@dataclass(frozen=True)
class Endpoint:
    method: str
    path: str
    view: type[AuthenticatedViewSet]
    action: str

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def of_organization(self) -> bool:
        need = self.view.required_permissions.get(self.action)
        return issubclass(self.view, OrganizationScope) and not isinstance(need, Requirement)


def patterns(resolver: URLResolver, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in resolver.url_patterns:
        path = before + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield path, pattern
        elif not path.startswith("admin/"):
            yield from patterns(pattern, path)


def endpoints() -> Iterator[Endpoint]:
    for path, pattern in patterns(get_resolver()):
        if path in NO_API:
            continue
        view = pattern.callback.cls  # fails for other views
        readable = "/" + path.replace("<str:", "{").replace(">", "}")
        for method, action in pattern.callback.actions.items():
            if method != "head":
                yield Endpoint(method.upper(), readable, view, action)


ENDPOINTS = list(endpoints())


def call(client: APIClient, endpoint: Endpoint, organization: str, *, hash: str = "0" * 40, user_id: str = ""):
    """A request that changes nothing relevant, even if it is allowed."""
    path = endpoint.path.format(
        organization=organization,
        hash=hash,
        binary_hash=hash,
        key_id=uuid.uuid4(),
        user_id=user_id or uuid.uuid4(),
        job_id=uuid.uuid4(),
        field="nothing",
        alias="nothing",
        stack="nothing",
        name="protect_dynamic_stack",
        version=1,
    )
    if endpoint.name == "POST /sourceimages/{organization}":
        return client.post(path, {"filedata": SimpleUploadedFile("a.png", images.png())}, format="multipart")
    return client.generic(endpoint.method, path, b"" if endpoint.method in ("GET", "DELETE") else b"{}")


def with_token(person: Person) -> APIClient:
    token = person.api.get("/user/apikeys/token").json()["token"]
    return APIClient(headers={"Authorization": f"Bearer {token}"})


def refused(response) -> str:
    """The reason, if the error is about authentication or permissions."""
    if response.status_code < 400:
        return ""
    reason = response.json()["reason"]
    return reason if reason in REFUSALS else ""


def test_every_endpoint_is_a_scope_and_declares_its_permissions():
    assert ENDPOINTS
    for endpoint in ENDPOINTS:
        assert issubclass(endpoint.view, AuthenticatedViewSet), endpoint.name
        assert endpoint.action in endpoint.view.required_permissions, endpoint.name


def test_every_endpoint_is_in_the_table():
    assert {endpoint.name for endpoint in ENDPOINTS} == set(ALLOWED)


@pytest.mark.parametrize("by_token", [False, True], ids=["key", "token"])
@pytest.mark.parametrize("role", Role)
def test_each_role_can_do_in_its_organization_what_the_table_says(image, member, role, by_token):
    person = member(role)
    client = with_token(person) if by_token else person.api
    for endpoint in ENDPOINTS:
        response = call(client, endpoint, "acme", hash=image.hash)
        allowed = role in ALLOWED[endpoint.name]
        assert refused(response) in ([""] if allowed else ["role_missing", "public_user"]), endpoint.name
        assert response.status_code < 500


@pytest.mark.parametrize("by_token", [False, True], ids=["key", "token"])
@pytest.mark.parametrize("role", Role)
def test_no_role_counts_in_an_organization_of_others(image, member, charlie, role, by_token):
    person = member(role)
    client = with_token(person) if by_token else person.api
    for endpoint in ENDPOINTS:
        if endpoint.of_organization:
            response = call(client, endpoint, "other")
            assert (response.status_code, refused(response)) == (403, "not_a_member"), endpoint.name


def test_a_stranger_learns_nothing_from_any_answer(image, alice, charlie):
    """The error is identical whether an image, member or key exists or not."""
    for endpoint in ENDPOINTS:
        if endpoint.of_organization:
            there = call(charlie.api, endpoint, "acme", hash=image.hash, user_id=str(alice.user.pk))
            not_there = call(charlie.api, endpoint, "acme")
            assert there.status_code == not_there.status_code == 403, endpoint.name
            assert there.json() == not_there.json()
            # The request ID and the remaining requests reveal nothing about the image.
            differ = {"X-Request-Id", "X-RateLimit-Remaining"}
            assert {name: value for name, value in there.headers.items() if name not in differ} == {
                name: value for name, value in not_there.headers.items() if name not in differ
            }


def test_a_stranger_changes_nothing(image, alice, charlie):
    def everything():
        return [
            list(Membership.objects.order_by("id").values()),
            list(image.organization.images.values()),
            list(image.organization.signing_keys.values()),
            list(image.organization.audit_events.values_list("id")),
            list(type(image.organization).objects.order_by("name").values()),
        ]

    before = everything()
    for endpoint in ENDPOINTS:
        if "{organization}" in endpoint.path:
            response = call(charlie.api, endpoint, "acme", hash=image.hash, user_id=str(charlie.user.pk))
            assert response.status_code in (403, 409), endpoint.name
    assert everything() == before


def test_requests_without_credentials_are_refused_everywhere(image, settings):
    settings.RATE_LIMIT_ENABLED = False  # there are more endpoints than allowed failures
    for endpoint in ENDPOINTS:
        if endpoint.view.required_permissions[endpoint.action] != Requirement.ANONYMOUS:
            response = call(APIClient(), endpoint, "acme", hash=image.hash)
            assert response.status_code == 403
            assert response.json()["invalid_authentication"] is True


# --- Keys with options ------------------------------------------------------------------------------------------------

ACCOUNT = {name for name, roles in ALLOWED.items() if roles == NOT_PUBLIC} - {"PUT /organizations/{organization}"}


@pytest.mark.parametrize("role", sorted(ALL_ROLES - NOT_PUBLIC))
def test_a_trusted_key_of_a_public_user_manages_the_account_and_nothing_else(image, member, charlie, role):
    person = member(role)
    ApiKey.objects.filter(user=person.user).update(trusted=True)
    for endpoint in ENDPOINTS:
        allowed = role in ALLOWED[endpoint.name] or endpoint.name in ACCOUNT
        expected = [""] if allowed else ["role_missing", "public_user"]
        assert refused(call(person.api, endpoint, "acme", hash=image.hash)) in expected, endpoint.name
        if endpoint.of_organization:
            assert refused(call(person.api, endpoint, "other")) == "not_a_member", endpoint.name


# What a key that requires a second factor can be used for without a code: tokens, and setting it up.
WITHOUT_CODE = {
    "GET /user/apikeys/token": "mfa_enrollment_required",  # says why
    "POST /user/apikeys/token": "mfa_enrollment_required",
    "GET /user/mfa/totp": "",
    "POST /user/mfa/totp": "",
    "POST /user/mfa/totp/confirm": "",
}


@pytest.mark.parametrize("by_token", [False, True], ids=["key", "token"])
@pytest.mark.parametrize(
    ("restriction", "reason"),
    [
        ({"allowed_ips": ["192.0.2.1"]}, "ip_not_allowed"),
        ({"expires": datetime(2020, 1, 1, tzinfo=UTC)}, "key_expired"),
        ({"requires_mfa": True}, "mfa_enrollment_required"),
    ],
    ids=["allowed_ips", "expires", "requires_mfa"],
)
def test_a_restricted_key_opens_no_endpoint(image, member, settings, restriction, reason, by_token):
    """Also with a token issued before: neither in its organization nor in those of others, nor its account."""
    settings.RATE_LIMIT_ENABLED = False  # there are more endpoints than allowed failures
    person = member(Role.ADMIN)
    client = with_token(person) if by_token else person.api
    ApiKey.objects.filter(user=person.user).update(**restriction)
    for endpoint in ENDPOINTS:
        if endpoint.view.required_permissions[endpoint.action] == Requirement.ANONYMOUS:
            continue
        response = call(client, endpoint, "acme", hash=image.hash)
        without_code = WITHOUT_CODE.get(endpoint.name) if "requires_mfa" in restriction else None
        if without_code == "":
            assert response.status_code != 403, endpoint.name
            assert response.json().get("reason") in (None, "invalid"), endpoint.name  # a code is missing
        else:
            assert (response.status_code, response.json()["reason"]) == (401, without_code or reason), endpoint.name


@pytest.mark.parametrize("role", sorted(NOT_PUBLIC))
def test_overviews_show_nothing_of_organizations_of_others(member, charlie, stage, role):
    person = member(role)
    Organization.objects.filter(name="other").update(master_organization=stage)
    secret = (str(charlie.user.pk), charlie.user.email, "other", str(Organization.objects.get(name="other").pk))
    administered = role in ALLOWED["GET /organizations/{organization}/memberships"]
    for path, status in (
        ("/user/admin/apikeys", 200),
        ("/user/memberships", 200),
        ("/organizations", 200),
        ("/organizations/acme/memberships/current", 200),
        ("/organizations/acme/sub_organizations", 200 if role == Role.ADMIN else 403),
        ("/organizations/stage/memberships/current", 403),
        ("/organizations/stage/sub_organizations", 403),
        ("/organizations/other/memberships/current", 403),
    ):
        response = person.api.get(path)
        assert response.status_code == status, path
        if "/other/" not in path:  # the error names the organization
            assert not [text for text in secret if text in response.content.decode()], path
    shown = person.api.get("/user/admin/apikeys").json()
    assert {item["organization"] for item in shown["items"]} == ({"acme"} if administered else set())
    theirs = charlie.user.api_keys.get()
    for method in ("patch", "delete"):
        response = getattr(person.api, method)(f"/user/apikeys/{theirs.pk}", {"trusted": True}, format="json")
        assert (response.status_code, response.json()["reason"]) == (404, "key_not_found")
    theirs.refresh_from_db()
    assert not theirs.trusted


@pytest.mark.parametrize("role", Role)
def test_no_call_widens_the_rights_of_a_key(image, member, alice, charlie, role):
    """Whatever a user sends, its permissions are the same afterwards."""
    person = member(role)
    membership = Membership.objects.get(user=person.user)
    own = f"/organizations/acme/memberships/{person.user.pk}"
    # Memberships refuse bodies with unknown members.
    bodies = (
        b'{"roles": ["admin"]}',
        b'{"roles": ["admin"], "role": "admin", "active": true, "render_org_fallback": "other"}',
    )
    for endpoint in ENDPOINTS:
        if endpoint.of_organization and endpoint.method in ("POST", "PUT") and "{hash}" not in endpoint.path:
            path = endpoint.path.format(
                organization="acme",
                user_id=person.user.pk,
                name="render_org_fallback",
                alias="logo",
                stack="thumb",
                job_id=uuid.uuid4(),
            )
            for body in bodies:
                person.api.generic(endpoint.method, path, body)
    for body in bodies:
        person.api.generic("PUT", own, body)
    membership.refresh_from_db()
    assert membership.roles == [role]
    assert Membership.objects.filter(user=person.user).count() == 1


@pytest.mark.parametrize(
    ("role", "protected", "unprotected"),
    [
        (Role.ADMIN, 200, 200),
        (Role.ADMIN_READ, 200, 200),
        (Role.WRITE, 200, 200),
        (Role.READ, 200, 200),
        (Role.IMAGES_WRITE, 403, 200),
        (Role.IMAGES_READ, 403, 200),
        (Role.PROTECTED_DOWNLOAD, 200, 403),
        (Role.UNLOCK, 403, 403),
        (Role.UPLOAD, 403, 403),
        (Role.BILLING_READ, 403, 403),
    ],
)
def test_protected_originals_have_a_rule_of_their_own(acme, alice, member, image, role, protected, unprotected):
    uploaded = alice.upload(acme, images.png(seed=7), **{"options[0]": '{"protected": true}'}).json()["items"][0]
    api = member(role).api
    assert api.get(f"{uploaded['link']}/download").status_code == protected
    assert api.get(f"/sourceimages/acme/{image.hash}/download").status_code == unprotected
