"""Files that garbage collection never moves, even with a wrong database, clock or setting."""

from datetime import timedelta

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.models import Organization
from rokka.core.errors import InvalidInput
from sourceimages import grace_period, jobs, ownership, task_state
from sourceimages.maintenance import garbage_collection, survey
from sourceimages.models import MaintenanceTask, SourceImage, StoredFile
from sourceimages.operations import copy
from sourceimages.storage import new_key
from tests.conftest import consistency_errors
from tests.support import images
from tests.support.staff import logged_in, superuser
from tests.support.storage import collect, keys, put, set_grace_time, trashed

UNKNOWN = "0123456789abcdef0123456789abcdef"  # an organization that is not here


@pytest.fixture
def three(storage, acme, alice) -> set[str]:
    """Keys of three images."""
    for seed in range(3):
        alice.upload(acme, images.png(seed=seed))
    return keys()


def orphans(acme: Organization, count: int) -> list[str]:
    ownership.check_writable()  # the storage has its mark before there are files
    made = sorted(new_key(acme.pk, f"{number:040x}") for number in range(count))
    for key in made:
        put(key, b"orphan")
    set_grace_time(-5)
    return made


# --- Not ours ---------------------------------------------------------------------------------------------------------


def test_a_storage_that_others_use_too_keeps_their_files(storage, acme, three, capsys):
    theirs = {
        "rokka.sqlite3",
        "secret_key",
        "backups/2026-11-29.dump",
        f"{acme.pk.hex}/notes.txt",
        new_key(acme.pk, "ab" * 20).replace(acme.pk.hex, UNKNOWN),
    }
    for key in theirs:
        put(key, b"theirs")
    set_grace_time(-5)
    call_command("collect_garbage")
    assert "5 files (30 bytes) in the storage not created by rokka, skipped, for example" in capsys.readouterr().out
    assert (keys(), trashed(), consistency_errors()) == (three | theirs, set(), [])
    page = logged_in(superuser()).get("/admin/").content.decode()
    assert "5 files, 30\xa0bytes. They were not created by rokka" in page


def test_a_file_older_than_its_organization_is_not_moved(storage, acme):
    """For example, if the storage was used with another database before."""
    (key,) = orphans(acme, 1)
    Organization.objects.update(created=timezone.now() + timedelta(hours=1))
    assert collect() == 0
    assert (keys(), trashed(), consistency_errors()) == ({key}, set(), [])


def test_names_that_are_no_unicode_do_not_stop_the_look(acme, storage_dir, monkeypatch):
    monkeypatch.setattr(survey, "KEYS_PER_STEP", 1)
    ownership.check_writable()  # makes the folder and its mark
    for name in (b"\xff\xfe", b"\xff", b"new\nline", "é".encode()):
        (storage_dir / name.decode(errors="surrogateescape")).write_bytes(b"")
    for _ in range(5):
        garbage_collection.collect_garbage()
    last = task_state.progress_of(garbage_collection.TASK)["last"]
    assert (last["seen"], last["foreign"], sorted(last["foreign_examples"])) == (
        4,
        4,
        ["%C3%A9", "%FF", "%FF%FE", "new%0Aline"],
    )


# --- Too much ---------------------------------------------------------------------------------------------------------


def test_a_round_that_would_move_too_much_moves_nothing_and_waits_for_an_operator(
    storage, acme, three, monkeypatch, capsys
):
    """A new, old or restored database with a full storage: its rows are missing."""
    monkeypatch.setattr(garbage_collection, "MIN_LIMIT", 2)
    SourceImage.objects.all().delete()
    StoredFile.objects.all().delete()
    set_grace_time(-5)
    with pytest.raises(CommandError, match=r"would move 3 of .* files .* limit without confirmation is 2"):
        call_command("collect_garbage")
    assert (keys(), trashed()) == (three, set())
    (held,) = task_state.held()
    assert (held.name, held.held_details["count"]) == ("garbage_collection", 3)
    assert set(held.held_details["examples"]) <= three
    page = logged_in(superuser()).get("/admin/").content.decode()
    assert "Waiting for an operator" in page
    assert "manage.py collect_garbage --confirm" in page

    with pytest.raises(CommandError, match="pass --yes to confirm"):
        call_command("collect_garbage", "--confirm")
    assert (keys(), trashed()) == (three, set())
    call_command("collect_garbage", "--confirm", "--yes")
    assert (keys(), trashed()) == (set(), three)
    assert task_state.held() == []


def test_the_limit_is_that_of_the_whole_round_and_not_of_its_steps(storage, acme, three, monkeypatch):
    monkeypatch.setattr(garbage_collection, "MIN_LIMIT", 4)
    monkeypatch.setattr(survey, "KEYS_PER_STEP", 2)
    made = orphans(acme, 5)
    for _ in range(8):
        garbage_collection.collect_garbage()
    assert (keys(), trashed()) == (three | set(made), set())
    assert [task.held_details["count"] for task in task_state.held()] == [5]


def test_rows_that_no_image_shows_count_as_well(storage, acme, three, monkeypatch):
    monkeypatch.setattr(garbage_collection, "MIN_LIMIT", 2)
    set_grace_time(-5)
    SourceImage.objects.all().delete()
    assert garbage_collection.collect_garbage(at_once=True).held
    assert (keys(), trashed(), StoredFile.objects.count()) == (three, set(), 3)


def test_a_hold_ends_when_there_is_no_reason_for_it_any_more(storage, acme, monkeypatch):
    monkeypatch.setattr(garbage_collection, "MIN_LIMIT", 0)
    orphans(acme, 1)
    assert garbage_collection.collect_garbage(at_once=True).held
    monkeypatch.setattr(garbage_collection, "MIN_LIMIT", 1)
    assert collect() == 1
    assert task_state.held() == []


def test_a_dry_run_moves_nothing(storage, acme, capsys):
    made = orphans(acme, 2)
    call_command("collect_garbage", "--dry-run")
    assert "[dry run] Would move 2 orphaned files (12 bytes)" in capsys.readouterr().out
    assert keys() == set(made)


# --- A look that is spread over a day ---------------------------------------------------------------------------------


def test_the_survey_resumes_at_its_position_and_sees_each_key_once(storage, acme, three, monkeypatch):
    monkeypatch.setattr(survey, "KEYS_PER_STEP", 3)
    made = orphans(acme, 4)
    places = []
    for _ in range(3):
        assert trashed() == set()
        garbage_collection.collect_garbage()
        places.append(task_state.get(garbage_collection.TASK).position)
    assert places == [sorted(three | set(made))[2], sorted(three | set(made))[5], ""]
    assert task_state.progress_of(garbage_collection.TASK)["last"]["seen"] == 7
    assert (keys(), trashed()) == (three, set(made))


def test_of_two_who_look_at_the_same_keys_one_is_counted(storage, acme, three, monkeypatch):
    monkeypatch.setattr(survey, "KEYS_PER_STEP", 2)
    real = survey._scan

    def overtaken(*arguments):
        monkeypatch.setattr(survey, "_scan", real)
        assert survey.survey_step(garbage_collection.TASK, limit=5) is None
        return real(*arguments)

    monkeypatch.setattr(survey, "_scan", overtaken)
    assert survey.survey_step(garbage_collection.TASK, limit=5) is None
    found = survey.survey_step(garbage_collection.TASK, limit=5)
    assert found is not None
    assert found.seen == 3


# --- Clocks and variables ---------------------------------------------------------------------------------------------


def copied_while(act, monkeypatch, acme, stage):
    """Copy all images, and call a function between copying files and inserting rows."""
    write = copy._write

    def later(*arguments):
        act()
        return write(*arguments)

    monkeypatch.setattr(copy, "_write", later)
    return jobs.run(jobs.start_copy_all(acme, stage, overwrite=False, actor=COMMAND).pk)


@pytest.mark.parametrize("storage", ["local"], indirect=True)  # S3 refuses requests of a machine with a wrong clock
def test_a_worker_two_hours_ahead_moves_no_copy_under_way(storage, acme, three, stage, monkeypatch):
    def collected():
        with time_machine.travel(timezone.now() + timedelta(hours=2)):
            assert "Clocks differ" in garbage_collection.collect_garbage(at_once=True).held

    job = copied_while(collected, monkeypatch, acme, stage)
    assert job.counts == {"created": 3}
    assert (len(keys()), trashed(), consistency_errors()) == (6, set(), [])
    assert [task.name for task in task_state.held()] == ["clock"]
    assert collect() == 0
    assert task_state.held() == []


def test_a_copy_that_was_moved_all_the_same_is_whole_at_the_first_look(storage, acme, three, stage, alice, monkeypatch):
    """Clocks are not compared: the grace period is over while the copies have no row yet."""

    def collected():
        set_grace_time(-5)
        assert collect() == 3

    copied_while(collected, monkeypatch, acme, stage)
    assert len(trashed()) == 3
    for image in stage.images.all():
        answer = alice.api.get(f"/sourceimages/stage/{image.hash}/download")
        assert b"".join(answer.streaming_content)
    assert (len(keys()), trashed(), consistency_errors()) == (6, set(), [])


def test_a_short_grace_time_of_a_shell_moves_no_copy_under_way(storage, acme, three, stage, settings, monkeypatch):
    settings.ORPHAN_GRACE_SECONDS = 1
    job = copied_while(lambda: call_command("collect_garbage"), monkeypatch, acme, stage)
    assert job.counts == {"created": 3}
    assert (len(keys()), trashed(), consistency_errors()) == (6, set(), [])


def test_the_grace_time_can_be_made_longer_by_anyone_and_shorter_by_command_only(db, settings):
    assert grace_period.seconds() == 3600
    settings.ORPHAN_GRACE_SECONDS = 7200
    assert grace_period.seconds() == 7200
    settings.ORPHAN_GRACE_SECONDS = 3600  # another process, which has no such variable
    assert grace_period.seconds() == 7200
    with pytest.raises(CommandError, match="at least 3600"):
        call_command("collect_garbage", "--grace-seconds", "60")
    assert grace_period.seconds() == 7200
    call_command("collect_garbage", "--grace-seconds", "3600")
    assert grace_period.seconds() == 3600
    settings.ORPHAN_GRACE_SECONDS = 7200
    with pytest.raises(InvalidInput):
        grace_period.set_seconds(3600)


def test_a_file_that_gets_its_row_while_it_is_moved_is_put_back(storage, acme, three, monkeypatch):
    file = StoredFile.objects.order_by("id").first()
    kept = StoredFile.objects.filter(pk=file.pk)
    row = kept.values().get()
    moving = type(storage).move_to_trash

    def with_a_row_meanwhile(self, found):
        done = moving(self, found)
        with connection.constraint_checks_disabled():
            StoredFile.objects.create(**row)
        return done

    monkeypatch.setattr(type(storage), "move_to_trash", with_a_row_meanwhile)
    images_of_it = list(SourceImage.objects.filter(file=file))
    SourceImage.objects.filter(file=file).delete()
    kept.delete()
    set_grace_time(-5)
    assert collect() == 0
    SourceImage.objects.bulk_create(images_of_it)
    assert (keys(), trashed()) == (three, set())
    assert MaintenanceTask.objects.get(pk="storage_trash").progress["recovered"] == 1
