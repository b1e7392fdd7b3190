"""--dry-run changes nothing and tells the numbers of the real run; --json prints one JSON object."""

import json
import os
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from django.apps import apps
from django.core import serializers
from django.core.management import CommandError, call_command, get_commands, load_command_class

from organizations.management.base import ChangeCommand
from sourceimages import ownership
from sourceimages.operations import delete_image
from sourceimages.storage import OWNER_MARK
from tests.support import images
from tests.support.rows import insert_images
from tests.support.storage import let_pass

ARGUMENTS = {
    "accept_restore": ["--yes"],
    "adopt_storage": ["--yes"],
    "collect_garbage": [],
    "copy_all": ["acme", "stage", "--yes"],
    "delete_all": ["acme", "--yes"],
    "optimize_pending": [],
    "purge_renders": ["acme"],
    "purge_trash": [],
    "rebuild_index": [],
    "recover_files": ["--yes"],
    "recover_orphans": ["--yes"],
    "restore_all": ["acme", "--yes"],
}
WRONG_MARKS = {"accept_restore": {"counter": 1000}, "adopt_storage": {"instance": str(uuid4())}}
OUR_APPS = {"rokka", "organizations", "sourceimages", "rendering"}
# They need a job, a key or a removed admin; tests/sourceimages/jobs and tests/rokka/backoffice/test_key_effects.py
TESTED_ELSEWHERE = {"delete_api_key", "restore_admins", "retry_job", "undo_job"}


def snapshot(folder):
    """All rows, and all files with their content."""
    rows = [serializers.serialize("json", model.objects.order_by("pk")) for model in apps.get_models()]
    return rows, {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_command_that_changes_much_is_here():
    own = {name: str(app) for name, app in get_commands().items() if app in OUR_APPS}
    found = {name for name, app in own.items() if isinstance(load_command_class(app, name), ChangeCommand)}
    assert found == ARGUMENTS.keys() | TESTED_ELSEWHERE


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_dry_run_changes_nothing_and_tells_the_numbers(name, acme, stage, alice, storage_dir, capsys):
    deleted, *_ = insert_images(acme, 3, actor=alice.actor)
    alice.upload(acme, images.png(seed=5))
    delete_image(deleted, actor=alice.actor)
    if name == "purge_trash":
        let_pass(timedelta(days=31))
    if name == "collect_garbage":
        left = storage_dir / ".spool" / "old.part"
        left.write_bytes(b"left by a killed process")
        os.utime(left, (0, 0))
    if name in WRONG_MARKS:
        file = storage_dir / OWNER_MARK
        file.write_text(json.dumps(json.loads(file.read_text()) | WRONG_MARKS[name]))
    before = snapshot(storage_dir)
    told = report(capsys, name, "--dry-run")
    assert snapshot(storage_dir) == before
    done = report(capsys, name)
    assert (told.pop("dry_run"), done.pop("dry_run")) == (True, False)
    assert told.items() <= done.items()
    assert told


def test_a_command_that_is_refused_prints_json_too(acme, alice, storage_dir, capsys):
    insert_images(acme, 1, actor=alice.actor)
    file = storage_dir / OWNER_MARK
    file.write_text(json.dumps(json.loads(file.read_text()) | {"instance": str(uuid4())}))
    ownership.current(fresh=True)  # or this process notices seconds later
    told = report(capsys, "delete_all")
    assert told["dry_run"] is False
    assert "adopt_storage" in told["error"]
    assert acme.images.active().count() == 1


def report(capsys, name, *options):
    """The JSON object that the command prints; a command on hold fails, but prints it."""
    with suppress(CommandError):
        call_command(name, *ARGUMENTS[name], "--json", *options)
    return json.loads(capsys.readouterr().out)
