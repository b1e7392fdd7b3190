import json
import re

import pytest
from django.core.management import CommandError, call_command

from organizations.models import ApiKey, AuditEvent, Membership, Organization, User
from organizations.permissions import Role
from organizations.usage import counters

pytestmark = pytest.mark.any_database


def test_the_command_prints_a_key_that_works(db, capsys, client):
    call_command("create_organization", "acme", email="alice@example.org", json=True)
    printed = json.loads(capsys.readouterr().out)
    user = User.objects.get()
    assert printed == {
        "organization": "acme",
        "email": "alice@example.org",
        "user_id": str(user.pk),
        "api_key": printed["api_key"],
    }
    assert len(printed["api_key"]) == 64
    assert printed["api_key"].startswith(user.pk.hex)
    assert client.get("/sourceimages/acme", headers={"Api-Key": printed["api_key"]}).status_code == 200


def test_it_makes_everything_an_organization_needs(db):
    call_command("create_organization", "acme", email="alice@example.org")
    acme = Organization.objects.get()
    assert (acme.name, acme.display_name, acme.billing_email) == ("acme", "acme", "alice@example.org")
    assert Membership.objects.get(organization=acme).roles == ["admin"]
    assert acme.signing_keys.count() == 1
    assert acme.counters.count() == 8
    assert counters.totals(acme) == counters.Totals(images=0, bytes=0)
    assert not User.objects.get().has_usable_password()
    verbs = {event.action: event for event in AuditEvent.objects.all()}
    assert set(verbs) == {"user.created", "api_key.created", "organization.created"}
    event = verbs["organization.created"]
    assert (event.source, event.target, event.user) == ("command", "acme", User.objects.get())


def test_the_key_itself_is_not_stored(db, capsys):
    call_command("create_organization", "acme", email="alice@example.org", json=True)
    key = json.loads(capsys.readouterr().out)["api_key"]
    assert ApiKey.objects.get().digest == ApiKey.digest_of(key)
    assert key not in str(ApiKey.objects.values().get())


@pytest.mark.parametrize(
    ("name", "email", "says"),
    [
        ("Acme", "alice@example.org", "Use 1–63 lowercase"),
        ("acme-", "alice@example.org", "Use 1–63 lowercase"),
        ("acme\n", "alice@example.org", "Use 1–63 lowercase"),
        ("a" * 64, "alice@example.org", "Use 1–63 lowercase"),
        ("taken", "alice@example.org", "already"),
        ("acme", "nobody", "valid email"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_created(db, name, email, says):
    call_command("create_organization", "taken", email="bob@example.org")
    with pytest.raises(CommandError, match=says):
        call_command("create_organization", name, email=email)
    assert Organization.objects.count() == User.objects.count() == ApiKey.objects.count() == 1


def test_the_demo_organization_is_created_once(db, capsys):
    call_command("create_demo", port="8123")
    assert "http://127.0.0.1:8123/sourceimages/demo" in capsys.readouterr().out
    users = User.objects.count()
    call_command("create_demo")
    printed = capsys.readouterr().out
    assert "http://127.0.0.1:8000/admin/" in printed
    assert "Api-Key" not in printed
    assert "Password" not in printed
    assert Organization.objects.get().name == "demo"
    assert User.objects.count() == users


def test_the_demo_login_is_an_admin_of_the_demo_organization_alone(db, capsys):
    User.objects.create(username="demo", email="other@example.org", is_staff=True)
    call_command("create_demo")
    printed = dict(re.findall(r"^  (Admin login|Password) +(\S+)$", capsys.readouterr().out, re.MULTILINE))
    user = User.objects.get(username=printed["Admin login"])
    assert user.check_password(printed["Password"])
    assert (user.is_staff, user.is_superuser, user.email) == (True, False, "demo@example.org")
    membership = user.memberships.get()
    assert (membership.organization.name, membership.roles) == ("demo", [Role.ADMIN])
    assert membership.accepted_at is not None
