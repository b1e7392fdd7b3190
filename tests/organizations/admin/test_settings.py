"""The profile and the options of an organization."""

import pytest

from organizations.models import AuditEvent, Membership
from organizations.permissions import Role
from tests.support.staff import LONG, NUL, everything, helper, logged_in, page

pytestmark = pytest.mark.any_database


@pytest.fixture
def filled(acme):
    acme.options = {"remote_basepath": "https://example.org", "remote_fullurl_whitelist": ["a", "b"]}
    acme.save()
    return acme


def profile(client, acme, **data):
    return client.post(page(acme, "settings"), {"action": "profile"} | data)


def displayed_options(client, acme):
    """Return the values that the form of options shows."""
    return {option.name: option.value for option in client.get(page(acme, "settings")).context["options"]}


def options(client, acme, **data):
    return client.post(page(acme, "settings"), {"action": "options"} | displayed_options(client, acme) | data)


def test_the_profile_is_changed(admin, sam, acme):
    assert profile(admin, acme, display_name="Acme & Co", billing_email="bills@example.org").status_code == 302
    acme.refresh_from_db()
    assert (acme.display_name, acme.billing_email) == ("Acme & Co", "bills@example.org")
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.user, event.organization) == ("organization.updated", sam, acme)


def test_the_display_name_can_be_changed_without_an_email(admin, acme):
    acme.billing_email = ""
    acme.save()
    form = admin.get(page(acme, "settings")).content.decode()
    assert 'id="billing_email" name="billing_email" type="email" value="">' in form
    assert profile(admin, acme, display_name="Ours", billing_email="").status_code == 302
    acme.refresh_from_db()
    assert (acme.display_name, acme.billing_email) == ("Ours", "")
    assert AuditEvent.objects.latest("id").details["after"] == {"display_name": "Ours"}


def test_saving_unchanged_values_changes_nothing(admin, filled):
    before = everything()
    sent = {"display_name": filled.display_name, "billing_email": filled.billing_email}
    assert profile(admin, filled, **sent).status_code == 302
    assert options(admin, filled).status_code == 302
    assert everything() == before


@pytest.mark.parametrize(
    ("name", "email"),
    [
        ("", "a@example.org"),
        ("  ", "a@example.org"),
        ("x" * 256, "a@example.org"),
        (LONG, "a@example.org"),
        (NUL, "a@example.org"),
        ("Ours", ""),
        ("Ours", "unknown"),
        ("Ours", f"{'x' * 60}@{'y' * 60}.{'y' * 60}.{'y' * 60}.{'y' * 60}.org"),
        ("Ours", f"{NUL}@example.org"),
    ],
)
def test_an_invalid_profile_changes_nothing_and_stays_in_the_form(admin, acme, name, email):
    before = everything()
    answer = profile(admin, acme, display_name=name, billing_email=email)
    assert answer.status_code == 400
    assert everything() == before
    form = answer.content.decode()
    assert f'name="display_name" value="{name}"' in form
    assert f'name="billing_email" type="email" value="{email}"' in form


def test_the_longest_name_is_accepted(admin, acme):
    assert profile(admin, acme, display_name="ü" * 255, billing_email=acme.billing_email).status_code == 302


def test_options_are_set_and_removed(admin, sam, filled):
    sent = {
        "search_language": "german",
        "protect_dynamic_stack": "true",
        "remote_fullurl_allow": "false",
        "remote_fullurl_whitelist": " ^https:\r\n\r\n c.*d \r\n",
        "remote_basepath": "",
    }
    assert options(admin, filled, **sent).status_code == 302
    filled.refresh_from_db()
    assert filled.options == {
        "search_language": "german",
        "protect_dynamic_stack": True,
        "remote_fullurl_allow": False,
        "remote_fullurl_whitelist": ["^https:", "c.*d"],
    }
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.user, event.organization) == ("organization.options_updated", sam, filled)
    shown = displayed_options(admin, filled)
    assert (shown["remote_fullurl_allow"], shown["remote_fullurl_whitelist"]) == ("false", "^https:\nc.*d")


@pytest.mark.parametrize(
    "wrong",
    [
        {"remote_fullurl_whitelist": "("},
        {"remote_fullurl_whitelist": NUL},
        {"remote_fullurl_whitelist": LONG},
        {"search_language": "klingon"},
        {"protect_dynamic_stack": "perhaps"},
        {"render_org_fallback": "unknown"},
        {"render_org_fallback": NUL},
        {"render_org_fallback": LONG},
    ],
)
def test_invalid_options_change_nothing_and_stay_in_the_form(admin, filled, wrong):
    before = everything()
    answer = options(admin, filled, **({"remote_basepath": ""} | wrong))
    assert answer.status_code == 400
    assert everything() == before
    form = answer.content.decode()
    assert 'name="remote_basepath" value=""' in form
    assert "https://example.org" not in form
    for one in answer.context["options"]:
        assert one.value == wrong.get(one.name, "" if one.name == "remote_basepath" else one.value)
    typed = next(one.value for one in answer.context["options"] if one.name in wrong)
    assert [typed] == list(wrong.values())


def test_an_invalid_profile_does_not_change_the_form_of_options(admin, filled):
    answer = profile(admin, filled, display_name="")
    assert 'value="https://example.org"' in answer.content.decode()


def test_a_fallback_set_by_another_admin_does_not_block_other_options(admin, filled, charlie):
    """Setting the fallback requires an admin of both organizations; other options don't."""
    filled.options["render_org_fallback"] = "other"
    filled.save()
    assert options(admin, filled, search_language="german").status_code == 302
    filled.refresh_from_db()
    assert filled.options["search_language"] == "german"
    assert filled.options["render_org_fallback"] == "other"


def test_a_fallback_requires_an_admin_of_both(admin, sam, filled, charlie):
    before = everything()
    assert options(admin, filled, render_org_fallback="other").status_code == 400
    assert everything() == before
    other = charlie.user.memberships.get().organization
    Membership.objects.create(organization=other, user=sam, roles=[Role.ADMIN])
    assert options(admin, filled, render_org_fallback="other").status_code == 302


def test_readers_see_options_and_no_email(filled):
    filled.billing_email = "bills@example.org"
    filled.save()
    text = logged_in(helper(filled, Role.READ)).get(page(filled, "settings")).content.decode()
    assert "https://example.org" in text
    assert "bills@example.org" not in text
