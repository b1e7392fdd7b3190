"""A wrong clock never empties the trash, and a large purge waits for a day."""

from datetime import timedelta

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils import timezone

from organizations.audit import COMMAND
from rokka.core.clock import DatabaseNow, database_now
from sourceimages import task_state
from sourceimages.maintenance import doubts, purge
from sourceimages.models import MaintenanceTask, SourceImage, StoredFile, Tombstone
from sourceimages.operations import expire_tombstone
from tests.conftest import consistency_errors
from tests.support import images
from tests.support.skips import only_postgresql
from tests.support.staff import logged_in, superuser
from tests.support.storage import keys, trashed


@pytest.fixture
def trash(storage, acme, alice) -> Tombstone:
    """Three images in the trash, one beside it; the purge has run before."""
    for seed in range(4):
        alice.upload(acme, images.png(seed=seed))
    for image in acme.images.order_by("id")[:3]:
        alice.api.delete(f"/sourceimages/acme/{image.hash}")
    first = Tombstone.objects.first()
    acme.images.exclude(tombstone=None).update(tombstone=first)
    assert purge.purge_expired() == 0
    return first


def expire(tombstone: Tombstone) -> None:
    """Let the deletion expire."""
    Tombstone.objects.filter(pk=tombstone.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


def nothing_happened() -> bool:
    return SourceImage.objects.count() == 4 and len(keys()) == 4 and not trashed() and consistency_errors() == []


def ago(task: str, **changes: timedelta) -> None:
    """Move columns of the task back by these durations."""
    MaintenanceTask.objects.filter(pk=task).update(**{name: F(name) - time for name, time in changes.items()})


# --- Clocks -----------------------------------------------------------------------------------------------------------


def test_the_clock_compares_as_exactly_as_columns_store(acme):
    for microsecond in (0, 1, 999_999):
        now = database_now().replace(microsecond=microsecond)
        Tombstone.objects.create(organization=acme, expires_at=now, reason="api")
    assert Tombstone.objects.filter(expires_at__lte=DatabaseNow() + timedelta(seconds=2)).count() == 3
    assert Tombstone.objects.filter(expires_at__lte=DatabaseNow() - timedelta(seconds=2)).count() == 0
    moment = database_now()
    Tombstone.objects.update(expires_at=moment)
    assert Tombstone.objects.filter(expires_at=moment).count() == Tombstone.objects.expired().count() == 3
    assert abs(database_now() - timezone.now()) < timedelta(minutes=1)


@pytest.mark.parametrize("storage", ["local"], indirect=True)  # S3 refuses requests of a machine with a wrong clock
def test_a_purge_by_a_machine_31_days_ahead_deletes_nothing(trash, acme, alice):
    with time_machine.travel(timezone.now() + timedelta(days=31)):
        for _ in range(3):
            assert purge.purge_expired() == 0
    assert nothing_happened()
    hash = trash.images.first().hash
    assert alice.api.post(f"/sourceimages/acme/{hash}/restore").status_code == 200


@pytest.mark.parametrize("storage", ["local"], indirect=True)  # S3 refuses requests of a machine with a wrong clock
def test_when_the_clock_is_set_right_the_purge_resumes(trash):
    with time_machine.travel(timezone.now() + timedelta(days=31)):
        purge.purge_expired()
    expire(trash)
    assert purge.purge_expired() == 3
    assert task_state.held() == []


@pytest.mark.parametrize("storage", ["local"], indirect=True)  # S3 refuses requests of a machine with a wrong clock
@only_postgresql  # on SQLite, the database's clock is that of the machine
def test_a_deletion_by_a_machine_31_days_behind_can_be_restored_for_its_30_days(storage, acme, alice, image):
    with time_machine.travel(timezone.now() - timedelta(days=31)):
        assert alice.api.delete(f"/sourceimages/acme/{image.hash}").status_code == 204
    tombstone = Tombstone.objects.get()
    assert abs(tombstone.deleted_at - timezone.now()) < timedelta(minutes=1)
    assert abs(tombstone.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    assert purge.purge_expired() == 0
    assert alice.api.post(f"/sourceimages/acme/{image.hash}/restore").status_code == 200


@pytest.mark.parametrize("storage", ["local"], indirect=True)  # S3 refuses requests of a machine with a wrong clock
def test_after_a_deletion_31_days_behind_on_one_machine_the_purge_waits(storage, acme, alice, image):
    """The machine runs a month behind, deletes, and is set right: the deletion looks old enough to be final."""
    with time_machine.travel(timezone.now() - timedelta(days=31)):
        purge.purge_expired()
        assert alice.api.delete(f"/sourceimages/acme/{image.hash}").status_code == 204
    assert purge.purge_expired() == 0
    assert len(keys()) == acme.images.count() == 1


def test_after_two_days_without_a_purge_it_waits_for_a_day(trash):
    expire(trash)
    ago(purge.TASK, last_run=timedelta(days=2, hours=1))
    assert purge.purge_expired() == purge.purge_expired() == 0
    assert nothing_happened()
    (held,) = task_state.held()
    assert (held.name, held.held_details["count"]) == ("purge", 3)
    ago(purge.TASK, held_since=doubts.HOLD_TIME - timedelta(minutes=1))
    assert purge.purge_expired() == 0
    ago(purge.TASK, held_since=timedelta(minutes=2))
    assert purge.purge_expired() == 3
    assert (task_state.held(), len(keys()), len(trashed()), consistency_errors()) == ([], 1, 3, [])


def test_another_clock_jump_restarts_the_day(trash):
    expire(trash)
    ago(purge.TASK, last_run=timedelta(days=3))
    purge.purge_expired()
    ago(purge.TASK, last_run=timedelta(days=3), held_since=timedelta(days=3))
    assert purge.purge_expired() == 0
    assert nothing_happened()


def test_after_a_leap_with_nothing_to_remove_nothing_is_held(trash):
    ago(purge.TASK, last_run=timedelta(days=300))
    assert purge.purge_expired() == 0
    assert task_state.held() == []


# --- How much ---------------------------------------------------------------------------------------------------------


def test_more_than_a_tenth_of_all_images_waits_for_a_day(trash, monkeypatch):
    monkeypatch.setattr(purge, "MIN_LIMIT", 2)
    expire(trash)
    assert purge.purge_expired() == 0
    assert nothing_happened()
    (held,) = task_state.held()
    assert held.held_reason.startswith("3 items would be removed at once")
    page = logged_in(superuser()).get("/admin/").content.decode()
    assert "manage.py purge_trash --confirm" in page
    ago(purge.TASK, held_since=doubts.HOLD_TIME)
    assert purge.purge_expired() == 3


def test_as_many_again_restart_the_day(trash, alice, acme, monkeypatch):
    monkeypatch.setattr(purge, "MIN_LIMIT", 0)
    Tombstone.objects.exclude(pk=trash.pk).delete()
    second = Tombstone.objects.create(organization=acme, expires_at=timezone.now() + timedelta(days=1), reason="api")
    one, *others = trash.images.order_by("id")
    SourceImage.objects.filter(pk=one.pk).update(tombstone=second)
    expire(second)
    assert purge.purge_expired() == 0
    expire(trash)
    ago(purge.TASK, held_since=doubts.HOLD_TIME)
    assert purge.purge_expired() == 0
    assert task_state.get(purge.TASK).held_details["count"] == 1 + len(others)
    assert nothing_happened()


def test_an_operator_confirms_and_sees_what(trash, monkeypatch, capsys):
    monkeypatch.setattr(purge, "MIN_LIMIT", 2)
    expire(trash)
    with pytest.raises(CommandError, match=r"Purge on hold\. 3 items would be removed"):
        call_command("purge_trash")
    with pytest.raises(CommandError, match=r"permanently delete 3 images \(.*\)\. Not a terminal: pass --yes"):
        call_command("purge_trash", "--confirm")
    assert nothing_happened()
    call_command("purge_trash", "--confirm", "--yes")
    assert "3 images permanently deleted." in capsys.readouterr().out
    assert (task_state.held(), len(trashed()), consistency_errors()) == ([], 3, [])


def test_what_a_person_let_expire_does_not_wait_and_what_else_expired_does(trash, acme, alice, monkeypatch):
    monkeypatch.setattr(purge, "MIN_LIMIT", 0)
    last = acme.images.active().get()
    alice.api.delete(f"/sourceimages/acme/{last.hash}")
    expire(trash)
    ago(purge.TASK, last_run=timedelta(days=3))
    expire_tombstone(Tombstone.objects.get(images=last), actor=COMMAND)
    assert purge.purge_expired() == 1
    assert trash.images.count() == StoredFile.objects.count() == 3
    assert [task.name for task in task_state.held()] == ["purge"]
