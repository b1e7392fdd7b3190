"""Stored files are verified in turn: missing and corrupt ones are found, and nothing is removed.

On local files and on a real S3 server.
"""

import json
import os
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from organizations.models import AuditEvent
from sourceimages import jobs, task_state
from sourceimages.errors import StorageUnavailable
from sourceimages.maintenance import verify
from sourceimages.models import MaintenanceTask, StoredFile
from sourceimages.operations import verify as verify_operation
from tests.sourceimages.operations.test_heal import lost, rot
from tests.support import images


@pytest.fixture
def five(acme, alice, storage):
    for seed in range(5):
        alice.upload(acme, images.png(seed=seed))
    return list(StoredFile.objects.order_by("id"))


@pytest.fixture
def elapse():
    """Let this many days of the cycle pass."""

    def let(days):
        task = MaintenanceTask.objects.get(pk=verify.NAME)
        started = timezone.now() - timedelta(days=days)
        task.progress = task.progress | {"started": started.isoformat()}
        task.save(update_fields=["progress"])

    return let


def verified():
    return StoredFile.objects.exclude(verified_at=None).count()


def test_damage_is_reported_as_json(storage, five, capsys):
    lost(storage, five[3])
    with pytest.raises(CommandError):
        call_command("verify", json=True)
    printed = json.loads(capsys.readouterr().out)
    assert (printed["files"], printed["damaged"]) == (5, 1)
    assert printed["findings"] == [
        {"organization": "acme", "binary_hash": five[3].binary_hash, "key": five[3].key, "damage": "missing"}
    ]
    assert "1 files are missing" in printed["error"]


def test_rot_and_loss_are_found_and_nothing_is_removed(storage, five, capsys):
    rot(storage, five[1])
    lost(storage, five[3])
    keys = {one.key for one in storage.list_objects()}
    with pytest.raises(CommandError, match="2 files are missing or corrupt"):
        call_command("verify")
    told = capsys.readouterr().out
    assert f"ERROR: corrupt: acme {five[1].binary_hash} ({five[1].key})" in told
    assert f"ERROR: missing: acme {five[3].binary_hash} ({five[3].key})" in told
    assert "5 files verified" in told
    assert {one.key for one in storage.list_objects()} == keys
    assert [file.damage for file in StoredFile.objects.order_by("id")] == ["", "corrupt", "", "missing", ""]
    assert verified() == 3
    events = AuditEvent.objects.filter(action="file.damaged").order_by("id")
    assert [(event.target, event.details["damage"]) for event in events] == [
        (five[1].binary_hash, "corrupt"),
        (five[3].binary_hash, "missing"),
    ]


def test_a_bit_that_flips_on_a_read_only_disk_file_is_rot(acme, alice, storage_dir):
    alice.upload(acme, images.png())
    file = StoredFile.objects.get()
    path = storage_dir / file.key
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    os.chmod(path, 0o644)
    path.write_bytes(content)
    os.chmod(path, 0o444)
    assert verify_operation.damage_of(file) == "corrupt"


def test_operators_see_what_is_damaged_until_nothing_is(storage, five):
    lost(storage, five[0])
    verify.verify(StoredFile.objects.all())
    (held,) = task_state.held()
    assert held.name == verify.NAME
    assert held.held_details["count"] == 1
    assert held.held_details["examples"][0]["binary_hash"] == five[0].binary_hash
    assert "Upload the same content again" in held.held_reason
    storage.put(spooled(storage, images.png(seed=0)), five[0].key)  # from a backup
    verify.verify(StoredFile.objects.filter(verify.due()))
    assert task_state.held() == []
    assert not StoredFile.objects.exclude(damage="").exists()


def spooled(storage, content):
    path = storage.temp_dir / "file.part"
    path.write_bytes(content)
    return path


def test_a_finding_is_written_into_the_audit_trail_once(storage, five):
    lost(storage, five[0])
    for _ in range(3):
        verify.verify(StoredFile.objects.all())
    assert AuditEvent.objects.filter(action="file.damaged").count() == 1


def test_only_what_is_due_is_read_unless_all_is_asked_for(acme, alice, stage, capsys):
    alice.upload(acme, images.png())
    alice.upload(stage, images.png())
    for options, count in (
        (["acme"], 1),
        (["acme"], 0),
        (["acme", "--all"], 1),
        (["--limit", "1", "--all"], 1),
        ([], 1),
        ([], 0),
    ):
        call_command("verify", *options)
        assert f"{count} files verified" in capsys.readouterr().out
    StoredFile.objects.update(verified_at=timezone.now() - timedelta(days=31))
    call_command("verify")
    assert "2 files verified" in capsys.readouterr().out


def test_a_round_takes_its_time_and_reads_every_file_once(five, elapse):
    assert verify.verify_due() == 0
    counts = []
    for days in (6, 12, 12, 18, 24, 30):
        elapse(days)
        counts.append(verify.verify_due())
    assert (sum(counts), verified()) == (5, 5)
    assert max(counts) <= 2
    task = MaintenanceTask.objects.get(pk=verify.NAME)
    assert task.progress["done"] == 5
    StoredFile.objects.update(verified_at=None)
    verify.verify_due()  # the next round begins
    elapse(30)
    assert (verify.verify_due(), verified()) == (5, 5)


def test_missed_runs_are_caught_up_in_bounded_steps(five, elapse):
    verify.verify_due()
    elapse(90)
    assert [verify.verify_due(seconds=0) for _ in range(6)] == [1, 1, 1, 1, 1, 0]
    assert verified() == 5


def test_a_file_that_is_replaced_while_it_is_read_is_not_called_damaged(five, monkeypatch):
    def replaced(file):
        StoredFile.objects.filter(pk=file.pk).update(key="elsewhere")
        return "missing"

    monkeypatch.setattr(verify_operation, "damage_of", replaced)
    assert verify.verify_file(five[0]) is None
    assert StoredFile.objects.get(pk=five[0].pk).damage == ""


def test_a_storage_that_is_down_damages_nothing_and_passes_over_nothing(five, elapse, monkeypatch):
    def down(file):
        raise StorageUnavailable("down")

    verify.verify_due()
    elapse(30)
    with monkeypatch.context() as patch:
        patch.setattr(verify_operation, "damage_of", down)
        with pytest.raises(StorageUnavailable):
            verify.verify_due()
    assert not StoredFile.objects.exclude(damage="").exists()
    assert verify.verify_due() == 5


def test_one_file_that_cannot_be_read_now_keeps_no_other_waiting(five, monkeypatch):
    damage_of = verify_operation.damage_of

    def once(file):
        if file.pk == five[2].pk:
            raise StorageUnavailable("timed out")
        return damage_of(file)

    monkeypatch.setattr(verify_operation, "damage_of", once)
    assert verify.verify(StoredFile.objects.all()) == 4
    assert not StoredFile.objects.exclude(damage="").exists()


def test_a_copy_has_not_been_verified_and_is_as_damaged_as_its_original(five, acme, stage, alice):
    verify.verify(StoredFile.objects.all())
    StoredFile.objects.filter(pk=five[0].pk).update(damage="corrupt")
    jobs.run(jobs.start_copy_all(acme, stage, overwrite=False, actor=alice.actor).pk)
    assert stage.files.filter(verified_at=None).count() == 5
    assert [file.binary_hash for file in stage.files.exclude(damage="")] == [five[0].binary_hash]
