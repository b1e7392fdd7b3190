"""What an organization says about itself, and its options."""

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


def facts(client, acme, **sent):
    return client.post(page(acme, "settings"), {"do": "facts"} | sent)


def as_shown(client, acme):
    """The form of options, as it comes."""
    return {one.name: one.value for one in client.get(page(acme, "settings")).context["options"]}


def options(client, acme, **sent):
    return client.post(page(acme, "settings"), {"do": "options"} | as_shown(client, acme) | sent)


def test_facts_are_changed(admin, sam, acme):
    assert facts(admin, acme, display_name="Acme & Co", billing_email="bills@example.org").status_code == 302
    acme.refresh_from_db()
    assert (acme.display_name, acme.billing_email) == ("Acme & Co", "bills@example.org")
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.user, event.organization) == ("organization.updated", sam, acme)


def test_the_name_alone_can_be_changed_where_there_is_no_address(admin, acme):
    acme.billing_email = ""
    acme.save()
    form = admin.get(page(acme, "settings")).content.decode()
    assert 'id="billing_email" name="billing_email" type="email" value="">' in form
    assert facts(admin, acme, display_name="Ours", billing_email="").status_code == 302
    acme.refresh_from_db()
    assert (acme.display_name, acme.billing_email) == ("Ours", "")
    assert AuditEvent.objects.latest("id").details["after"] == {"display_name": "Ours"}


def test_saving_what_was_there_is_no_change(admin, filled):
    before = everything()
    sent = {"display_name": filled.display_name, "billing_email": filled.billing_email}
    assert facts(admin, filled, **sent).status_code == 302
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
        ("Ours", "nobody"),
        ("Ours", f"{'x' * 60}@{'y' * 60}.{'y' * 60}.{'y' * 60}.{'y' * 60}.org"),
        ("Ours", f"{NUL}@example.org"),
    ],
)
def test_wrong_facts_change_nothing_and_stay_in_the_form(admin, acme, name, email):
    before = everything()
    answer = facts(admin, acme, display_name=name, billing_email=email)
    assert answer.status_code == 400
    assert everything() == before
    form = answer.content.decode()
    assert f'name="display_name" value="{name}"' in form
    assert f'name="billing_email" type="email" value="{email}"' in form


def test_the_longest_name_is_taken(admin, acme):
    assert facts(admin, acme, display_name="ü" * 255, billing_email=acme.billing_email).status_code == 302


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
    shown = as_shown(admin, filled)
    assert (shown["remote_fullurl_allow"], shown["remote_fullurl_whitelist"]) == ("false", "^https:\nc.*d")


@pytest.mark.parametrize(
    "wrong",
    [
        {"remote_fullurl_whitelist": "("},
        {"remote_fullurl_whitelist": NUL},
        {"remote_fullurl_whitelist": LONG},
        {"search_language": "klingon"},
        {"protect_dynamic_stack": "perhaps"},
        {"render_org_fallback": "nobody"},
        {"render_org_fallback": NUL},
        {"render_org_fallback": LONG},
    ],
)
def test_a_refused_option_changes_nothing_and_brings_nothing_back(admin, filled, wrong):
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


def test_a_refused_name_leaves_the_options_as_they_are_shown(admin, filled):
    answer = facts(admin, filled, display_name="")
    assert 'value="https://example.org"' in answer.content.decode()


def test_a_fallback_that_somebody_else_set_stands_in_nobodys_way(admin, filled, charlie):
    """Only an admin of both may set it; whoever administrates one may set everything else."""
    filled.options["render_org_fallback"] = "other"
    filled.save()
    assert options(admin, filled, search_language="german").status_code == 302
    filled.refresh_from_db()
    assert filled.options["search_language"] == "german"
    assert filled.options["render_org_fallback"] == "other"


def test_a_fallback_takes_an_admin_of_both(admin, sam, filled, charlie):
    before = everything()
    assert options(admin, filled, render_org_fallback="other").status_code == 400
    assert everything() == before
    other = charlie.user.memberships.get().organization
    Membership.objects.create(organization=other, user=sam, roles=[Role.ADMIN])
    assert options(admin, filled, render_org_fallback="other").status_code == 302


def test_who_may_only_read_sees_options_and_no_address(filled):
    filled.billing_email = "bills@example.org"
    filled.save()
    told = logged_in(helper(filled, Role.READ)).get(page(filled, "settings")).content.decode()
    assert "https://example.org" in told
    assert "bills@example.org" not in told
