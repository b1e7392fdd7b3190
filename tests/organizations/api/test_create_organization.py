import json

import pytest
from django.core.management import CommandError, call_command

from organizations.models import ApiKey, AuditEvent, Membership, Organization, User
from organizations.usage import counters


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


def test_the_key_itself_is_not_kept(db, capsys):
    call_command("create_organization", "acme", email="alice@example.org", json=True)
    key = json.loads(capsys.readouterr().out)["api_key"]
    assert ApiKey.objects.get().digest == ApiKey.digest_of(key)
    assert key not in str(ApiKey.objects.values().get())


@pytest.mark.parametrize(
    ("name", "email", "says"),
    [
        ("Acme", "alice@example.org", "a-z"),
        ("acme-", "alice@example.org", "a-z"),
        ("acme\n", "alice@example.org", "a-z"),
        ("a" * 64, "alice@example.org", "a-z"),
        ("taken", "alice@example.org", "already"),
        ("acme", "nobody", "e-mail"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_made(db, name, email, says):
    call_command("create_organization", "taken", email="bob@example.org")
    with pytest.raises(CommandError, match=says):
        call_command("create_organization", name, email=email)
    assert Organization.objects.count() == User.objects.count() == ApiKey.objects.count() == 1


def test_the_demonstration_is_made_once(db, capsys):
    call_command("create_demo", port="8123")
    assert "http://127.0.0.1:8123/sourceimages/demo" in capsys.readouterr().out
    call_command("create_demo")
    assert "Api-Key" not in capsys.readouterr().out
    assert Organization.objects.get().name == "demo"
