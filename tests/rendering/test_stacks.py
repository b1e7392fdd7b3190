"""Saving, deleting and copying stacks: rules, audit log, limits."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from organizations.models import AuditEvent
from rendering.contents import StackContent, parse_content
from rendering.errors import InvalidStack, StackExists, StackNotFound
from rendering.models import Stack
from rendering.operations import delete_stack, save_stack
from rendering.tasks import delete_preview_stacks

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

RESIZE = parse_content({"operations": [{"name": "resize", "options": {"width": 200}}], "description": "Thumbnails"})
EMPTY = StackContent()
PROTECTED = parse_content({"options": {"protected": True}})


@pytest.fixture
def save(acme, alice):
    def call(name: str = "thumb", content: StackContent = RESIZE, *, overwrite: bool = False) -> Stack:
        stack, _ = save_stack(acme, name, content, overwrite=overwrite, actor=alice.actor)
        return stack

    return call


def events() -> list[tuple]:
    found = AuditEvent.objects.filter(action__startswith="stack.").order_by("id")
    return list(found.values_list("action", "target", "source"))


def based_on(name: str) -> StackContent:
    return StackContent(options={"basestack": name})


# --- Saving -----------------------------------------------------------------------------------------------------------


def test_a_saved_stack_is_read_as_it_was(acme, save):
    variables = {"long_name": "$b", "b": 1.5, "a": None}
    content = parse_content({"operations": [{"name": "noop"}], "variables": variables, "options": {"protected": "1"}})
    save("thumb", content)
    stack = acme.stacks.get()
    assert stack.content == content
    assert list(stack.variables) == ["long_name", "b", "a"]
    assert (stack.protected, stack.digest) == (True, content.digest)


def test_creating_is_recorded(acme, alice, save):
    stack = save()
    event = AuditEvent.objects.get(action="stack.created")
    assert (event.organization, event.user, event.target, event.target_id) == (acme, alice.user, "thumb", str(stack.pk))
    assert event.details == {"digest": RESIZE.digest}


def test_a_stack_that_exists_is_not_replaced_without_overwrite(acme, save):
    save()
    with pytest.raises(StackExists):
        save("thumb", EMPTY)
    assert acme.stacks.get().content == RESIZE
    assert len(events()) == 1


def test_overwriting_replaces_the_content_and_is_recorded(acme, save):
    created = save().created
    stack = save("thumb", EMPTY, overwrite=True)
    stack.refresh_from_db()
    assert (stack.content, stack.created) == (EMPTY, created)
    assert stack.modified > created
    event = AuditEvent.objects.get(action="stack.overwritten")
    assert event.details == {"digest": EMPTY.digest, "before": RESIZE.as_json()}


def test_a_large_previous_content_is_not_recorded(save):
    save("thumb", StackContent(variables={"text": "x" * 10_000}))
    save("thumb", EMPTY, overwrite=True)
    assert AuditEvent.objects.get(action="stack.overwritten").details == {"digest": EMPTY.digest}


def test_overwriting_with_the_same_content_records_nothing(save):
    first = save().modified
    assert save(overwrite=True).modified > first
    assert [action for action, *_ in events()] == ["stack.created"]


def test_overwriting_may_create(acme, alice):
    _, created = save_stack(acme, "thumb", RESIZE, overwrite=True, actor=alice.actor)
    assert created
    assert [action for action, *_ in events()] == ["stack.created"]


def test_overwriting_can_not_protect(acme, save):
    save()
    with pytest.raises(InvalidStack, match="Delete it and create it again"):
        save("thumb", PROTECTED, overwrite=True)
    assert acme.stacks.get().protected is False


def test_overwriting_can_lift_the_protection_and_keep_it(acme, save):
    save("thumb", PROTECTED)
    save("thumb", parse_content({"options": {"protected": True, "jpg.quality": 60}}), overwrite=True)
    assert acme.stacks.get().protected is True
    save("thumb", EMPTY, overwrite=True)
    assert acme.stacks.get().protected is False


def test_a_preview_can_become_protected(acme, save):
    save("_preview_dashboard")
    save("_preview_dashboard", PROTECTED, overwrite=True)
    assert acme.stacks.get().protected is True


@pytest.mark.parametrize(
    "name", ["a", "0", "-", "thumb_200-x", "x" * 80, "_preview", "_preview_rokka_dashboard", "dynamic2"]
)
def test_names(acme, save, name):
    save(name)
    assert acme.stacks.get().name == name


@pytest.mark.parametrize(
    "name", ["", "Thumb", "a.b", "a b", "ä", "a/b", "a\n", "x" * 81, "dynamic", "_", "_iiif", "_prev", "*"]
)
def test_malformed_and_reserved_names_are_refused(save, name):
    with pytest.raises(InvalidStack):
        save(name)
    assert not Stack.objects.exists()


def test_the_database_refuses_malformed_names(acme):
    with pytest.raises(IntegrityError), transaction.atomic():
        Stack.objects.create(organization=acme, name="Thumb", digest="")


def test_organizations_have_the_same_names(acme, stage, alice, save):
    save()
    save_stack(stage, "thumb", EMPTY, overwrite=False, actor=alice.actor)
    assert (acme.stacks.get().content, stage.stacks.get().content) == (RESIZE, EMPTY)


def test_the_number_of_stacks_is_limited(acme, save, monkeypatch):
    monkeypatch.setattr(Stack, "MAX_STACKS", 2)
    save("a")
    save("b")
    with pytest.raises(InvalidStack, match="at most 2 stacks"):
        save("c")
    save("a", EMPTY, overwrite=True)
    assert acme.stacks.count() == 2


# --- Basestacks -------------------------------------------------------------------------------------------------------


def test_a_basestack_may_be_missing(save):
    save("a", based_on("b"))


def test_a_stack_can_not_be_its_own_basestack(save):
    with pytest.raises(InvalidStack, match="a → a"):
        save("a", based_on("a"))


def test_basestacks_can_not_refer_to_each_other(acme, save):
    save("a", based_on("b"))
    save("b", based_on("c"))
    with pytest.raises(InvalidStack, match="c → a → b → c"):
        save("c", based_on("a"))
    assert acme.stacks.count() == 2


def test_basestacks_below_each_other_are_limited(save):
    save("s0")
    for number in range(1, 6):
        save(f"s{number}", based_on(f"s{number - 1}"))
    with pytest.raises(InvalidStack, match="At most 5 basestacks"):
        save("s6", based_on("s5"))


# --- Deleting ---------------------------------------------------------------------------------------------------------


def test_deleting_is_recorded_with_the_content(acme, alice, save):
    save()
    delete_stack(acme, "thumb", actor=alice.actor)
    assert not acme.stacks.exists()
    event = AuditEvent.objects.get(action="stack.deleted")
    assert (event.target, event.details["before"]) == ("thumb", RESIZE.as_json())


def test_a_missing_stack_can_not_be_deleted(acme, stage, alice, save):
    save_stack(stage, "thumb", RESIZE, overwrite=False, actor=alice.actor)
    with pytest.raises(StackNotFound):
        delete_stack(acme, "thumb", actor=alice.actor)
    assert stage.stacks.exists()


def test_previews_are_deleted_three_days_after_they_were_saved_last(acme, save):
    for name in ("_preview_old", "_preview_new", "thumb"):
        save(name)
    almost, old = timezone.now() - timedelta(days=2, hours=23), timezone.now() - timedelta(days=3, minutes=1)
    acme.stacks.update(modified=old)
    acme.stacks.filter(name="_preview_new").update(modified=almost)
    delete_preview_stacks()
    assert list(acme.stacks.order_by("name").values_list("name", flat=True)) == ["_preview_new", "thumb"]
    assert events()[-1] == ("stack.deleted", "_preview_old", "system")


def test_a_preview_that_is_saved_again_is_kept(acme, save):
    save("_preview_x")
    acme.stacks.update(modified=timezone.now() - timedelta(days=4))
    save("_preview_x", overwrite=True)
    delete_preview_stacks()
    assert acme.stacks.exists()
