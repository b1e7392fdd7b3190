"""Signing keys in the admin: revealed on request, with an audit event."""

import pytest

from organizations.models import AuditEvent, SigningKey
from organizations.permissions import Role
from tests.support.staff import LONG, NUL, carried, everything, helper, logged_in, page, secret_of

pytestmark = pytest.mark.any_database


def keys(client, acme, action, **data):
    return client.post(page(acme, "keys"), {"action": action} | data)


def test_a_key_is_added_and_not_shown(admin, sam, acme):
    assert keys(admin, acme, "add").status_code == 302
    assert acme.signing_keys.count() == 2
    new = acme.signing_keys.latest("id")
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.user, event.target) == ("signing_key.created", sam, new.fingerprint)
    text = admin.get(page(acme, "keys")).content.decode()
    assert new.fingerprint in text
    assert not any(key.key in text for key in acme.signing_keys.all())


def test_revealing_a_key_records_an_audit_event(admin, sam, acme, log):
    key = acme.signing_keys.get()
    answer = keys(admin, acme, "show", key=key.fingerprint)
    assert (answer.status_code, secret_of(answer)) == (200, key.key)
    assert "no-store" in answer.headers["Cache-Control"]
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.user, event.organization) == ("signing_key.revealed", sam, acme)
    assert (event.target, event.source) == (key.fingerprint, "staff")
    assert key.key not in str(AuditEvent.objects.values().get(pk=event.pk))
    assert "/keys/" in str(log.entries)
    assert key.key not in str(log.entries)
    assert key.key not in carried(admin)
    assert key.key not in admin.get(page(acme, "keys")).content.decode()


def test_a_key_is_removed(admin, sam, acme):
    old = acme.signing_keys.get()
    keys(admin, acme, "add")
    assert keys(admin, acme, "remove", key=old.fingerprint).status_code == 302
    assert old not in acme.signing_keys.all()
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.user, event.target) == ("signing_key.deleted", sam, old.fingerprint)


def test_the_last_key_stays(admin, acme):
    before = everything()
    answer = keys(admin, acme, "remove", key=acme.signing_keys.get().fingerprint)
    assert answer.status_code == 400
    assert "only signing key" in answer.context["problem"]
    assert everything() == before


def test_the_number_of_keys_is_limited(admin, acme):
    while acme.signing_keys.count() < SigningKey.MAX_KEYS:
        keys(admin, acme, "add")
    before = everything()
    assert keys(admin, acme, "add").status_code == 400
    assert everything() == before
    assert ' value="add" disabled' in admin.get(page(acme, "keys")).content.decode()


@pytest.mark.parametrize("action", ["show", "remove"])
@pytest.mark.parametrize("key", ["", "x", NUL, LONG, "{other}"])
def test_unknown_keys_are_refused(admin, acme, charlie, action, key):
    keys(admin, acme, "add")
    other = charlie.user.memberships.get().organization.signing_keys.get()
    before = everything()
    answer = keys(admin, acme, action, key=key.replace("{other}", other.fingerprint))
    assert answer.status_code == 400
    assert everything() == before
    assert other.key not in answer.content.decode()


def test_the_page_takes_as_many_queries_for_two_keys_as_for_ten(admin, acme, queries):
    keys(admin, acme, "add")
    admin.get(page(acme, "keys"))  # shows the message
    few = queries(admin, page(acme, "keys"))
    for i in range(8):
        acme.signing_keys.create(key=f"key {i}")
    assert queries(admin, page(acme, "keys")) == few


def test_the_table_of_keys_is_for_admins_and_holds_no_secret(admin, acme):
    key = acme.signing_keys.get()
    address = f"/admin/organizations/signingkey/{key.pk}/change/"
    assert admin.get(address).status_code == 200
    assert key.key not in admin.get(address).content.decode()
    assert logged_in(helper(acme, Role.ADMIN_READ, name="sue")).get(address).status_code == 403
