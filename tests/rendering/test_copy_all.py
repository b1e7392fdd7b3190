"""Copying stacks with the command copy_all."""

import pytest
from django.core.management import CommandError, call_command

from organizations.models import AuditEvent
from rendering.contents import StackContent, parse_content
from rendering.operations import save_stack

pytestmark = pytest.mark.django_db

RESIZE = parse_content([{"name": "resize", "options": {"width": 200}}])
EMPTY = StackContent()
PROTECTED = parse_content({"options": {"protected": True}})


@pytest.fixture
def save(acme, alice):
    def call(name: str, content: StackContent = RESIZE, *, organization=acme) -> None:
        save_stack(organization, name, content, overwrite=False, actor=alice.actor)

    return call


def test_stacks_are_copied_on_request(acme, stage, save, capsys):
    save("thumb")
    save("_preview_x")
    call_command("copy_all", "acme", "stage", "--yes")
    assert not stage.stacks.exists()
    call_command("copy_all", "acme", "stage", "--yes", "--stacks")
    assert [(stack.name, stack.content) for stack in stage.stacks.all()] == [("thumb", RESIZE)]
    assert AuditEvent.objects.filter(action="stack.created").latest("id").source == "command"
    assert "stacks created:   1" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "content"), [([], EMPTY), (["--overwrite"], RESIZE)])
def test_stacks_at_the_destination_are_only_replaced_with_overwrite(acme, stage, save, options, content):
    save("thumb")
    save("thumb", EMPTY, organization=stage)
    call_command("copy_all", "acme", "stage", "--yes", "--stacks", *options)
    assert stage.stacks.get().content == content


def test_a_stack_that_can_not_be_copied_fails_the_command_after_the_others(acme, stage, save, capsys):
    save("a", PROTECTED)
    save("b")
    save("a", EMPTY, organization=stage)
    with pytest.raises(CommandError, match="1 stack failed") as error:
        call_command("copy_all", "acme", "stage", "--yes", "--stacks", "--overwrite")
    assert error.value.returncode == 3
    assert [(stack.name, stack.content) for stack in stage.stacks.order_by("name")] == [("a", EMPTY), ("b", RESIZE)]
    assert "  a: Overwriting can't protect the stack 'a'" in capsys.readouterr().out


def test_a_dry_run_copies_no_stacks(acme, stage, save, capsys):
    save("thumb")
    call_command("copy_all", "acme", "stage", "--dry-run", "--stacks")
    assert not stage.stacks.exists()
    assert "[dry run] Would copy 1 stack from acme to stage." in capsys.readouterr().out


def test_copying_stacks_is_confirmed(acme, stage, save):
    save("thumb")
    with pytest.raises(CommandError, match=r"This will copy 0 images \(0 bytes\) from acme to stage, and 1 stack\."):
        call_command("copy_all", "acme", "stage", "--stacks")
    assert not stage.stacks.exists()
