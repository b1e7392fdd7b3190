"""Two rounds of one scheduled task never run at once, whoever starts them."""

from types import SimpleNamespace

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils.module_loading import import_string

import organizations.tasks
import sourceimages.tasks
from rokka.core.locks import exclusive

SCHEDULED = sorted({entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()})
COMMANDS = {
    "collect_garbage": ["collect_garbage", "empty_storage_trash"],
    "optimize_pending": ["optimize_pending"],
    "purge_trash": ["purge"],
    "snapshot_stats": ["snapshot_stats"],
    "verify": ["verify"],
}
RUNS = [(command, name) for command, names in COMMANDS.items() for name in names]


@pytest.mark.parametrize("task", SCHEDULED)
def test_a_scheduled_task_does_nothing_while_another_process_runs_it(db, in_process, acme, monkeypatch, task):
    skipped = []
    recorder = SimpleNamespace(info=lambda event, **fields: skipped.append((event, fields["task"])))
    for module in organizations.tasks, sourceimages.tasks:
        monkeypatch.setattr(module, "log", recorder)
    name, run = task.rpartition(".")[2], import_string(task)
    with exclusive(name):
        run()
    assert skipped == [("task.already_running", name)]
    run()
    assert len(skipped) == 1


@pytest.mark.parametrize(("command", "name"), RUNS)
def test_a_command_says_that_another_process_is_at_it_and_exits(db, acme, command, name):
    with exclusive(name), pytest.raises(CommandError, match=f"{name} is already running in another process"):
        call_command(command)
    call_command(command)


@pytest.mark.any_database
def test_messages_of_the_scheduler_expire_before_they_pile_up():
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        assert entry["schedule"] <= entry["options"]["expires"] <= max(entry["schedule"], settings.MIN_EXPIRY)
