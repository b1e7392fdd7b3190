"""Management commands of the accounts app."""

import io
import json

import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command

from organizations.models import AuditEvent, Membership, User
from organizations.operations import create_key
from organizations.permissions import Role
from tests.conftest import Person
from tests.support import images


@pytest.fixture
def run(capsys, monkeypatch):
    def call(name, *arguments, sent: str = "", **options):
        monkeypatch.setattr("sys.stdin", io.StringIO(sent))
        call_command(name, *arguments, **options)
        return capsys.readouterr().out

    return call


def test_a_user_is_created_as_a_member(acme, run):
    printed = json.loads(
        run("create_user", "dora@example.org", organization="acme", role=["write", "upload"], comment="shop", json=True)
    )
    user = User.objects.get(pk=printed["user_id"])
    assert Person(user, printed["api_key"]).api.get("/sourceimages/acme").status_code == 200
    assert Membership.objects.get(user=user).roles == ["write", "upload"]
    assert {event.source for event in AuditEvent.objects.all()} == {"command"}


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["dora"], {}),
        (["dora@example.org"], {"role": ["write"]}),
        (["dora@example.org"], {"organization": "acme"}),
        (["dora@example.org"], {"organization": "nobody", "role": ["write"]}),
        (["dora@example.org"], {"organization": "acme", "role": ["boss"]}),
    ],
)
def test_an_invalid_user_is_not_created(acme, run, arguments, options):
    before = User.objects.count()
    with pytest.raises(CommandError):
        run("create_user", *arguments, **options)
    assert User.objects.count() == before


def test_a_key_is_created(acme, alice, run):
    printed = json.loads(run("create_api_key", str(alice.user.pk), comment="shop", json=True))
    assert Person(alice.user, printed["api_key"]).api.get("/user/apikeys/current").json()["comment"] == "shop"
    assert "can't be shown again" in run("create_api_key", str(alice.user.pk))


def test_a_public_user_gets_a_trusted_key(member, run):
    bob = member(Role.READ)
    printed = json.loads(run("create_api_key", str(bob.user.pk), trusted=True, json=True))
    assert Person(bob.user, printed["api_key"]).api.get("/user").json()["email"] == "bob@example.org"


def test_an_imported_key_is_not_trusted(acme, alice, run):
    with pytest.raises(CommandError):
        run("create_api_key", str(alice.user.pk), trusted=True, imported=True, sent="Ab3" * 10 + "xY")
    assert alice.user.api_keys.count() == 1


def test_a_key_of_old_is_imported(acme, alice, run):
    old = "Ab3" * 10 + "xY"
    printed = run("create_api_key", str(alice.user.pk), imported=True, sent=f"{old}\n")
    assert old not in printed
    assert Person(alice.user, old).api.get("/sourceimages/acme").status_code == 200
    for again in (old, "short", "with space" + "x" * 22, "é" * 32):
        with pytest.raises(CommandError):
            run("create_api_key", str(alice.user.pk), imported=True, sent=f"{again}\n")


def test_users_are_found_by_a_unique_email(acme, charlie, alice, run):
    assert run("create_api_key", "charlie@example.org")
    with pytest.raises(CommandError, match="Several users"):
        run("create_api_key", "alice@example.org")
    for nobody in ("nobody@example.org", "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(CommandError, match="not found"):
            run("create_api_key", nobody)


def test_roles_are_set(acme, charlie, run):
    assert "read" in run("set_roles", "acme", "charlie@example.org", "read")
    assert "(unchanged)" in run("set_roles", "acme", "charlie@example.org", "READ")
    assert "(updated)" in run("set_roles", "acme", "charlie@example.org", "write", "upload")
    assert Membership.objects.get(organization=acme, user=charlie.user).roles == ["write", "upload"]
    run("set_roles", "acme", "charlie@example.org", remove=True)
    assert not Membership.objects.filter(organization=acme, user=charlie.user).exists()
    with pytest.raises(CommandError):
        run("set_roles", "acme", "charlie@example.org", remove=True)
    with pytest.raises(CommandError, match="last admin"):
        run("set_roles", "other", "charlie@example.org", "read")
    with pytest.raises(CommandError, match="at least one"):
        run("set_roles", "acme", "charlie@example.org")


def test_organizations_are_listed_with_their_usage(acme, alice, charlie, run):
    alice.upload(acme, images.png(seed=1), images.png(seed=2))
    lines = [json.loads(line) for line in run("list_organizations", json=True).splitlines()]
    size = len(images.png(seed=1)) + len(images.png(seed=2))
    assert [{name: line[name] for name in ("organization", "members", "images", "bytes")} for line in lines] == [
        {"organization": "acme", "members": 2, "images": 2, "bytes": size},
        {"organization": "other", "members": 1, "images": 0, "bytes": 0},
    ]
    table = run("list_organizations").splitlines()
    assert table[1].split()[:3] == ["acme", "2", "2"]


def test_a_staff_user_is_created(db, run, client):
    run("create_staff_user", "eve", email="eve@example.org", sent="a long password\n")
    assert authenticate(username="eve", password="a long password").is_staff
    client.post("/admin/login/?next=/admin/", {"username": "eve", "password": "a long password"})
    assert client.get("/admin/").status_code == 200
    assert "a long password" not in str(list(AuditEvent.objects.values()))
    assert not User.objects.get(username="eve").is_superuser
    run("create_staff_user", "root", email="root@example.org", superuser=True, sent="a long password\n")
    assert User.objects.get(username="root").is_superuser


@pytest.mark.parametrize(
    ("username", "password", "email"),
    [
        ("eve", "short", "eve@example.org"),
        ("eve", "password123", "eve@example.org"),
        ("eve", "", "eve@example.org"),
        ("eve.example", "eve-example1", "other@example.net"),
        ("eve", "photographer9", "photographer@example.org"),
        ("eve", "photo-museum.org", "eve@photo-museum.org"),
        ("eve", "a long password", "eve"),
        ("x" * 151, "a long password", "eve@example.org"),
    ],
)
def test_an_invalid_staff_user_is_not_created(db, run, username, password, email):
    with pytest.raises(CommandError):
        run("create_staff_user", username, email=email, sent=f"{password}\n")
    assert not User.objects.exists()


def test_a_username_is_unique(db, run):
    run("create_staff_user", "eve", email="eve@example.org", sent="a long password\n")
    with pytest.raises(CommandError, match="already"):
        run("create_staff_user", "eve", email="eve@example.org", sent="a long password\n")


def test_a_sixth_key_is_refused_here_too(acme, charlie, run):
    for _ in range(4):
        create_key(charlie.user, comment="", actor=charlie.actor)
    with pytest.raises(CommandError, match="at most 5"):
        run("create_api_key", "charlie@example.org")


def test_roles_are_reported_as_json(acme, member, run):
    bob = member("read")
    printed = json.loads(run("set_roles", "acme", str(bob.user.pk), "write", json=True))
    who = {"organization": "acme", "user_id": str(bob.user.pk)}
    assert printed == who | {"roles": ["write"], "change": "updated"}
    printed = json.loads(run("set_roles", "acme", str(bob.user.pk), remove=True, json=True))
    assert printed == who | {"roles": [], "change": "removed"}


@pytest.mark.parametrize("others", [{"roles": ["write"]}, {"comment": "shop"}])
def test_a_member_is_not_removed_if_roles_are_given_too(acme, member, run, others):
    bob = member("read")
    with pytest.raises(CommandError, match="can't be combined"):
        run("set_roles", "acme", str(bob.user.pk), *others.pop("roles", []), remove=True, **others)
    assert acme.memberships.get(user=bob.user).roles == ["read"]


def test_a_refused_command_reports_the_error_as_json(acme, capsys):
    with pytest.raises(CommandError):
        call_command("set_roles", "acme", "nobody", "read", json=True)
    assert "not found" in json.loads(capsys.readouterr().out)["error"]


def test_a_staff_user_is_reported_as_json(db, run):
    printed = json.loads(run("create_staff_user", "eve", email="eve@example.org", sent="correct horse 9\n", json=True))
    user = User.objects.get(username="eve")
    assert printed == {
        "user_id": str(user.pk),
        "username": "eve",
        "email": "eve@example.org",
        "superuser": False,
    }
    assert json.loads(run("remove_second_factor", "eve", json=True)) == {"user_id": str(user.pk)}
    assert json.loads(run("snapshot_stats", json=True)) == {"organizations": 0}
