"""Organizations: creating, reading, changing, options, signing keys."""

import pytest

from organizations.audit import COMMAND
from organizations.models import AuditEvent, Membership, Organization
from organizations.operations import create_organization_with_admin, create_user
from organizations.permissions import Role
from tests.conftest import Person

pytestmark = pytest.mark.any_database


@pytest.fixture
def dora(db):
    new = create_user("dora@example.org", actor=COMMAND)
    return Person(new.user, new.api_key)


def put(person, path, value):
    return person.api.put(f"/organizations/{path}", value, format="json")


def test_any_user_with_an_account_can_create_an_organization(dora):
    response = put(dora, "shop", {"billing_email": "bills@example.org", "display_name": "The Shop"})
    assert response.status_code == 201
    shop = Organization.objects.get()
    body = response.json()
    assert body == {
        "id": str(shop.pk),
        "name": "shop",
        "display_name": "The Shop",
        "billing_email": "bills@example.org",
        "created": shop.created.isoformat(timespec="seconds"),
        "master_organization": "shop",
        "options": {},
        "signing_keys": [
            {
                "id": shop.signing_keys.get().fingerprint,
                "key": shop.signing_keys.get().key,
                "created": shop.signing_keys.get().created.isoformat(timespec="seconds"),
                "accessed": None,
            }
        ],
    }
    assert dora.api.get("/organizations/shop").json() == body
    assert Membership.objects.get().roles == ["admin"]


def test_the_display_name_defaults_to_the_name(dora):
    assert put(dora, "shop", {"billing_email": "b@example.org"}).json()["display_name"] == "shop"


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("shop", {}),
        ("shop", {"billing_email": "nobody"}),
        ("shop", {"billing_email": None}),
        ("shop", {"billing_email": "b@example.org", "display_name": ""}),
        ("shop", {"billing_email": "b@example.org", "display_name": "x" * 256}),
        ("shop", {"billing_email": "b@example.org", "display_name": {"a": 1}}),
        ("Shop", {"billing_email": "b@example.org"}),
        ("-shop", {"billing_email": "b@example.org"}),
        ("shop", ["b@example.org"]),
    ],
)
def test_invalid_organizations_are_refused(dora, name, body):
    assert put(dora, name, body).status_code == 400
    assert not Organization.objects.exists()


def test_an_invalid_email_is_named_as_it_was_sent(dora):
    assert put(dora, "shop", {"billing_email": "nobody"}).json()["error"]["message"].startswith("billing_email: ")


def test_an_admin_changes_what_is_given_and_others_do_not(acme, alice, member, charlie):
    assert put(alice, "acme", {"display_name": "Acme & Sons"}).status_code == 200
    acme.refresh_from_db()
    assert (acme.display_name, acme.billing_email) == ("Acme & Sons", "alice@example.org")
    for other in (member(Role.WRITE), charlie):
        response = put(other, "acme", {"billing_email": "x@example.org"})
        assert (response.status_code, response.json()["error"]["reason"]) == (409, "not_organization_admin")
    event = AuditEvent.objects.get(action="organization.updated")
    assert event.details == {"before": {"display_name": "acme"}, "after": {"display_name": "Acme & Sons"}}


@pytest.mark.parametrize(
    ("role", "options", "secrets"),
    [(Role.ADMIN, True, True), (Role.ADMIN_READ, True, False), (Role.READ, True, False), (Role.UPLOAD, False, False)],
)
def test_a_member_sees_as_much_as_the_roles_allow(acme, alice, member, role, options, secrets):
    put(alice, "acme/options", {"protect_dynamic_stack": True})
    body = member(role).api.get("/organizations/acme").json()
    assert body["name"] == body["display_name"] == "acme"
    assert body["options"] == ({"protect_dynamic_stack": True} if options else {})
    assert bool(body["signing_keys"]) is secrets
    assert body["billing_email"] == ("alice@example.org" if secrets else "")


def test_organizations_of_the_caller_are_listed(acme, alice, charlie):
    put(alice, "bravo", {"billing_email": "b@example.org"})
    body = alice.api.get("/organizations").json()
    assert [one["name"] for one in body["items"]] == ["acme", "bravo"]
    assert body["total"] == 2


def test_an_unknown_organization_is_404(acme, alice):
    assert alice.api.get("/organizations/nobody").status_code == 404
    assert alice.api.get("/organizations/No_body").status_code == 400


# --- Master organizations ---------------------------------------------------------------------------------------------


def test_an_organization_belongs_to_a_master_of_the_same_admin(dora, charlie):
    put(dora, "master", {"billing_email": "b@example.org"})
    child = put(dora, "child", {"billing_email": "b@example.org", "master_organization": "master"})
    assert (child.status_code, child.json()["master_organization"]) == (201, "master")
    assert put(dora, "child", {"master_organization": "child"}).json()["master_organization"] == "child"


@pytest.mark.parametrize(("master", "status"), [("other", 403), ("nobody", 404), ("child", 400)])
def test_a_master_has_the_same_admin_and_no_master_itself(dora, charlie, master, status):
    put(dora, "master", {"billing_email": "b@example.org"})
    put(dora, "child", {"billing_email": "b@example.org", "master_organization": "master"})
    before = Organization.objects.count()
    response = put(dora, "new", {"billing_email": "b@example.org", "master_organization": master})
    assert response.status_code == status
    assert Organization.objects.count() == before


# --- Options ----------------------------------------------------------------------------------------------------------


def test_options_are_set_together_or_one_by_one(acme, alice):
    body = put(alice, "acme/options", {"protect_dynamic_stack": True, "remote_basepath": "https://example.org/"}).json()
    assert body["options"] == {"protect_dynamic_stack": True, "remote_basepath": "https://example.org/"}
    assert body["signing_keys"]
    assert put(alice, "acme/options/remote_fullurl_allow", True).json()["options"]["remote_fullurl_allow"] is True
    removed = put(alice, "acme/options", {"protect_dynamic_stack": None}).json()["options"]
    assert removed == {"remote_basepath": "https://example.org/", "remote_fullurl_allow": True}
    assert alice.api.generic("PUT", "/organizations/acme/options/remote_basepath", b"null").json()["options"] == {
        "remote_fullurl_allow": True
    }
    assert put(alice, "acme/options/remote_fullurl_allow", None).status_code == 400  # an empty body is not null


@pytest.mark.parametrize(
    ("name", "sent", "stored"),
    [
        ("protect_dynamic_stack", b"true", True),
        ("protect_dynamic_stack", b'"true"', True),
        ("protect_dynamic_stack", b"0", False),
        ("remote_basepath", b"https://example.org/pictures", "https://example.org/pictures"),
        ("remote_basepath", b'"https://example.org/pictures"', "https://example.org/pictures"),
        ("remote_fullurl_whitelist", b'["example\\\\.org$"]', ["example\\.org$"]),
    ],
)
def test_a_single_option_comes_as_json_or_as_text(acme, alice, name, sent, stored):
    response = alice.api.generic("PUT", f"/organizations/acme/options/{name}", sent, "text/plain;charset=UTF-8")
    assert response.status_code == 200
    assert response.json()["options"] == {name: stored}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("colour", "blue"),
        ("protect_dynamic_stack", "maybe"),
        ("protect_dynamic_stack", []),
        ("remote_basepath", "ftp://example.org"),
        ("remote_basepath", 7),
        ("remote_basepath", "https://example.org/\nX"),
        ("remote_fullurl_whitelist", "example.org"),
        ("remote_fullurl_whitelist", ["("]),
        ("remote_fullurl_whitelist", [7, {}]),
        ("remote_fullurl_whitelist", ["x"] * 101),
        ("render_org_fallback", "nobody"),
        ("render_org_fallback", "acme"),
        ("render_org_fallback", ""),
    ],
)
def test_an_invalid_option_is_refused_by_name(acme, alice, name, value):
    for response in (put(alice, "acme/options", {name: value}), put(alice, f"acme/options/{name}", value)):
        assert response.status_code == 400
        assert response.json()["error"]["reason"] == "invalid_option"
        assert name in response.json()["error"]["message"]
    acme.refresh_from_db()
    assert acme.options == {}


@pytest.mark.parametrize("body", [b"7", b'"text"', b'["a"]'])
def test_options_are_an_object(acme, alice, body):
    assert alice.api.generic("PUT", "/organizations/acme/options", body).status_code == 400


def test_a_fallback_organization_must_have_the_same_admin(acme, alice, charlie):
    assert put(alice, "acme/options/render_org_fallback", "other").status_code == 403
    acme.refresh_from_db()
    assert acme.options == {}
    put(alice, "mine", {"billing_email": "b@example.org"})
    assert put(alice, "acme/options/render_org_fallback", "mine").status_code == 200


def test_only_changed_options_are_logged(acme, alice):
    put(alice, "acme/options", {"protect_dynamic_stack": True})
    put(alice, "acme/options", {"protect_dynamic_stack": True})
    event = AuditEvent.objects.get(action="organization.options_updated")
    assert event.details == {"before": {"protect_dynamic_stack": None}, "after": {"protect_dynamic_stack": True}}


# --- Signing keys -----------------------------------------------------------------------------------------------------


def test_signing_keys_are_replaced_without_a_gap(acme, alice):
    old = alice.api.get("/organizations/acme").json()["signing_keys"][0]
    added = alice.api.post("/organizations/acme/signing_keys")
    assert added.status_code == 201
    both = alice.api.get("/organizations/acme").json()["signing_keys"]
    assert [one["id"] for one in both] == [added.json()["id"], old["id"]]
    assert alice.api.delete(f"/organizations/acme/signing_keys/{old['id']}").status_code == 204
    assert [one["key"] for one in alice.api.get("/organizations/acme").json()["signing_keys"]] == [added.json()["key"]]
    assert alice.api.delete(f"/organizations/acme/signing_keys/{old['id']}").status_code == 404


def test_the_last_signing_key_stays(acme, alice):
    only = acme.signing_keys.get()
    response = alice.api.delete(f"/organizations/acme/signing_keys/{only.fingerprint}")
    assert (response.status_code, response.json()["error"]["reason"]) == (409, "key_in_use")


def test_signing_keys_are_limited(acme, alice):
    statuses = [alice.api.post("/organizations/acme/signing_keys").status_code for _ in range(10)]
    assert statuses == [201] * 9 + [400]


def test_a_signing_key_is_never_logged(acme, alice):
    added = alice.api.post("/organizations/acme/signing_keys").json()
    assert added["key"] not in str(list(AuditEvent.objects.values()))


def test_the_key_of_another_organization_is_out_of_reach(acme, alice):
    theirs = create_organization_with_admin(
        "bravo", email="b@example.org", actor=COMMAND
    ).organization.signing_keys.get()
    alice.api.post("/organizations/acme/signing_keys")
    assert alice.api.delete(f"/organizations/acme/signing_keys/{theirs.fingerprint}").status_code == 404
    assert Organization.objects.get(name="bravo").signing_keys.count() == 1


# --- Sub-organizations ------------------------------------------------------------------------------------------------


def below(master, *names):
    for name in names:
        set_master(create_organization_with_admin(name, email=f"{name}@example.org", actor=COMMAND), master)


def set_master(new, master):
    new.organization.master_organization = master
    new.organization.save(update_fields=["master_organization"])


def test_a_master_organization_lists_those_below_it(acme, alice, charlie):
    below(acme, "second", "first")
    body = alice.api.get("/organizations/acme/sub_organizations").json()
    assert body["total"] == 2
    assert [(one["name"], one["master_organization"]) for one in body["items"]] == [
        ("first", "acme"),
        ("second", "acme"),
    ]
    assert charlie.api.get("/organizations/other/sub_organizations").json() == {"total": 0, "items": []}


def test_the_admin_of_a_master_organization_sees_secrets_only_with_a_role_below_it(acme, alice, stage):
    below(acme, "first")
    stage.master_organization = acme
    stage.save(update_fields=["master_organization"])
    first, second = alice.api.get("/organizations/acme/sub_organizations").json()["items"]
    assert (first["name"], first["billing_email"], first["signing_keys"]) == ("first", "", [])
    assert (second["name"], second["billing_email"], len(second["signing_keys"])) == ("stage", "stage@example.org", 1)


def test_a_stranger_sees_no_sub_organizations(acme, alice, charlie):
    below(acme, "first")
    response = charlie.api.get("/organizations/acme/sub_organizations")
    assert (response.status_code, response.json()["reason"]) == (403, "not_a_member")


def test_an_option_with_a_repeated_name_is_not_taken_for_text(acme, alice):
    response = alice.api.put(
        "/organizations/acme/options/remote_basepath", '{"a": "b", "a": "c"}', content_type="application/json"
    )
    assert (response.status_code, "twice" in response.json()["message"]) == (400, True)
    acme.refresh_from_db()
    assert acme.options == {}
