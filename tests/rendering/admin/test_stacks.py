"""Stacks in the admin: who sees them, what they show, and deleting them."""

import pytest

from organizations.models import AuditEvent
from organizations.permissions import Role
from rendering.contents import parse_content
from rendering.models import Stack
from rendering.operations import save_stack
from tests.support.staff import helper, logged_in, superuser

pytestmark = [pytest.mark.any_database, pytest.mark.django_db]

STACKS = "/admin/rendering/stack/"


@pytest.fixture
def stack(acme, alice) -> Stack:
    content = parse_content(
        {"operations": [{"name": "resize", "options": {"width": 200}}], "variables": {"text": "<script>x</script>"}}
    )
    return save_stack(acme, "thumb", content, overwrite=False, actor=alice.actor)[0]


def page_of(stack: Stack) -> str:
    return f"{STACKS}{stack.pk}/change/"


def test_stacks_are_listed_and_shown(acme, stack):
    browser = logged_in(helper(acme, Role.READ))
    listed = browser.get(STACKS).content.decode()
    assert page_of(stack) in listed
    assert "resize" in listed
    shown = browser.get(page_of(stack)).content.decode()
    assert "&quot;width&quot;: 200" in shown
    assert "&lt;script&gt;" in shown
    assert "<script>x" not in shown


def test_stacks_are_in_the_navigation(acme):
    assert f'href="{STACKS}"' in logged_in(helper(acme, Role.READ)).get("/admin/").content.decode()


@pytest.mark.parametrize("role", [Role.UPLOAD, Role.IMAGES_WRITE])
def test_roles_without_access_to_stacks_do_not_see_them(acme, stack, role):
    browser = logged_in(helper(acme, role))
    assert browser.get(STACKS).status_code == 403
    assert browser.get(page_of(stack)).status_code == 403


def test_stacks_of_other_organizations_are_not_seen(stage, stack):
    browser = logged_in(helper(stage, Role.ADMIN))
    assert page_of(stack) not in browser.get(STACKS).content.decode()
    browser.post(page_of(stack), {"_delete_stack": "yes", "confirmed": "yes"})
    assert Stack.objects.exists()


def test_deleting_asks_first(acme, stack):
    browser = logged_in(helper(acme, Role.WRITE))
    asked = browser.post(page_of(stack), {"_delete_stack": "yes"}).content.decode()
    assert "thumb in acme" in asked
    assert Stack.objects.exists()
    browser.post(page_of(stack), {"_delete_stack": "yes", "confirmed": "yes"})
    assert not Stack.objects.exists()
    event = AuditEvent.objects.get(action="stack.deleted")
    assert (event.source, event.user.username) == ("staff", "sam")


def test_deleting_looks_dangerous_and_purging_does_not(acme, stack):
    browser = logged_in(helper(acme, Role.WRITE))
    for action, destructive in ("delete_stack", True), ("purge_renders", False):
        assert browser.post(page_of(stack), {f"_{action}": "yes"}).context["confirmation"].destructive == destructive
    buttons = browser.get(page_of(stack)).context["buttons"]
    assert {name: destructive for name, _, destructive in buttons} == {"purge_renders": False, "delete_stack": True}


def test_a_list_without_stacks_says_so(acme, stack):
    browser = logged_in(superuser())
    assert "No stacks found" in browser.get(f"{STACKS}?protected__exact=1").content.decode()
    stack.delete()
    empty = browser.get(STACKS).content.decode()
    assert "No stacks yet." in empty
    assert 'name="action"' not in empty


def test_readers_can_not_delete(acme, stack):
    browser = logged_in(helper(acme, Role.READ))
    assert "_delete_stack" not in browser.get(page_of(stack)).content.decode()
    browser.post(page_of(stack), {"_delete_stack": "yes", "confirmed": "yes"})
    assert Stack.objects.exists()


def test_nothing_can_be_changed_or_added(stack):
    browser = logged_in(superuser())
    browser.post(page_of(stack), {"name": "other"})
    assert browser.get(f"{STACKS}add/").status_code == 403
    assert Stack.objects.get().name == "thumb"


def test_renders_of_a_stack_are_purged(acme, stack):
    browser = logged_in(helper(acme, Role.WRITE))
    browser.post(page_of(stack), {"_purge_renders": "yes", "confirmed": "yes"})
    assert Stack.objects.get().cache_epoch == stack.cache_epoch + 1
    event = AuditEvent.objects.get(action="renders.purged")
    assert (event.source, event.target) == ("staff", "thumb")


def test_readers_can_not_purge(acme, stack):
    browser = logged_in(helper(acme, Role.READ))
    assert "_purge_renders" not in browser.get(page_of(stack)).content.decode()
    browser.post(page_of(stack), {"_purge_renders": "yes", "confirmed": "yes"})
    assert Stack.objects.get().cache_epoch == stack.cache_epoch
