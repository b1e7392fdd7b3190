"""What operators do with all pictures at once: copying, deleting, bringing back, purging."""

import io
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from organizations import counters
from organizations.audit import COMMAND
from organizations.models import AuditEvent, Job, Organization
from organizations.operations import create_organization
from sourceimages import jobs
from sourceimages.errors import StorageUnavailable
from sourceimages.management import progress
from sourceimages.models import SourceImage, StoredFile, Tombstone
from sourceimages.operations import delete_image, restore_image, set_locked
from sourceimages.storage import LocalStorage
from tests import images
from tests.conftest import contradictions

committing = pytest.mark.django_db(transaction=True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """Also where these tests were started in the background, whose shell has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs a command and answers what it printed; with `typed`, a person is at the terminal."""

    def call(*arguments: str, typed: str | None = None) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO() if typed is None else Terminal(typed))
        call_command(*arguments)
        return capsys.readouterr().out

    return call


@pytest.fixture
def refused(run, capsys):
    """Runs a command that must fail, and answers what it printed and said; `status` is what a shell sees."""

    def call(*arguments: str, typed: str | None = None, status: int = 1) -> str:
        with pytest.raises(CommandError) as error:
            run(*arguments, typed=typed)
        assert error.value.returncode == status
        return f"{capsys.readouterr().out}{error.value}"

    return call


@pytest.fixture
def other(db) -> Organization:
    return create_organization("other", email="charlie@example.org", actor=COMMAND).organization


@pytest.fixture
def six(acme, alice) -> list[SourceImage]:
    """Six pictures of acme, which are done in batches of two."""
    alice.upload(acme, *(images.png(seed=seed) for seed in range(6)))
    for number, image in enumerate(acme.images.order_by("id")):
        acme.images.filter(pk=image.pk).update(name=f"{number}.png")
    return list(acme.images.order_by("id"))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(jobs, "BATCH", 2)


@pytest.fixture
def at_batch(monkeypatch):
    """Does something before a batch of a kind of job, once."""

    def plan(kind: str, number: int, act: Callable[[], object]) -> None:
        step, count = jobs.STEPS[kind], 0

        def stepping(job_id):
            nonlocal count
            count += 1
            if count == number:
                act()
            return step(job_id)

        monkeypatch.setitem(jobs.STEPS, kind, stepping)

    return plan


def raising(error: BaseException) -> Callable[..., None]:
    def act(*arguments: object, **options: object) -> None:
        raise error

    return act


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def state(organization: Organization) -> list[dict[str, object]]:
    """All there is to know of its pictures."""
    return list(organization.images.order_by("id").values())


def size_of(pictures: list[SourceImage]) -> str:
    return filesizeformat(sum(image.size for image in pictures)).replace("\xa0", " ")


def living(organization: Organization) -> set[str]:
    hashes = list(organization.images.living().values_list("hash", flat=True))
    assert counters.totals(organization).images == len(hashes) == len(set(hashes))
    return set(hashes)


def nothing_happened() -> bool:
    return not Job.objects.exists() and not Tombstone.objects.exists() and not contradictions()


def age(job: Job) -> None:
    """Whoever did the job has been silent for a while."""
    Job.objects.filter(pk=job.pk).update(heartbeat=timezone.now() - timedelta(seconds=progress.MISSED + 1))


# --- copy_all ---------------------------------------------------------------------------------------------------------


def facts(printed: str) -> dict[str, int]:
    lines = (line.split() for line in printed.splitlines())
    return {words[0][:-1]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}


def test_everything_is_copied(acme, other, six, run):
    printed = run("copy_all", "acme", "other", "--yes")
    assert facts(printed) == {"created": 6, "existing": 0, "overwritten": 0, "locked": 0, "failed": 0}
    assert living(other) == living(acme) == {image.hash for image in six}
    assert [event.source for event in AuditEvent.objects.filter(verb__startswith="job.")] == ["command", "command"]
    assert contradictions() == []


def test_copying_again_finds_everything_there(acme, other, six, run):
    run("copy_all", "acme", "other", "--yes")
    before = state(other)
    printed = run("copy_all", "acme", "other", "--yes")
    assert facts(printed) == {"created": 0, "existing": 6, "overwritten": 0, "locked": 0, "failed": 0}
    assert state(other) == before
    assert contradictions() == []


def test_what_is_there_is_overwritten_unless_it_is_locked(acme, other, six, run):
    run("copy_all", "acme", "other", "--yes")
    locked = other.images.get(name="0.png")
    set_locked(locked, True, actor=COMMAND)
    acme.images.update(name="new.png")
    printed = run("copy_all", "acme", "other", "--overwrite", "--yes")
    assert facts(printed) == {"created": 0, "existing": 0, "overwritten": 5, "locked": 1, "failed": 0}
    assert f"Locked, and left as they are:\n  {locked.hash} 0.png\n" in printed
    assert {image.name for image in other.images.exclude(pk=locked.pk)} == {"new.png"}
    assert contradictions() == []


def test_nothing_is_named_without_end(acme, other, six, run, monkeypatch):
    monkeypatch.setattr(progress, "LISTED", 2)
    acme.images.update(locked=True)
    printed = run("delete_all", "acme", "--yes")
    assert "nothing to do" in printed  # locked ones are left, and there are no others
    run("copy_all", "acme", "other", "--yes")
    other.images.update(locked=True)
    printed = run("copy_all", "acme", "other", "--yes", "--overwrite")
    assert printed.count(".png") == 2
    assert "… and others" in printed


def test_pictures_that_cannot_be_copied_fail_the_command(acme, other, six, refused, own_files):
    lost = six[3]
    (own_files / lost.file.key).unlink()
    said = refused("copy_all", "acme", "other", "--yes")
    assert facts(said) == {"created": 5, "existing": 0, "overwritten": 0, "locked": 0, "failed": 1}
    assert "1 picture failed: their bytes are missing" in said
    assert f"Not at the destination:\n  {lost.hash} 3.png\n" in said
    assert living(other) == {image.hash for image in six} - {lost.hash}


def test_other_bytes_at_the_destination_fail_the_command(acme, other, six, run, refused):
    run("copy_all", "acme", "other", "--yes", "--name", "0")
    other.images.get().delete()
    counters.add(other, images=-1)
    other.files.update(uploaded_sha256="0" * 64)
    said = refused("copy_all", "acme", "other", "--yes")
    assert "1 picture failed: other bytes with the same sha1" in said
    assert living(other) == {image.hash for image in six[1:]}


def test_a_destination_that_cannot_be_is_refused(acme, six, refused):
    assert "another organization" in refused("copy_all", "acme", "acme", "--yes")
    assert "another organization" in refused("copy_all", "acme", "acme", "--dry-run")
    assert "no organization called 'nobody'" in refused("copy_all", "acme", "nobody", "--yes")
    assert "no organization called 'nobody'" in refused("copy_all", "nobody", "acme", "--yes")
    assert nothing_happened()


# --- delete_all and restore_all ---------------------------------------------------------------------------------------


@committing
def test_everything_goes_to_the_trash_at_once_and_comes_back(acme, other, six, run):
    run("copy_all", "acme", "other", "--yes")
    before = state(acme)
    printed = run("delete_all", "acme", "--yes")
    assert facts(printed) == {"deleted": 6, "locked": 0, "failed": 0}
    tombstone = acme.tombstones.get()
    assert tombstone.reason == "delete-all"
    assert set(acme.images.values_list("tombstone", flat=True)) == {tombstone.pk}
    assert f"restore_all acme --tombstone {tombstone.pk}" in printed
    assert living(acme) == set()
    assert len(living(other)) == 6
    assert facts(run("restore_all", "acme", "--yes")) == {"restored": 6, "existing": 0, "failed": 0}
    assert state(acme) == before
    assert contradictions() == []


def test_locked_pictures_stay_and_are_named(acme, six, run):
    set_locked(six[2], True, actor=COMMAND)
    assert "locked ones stay: 1." in run("delete_all", "acme", "--dry-run")
    printed = run("delete_all", "acme", "--yes")
    assert facts(printed) == {"deleted": 5, "locked": 1, "failed": 0}
    assert f"Locked, and left as they are:\n  {six[2].hash} 2.png\n" in printed
    assert living(acme) == {six[2].hash}
    assert contradictions() == []


def test_nothing_to_delete_leaves_no_tombstone(acme, six, run):
    run("delete_all", "acme", "--yes")
    assert "nothing to do" in run("delete_all", "acme", "--yes")
    assert "nothing to do" in run("delete_all", "acme", "--yes", "--format", "jpg")
    assert acme.tombstones.count() == 1


def test_the_latest_act_of_deleting_is_undone(acme, six, run):
    earlier = delete_image(six[0], actor=COMMAND)
    run("delete_all", "acme", "--yes", "--name", "1")
    run("delete_all", "acme", "--yes", "--name", "2")
    run("restore_all", "acme", "--yes")
    assert living(acme) == {image.hash for image in six[2:]}
    assert "nothing to do" in run("restore_all", "acme", "--yes")  # the latest is undone, and it stays the latest
    run("restore_all", "acme", "--yes", "--tombstone", str(earlier.pk))
    assert living(acme) == {image.hash for image in six} - {six[1].hash}
    assert contradictions() == []


def test_pictures_that_were_uploaded_again_stay_in_the_trash(acme, alice, six, run):
    run("delete_all", "acme", "--yes")
    again = alice.upload(acme, images.png(seed=3), name="again.png").json()["items"][0]["hash"]
    printed = run("restore_all", "acme", "--yes")
    assert facts(printed) == {"restored": 5, "existing": 1, "failed": 0}
    assert "Existing ones stay in the trash" in printed
    assert acme.images.living().get(hash=again).name == "again.png"
    assert living(acme) == {image.hash for image in six}
    assert contradictions() == []


def test_what_can_be_restored_is_listed(acme, six, run):
    restored = delete_image(six[0], actor=COMMAND)
    restore_image(acme, six[0].hash, actor=COMMAND)
    expired = delete_image(six[1], actor=COMMAND)
    Tombstone.objects.filter(pk=expired.pk).update(expires_at=timezone.now())
    run("delete_all", "acme", "--yes")
    lines = run("restore_all", "acme", "--list").splitlines()
    tombstone = acme.tombstones.exclude(pk__in=[restored.pk, expired.pk]).get()
    when = f"{tombstone.deleted_at:%Y-%m-%d %H:%M}"
    assert [line.split() for line in lines[1:]] == [[str(tombstone.pk), *when.split(), "delete-all", "5", "30.0"]]
    assert Job.objects.count() == 1


def test_tombstones_that_are_not_there_are_refused(acme, other, six, refused):
    assert "no such act" in refused("restore_all", "acme", "--yes")
    tombstone = delete_image(six[0], actor=COMMAND)
    assert "no such act" in refused("restore_all", "other", "--yes", "--tombstone", str(tombstone.pk))
    assert "--tombstone='x'" in refused("restore_all", "acme", "--yes", "--tombstone", "x")
    Tombstone.objects.update(expires_at=timezone.now())
    assert "no such act" in refused("restore_all", "acme", "--yes")
    assert "no such act" in refused("restore_all", "acme", "--yes", "--tombstone", str(tombstone.pk))
    assert len(living(acme)) == 5
    assert not Job.objects.exists()


def test_deleting_everything_twice_at_once_is_refused(acme, six, refused):
    delete_image(six[0], actor=COMMAND)
    jobs.delete_all(acme, filters={"format": "jpg"}, actor=COMMAND)
    before = state(acme)
    assert "being deleted or restored already" in refused("delete_all", "acme", "--yes")
    tombstone = acme.tombstones.get(reason="api")
    assert "being deleted or restored already" in refused(
        "restore_all", "acme", "--yes", "--tombstone", str(tombstone.pk)
    )
    assert state(acme) == before
    assert Job.objects.count() == 1
    assert acme.tombstones.count() == 2


# --- Asking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("copy_all", "acme", "other"), ("delete_all", "acme")])
def test_nothing_happens_unless_somebody_says_so(acme, other, six, run, refused, monkeypatch, command):
    assert "use --yes" in refused(*command)
    for typed in ("n\n", "\n", "", "maybe\n"):
        assert "Nothing was changed" in refused(*command, typed=typed)
    monkeypatch.setattr("builtins.input", raising(KeyboardInterrupt()))
    assert "Nothing was changed" in refused(*command, typed="")
    monkeypatch.undo()
    assert nothing_happened()
    assert len(living(acme)) == 6
    assert living(other) == set()


def test_without_standard_input_nothing_happens(acme, six, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(CommandError, match="use --yes"):
        call_command("delete_all", "acme")
    assert nothing_happened()


def test_whoever_is_asked_knows_what_about(acme, other, six, run):
    assert f"copy 6 pictures ({size_of(six)}) from acme to other. Go on?" in run(
        "copy_all", "acme", "other", typed="y\n"
    )
    assert "move 6 pictures" in run("delete_all", "acme", typed="Yes\n")
    assert str(acme.tombstones.get().pk) in run("restore_all", "acme", typed="y\n")
    assert living(acme) == living(other) == {image.hash for image in six}


def test_restoring_asks_too(acme, six, run, refused):
    run("delete_all", "acme", "--yes")
    before = state(acme)
    assert "use --yes" in refused("restore_all", "acme")
    assert "Nothing was changed" in refused("restore_all", "acme", typed="n\n")
    assert state(acme) == before
    assert Job.objects.count() == 1


def test_a_dry_run_changes_nothing(acme, other, six, run):
    assert f"copy 6 pictures ({size_of(six)})" in run("copy_all", "acme", "other", "--dry-run")
    assert "copy 1 picture (" in run("copy_all", "acme", "other", "--dry-run", "--name", "3")
    assert f"move 6 pictures ({size_of(six)})" in run("delete_all", "acme", "--dry-run")
    assert nothing_happened()
    assert len(living(acme)) == 6
    run("delete_all", "acme", "--yes")
    assert f"bring back 6 pictures ({size_of(six)})" in run("restore_all", "acme", "--dry-run")
    assert living(acme) == living(other) == set()
    assert Job.objects.count() == 1


# --- Filters ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def years(acme, alice) -> Organization:
    """One picture of each year from 2001 to 2004; the last one is a JPEG."""
    alice.upload(acme, images.png(seed=1), name="ant.png")
    alice.upload(acme, images.png(seed=2), name="antelope.png")
    alice.upload(acme, images.png(seed=3), name="Ant.png")
    alice.upload(acme, images.jpeg(seed=4), name="bee.jpg")
    for year, image in enumerate(acme.images.order_by("id"), start=2001):
        acme.images.filter(pk=image.pk).update(created=f"{year}-01-01T00:00:00Z")
    return acme


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--format", "jpg"], {"bee.jpg"}),
        (["--format", "gif"], set()),
        (["--created-before", "2002-01-01"], {"ant.png"}),
        (["--created-before", "2002-01-01T00:00:01"], {"ant.png", "antelope.png"}),
        (["--created-before", "2002-01-01T01:00:00+01:00"], {"ant.png"}),
        (["--created-before", "2002-01-01T00:59:59.5+01:00"], {"ant.png"}),
        (["--created-after", "2003-01-01T00:00:00Z"], {"bee.jpg"}),
        (["--created-after", "2003-01-01T00:59:59+01:00"], {"Ant.png", "bee.jpg"}),
        (["--created-after", "2001-06-01", "--created-before", "2003-06-01"], {"antelope.png", "Ant.png"}),
        (["--created-after", "0001-01-01", "--created-before", "2004-01-01"], {"ant.png", "antelope.png", "Ant.png"}),
        (["--name", "ant"], {"ant.png", "antelope.png"}),
        (["--name", "ant", "--format", "jpg"], set()),
        (["--name", "%"], set()),
    ],
)
def test_only_some_are_taken(years, other, run, filters, expected):
    run("copy_all", "acme", "other", "--yes", *filters)
    assert {image.name for image in other.images.all()} == expected
    run("delete_all", "acme", "--yes", *filters)
    assert {image.name for image in years.images.in_trash()} == expected
    assert contradictions() == []


@pytest.mark.parametrize("command", [("copy_all", "acme", "other"), ("delete_all", "acme")])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--format", "jpeg2000"),
        ("--format", ""),
        ("--created-before", "yesterday"),
        ("--created-before", ""),
        ("--created-after", "2001-02-30"),
        ("--created-after", "0001-01-01T00:00:00+14:00"),
        ("--created-after", "9999-12-31T23:59:59-14:00"),
        ("--name", ""),
        ("--name", "a\0"),
        ("--name", "\udcff"),
    ],
)
def test_filters_that_cannot_be_are_refused(acme, other, six, refused, command, option, value):
    assert refused(*command, "--yes", option, value).startswith(f"{option}=")
    assert nothing_happened()
    assert living(other) == set()


# --- Interruptions ----------------------------------------------------------------------------------------------------


@committing
def test_copying_stops_after_ctrl_c_and_goes_on(acme, other, six, run, refused, at_batch):
    at_batch(jobs.COPY_ALL, 2, ctrl_c)
    said = refused("copy_all", "acme", "other", "--yes", status=130)
    assert facts(said)["created"] == 4
    assert "4 of 6 are dealt with. Run the same command again to go on." in said
    assert len(living(other)) == 4
    assert Job.objects.get().state == Job.State.INTERRUPTED
    assert contradictions() == []
    assert "has come to 4 of 6" in run("copy_all", "acme", "other", "--dry-run")
    assert "copy 2 pictures" in run("copy_all", "acme", "other", "--dry-run")
    assert facts(run("copy_all", "acme", "other", "--yes")) == {
        "created": 6,
        "existing": 0,
        "overwritten": 0,
        "locked": 0,
        "failed": 0,
    }
    assert living(other) == living(acme)
    assert Job.objects.get().state == Job.State.DONE
    verbs = AuditEvent.objects.filter(target="copy-all").order_by("id").values_list("verb", flat=True)
    assert list(verbs) == ["job.started", "job.interrupted", "job.stopped", "job.resumed", "job.done"]
    assert contradictions() == []


@committing
@pytest.mark.parametrize("where", ["organizations.counters.add", "sourceimages.jobs._advance"])
def test_a_batch_that_is_interrupted_in_the_middle_is_done_again(acme, other, six, run, refused, monkeypatch, where):
    for command in (["copy_all", "acme", "other"], ["delete_all", "acme"], ["restore_all", "acme"]):
        with monkeypatch.context() as patch:
            patch.setattr(where, raising(KeyboardInterrupt()))
            before = state(acme), state(other)
            assert "0 of 6" in refused(*command, "--yes", status=130)
            assert (state(acme), state(other)) == before
            assert contradictions() == []
        assert "has come to 0 of 6" in run(*command, "--yes")
    assert living(acme) == living(other) == {image.hash for image in six}
    assert Tombstone.objects.count() == 1
    assert set(Job.objects.values_list("state", "done")) == {("done", 6)}
    assert contradictions() == []


@committing
def test_deleting_stops_after_ctrl_c_and_goes_on_with_the_same_tombstone(acme, six, run, refused, at_batch):
    before = state(acme)
    at_batch(jobs.DELETE_ALL, 2, ctrl_c)
    said = refused("delete_all", "acme", "--yes", status=130)
    assert facts(said) == {"deleted": 4, "locked": 0, "failed": 0}
    assert len(living(acme)) == 2
    assert contradictions() == []
    assert "has come to 4 of 6" in run("delete_all", "acme", "--yes")
    assert living(acme) == set()
    assert acme.tombstones.count() == 1
    at_batch(jobs.RESTORE, 2, ctrl_c)
    assert "4 of 6" in refused("restore_all", "acme", "--yes", status=130)
    assert len(living(acme)) == 4
    assert facts(run("restore_all", "acme", "--yes")) == {"restored": 6, "existing": 0, "failed": 0}
    assert state(acme) == before
    assert contradictions() == []


def test_half_of_a_deletion_can_be_undone_and_then_begins_anew(acme, six, run, refused, at_batch):
    before = state(acme)
    at_batch(jobs.DELETE_ALL, 2, ctrl_c)
    refused("delete_all", "acme", "--yes", status=130)
    run("restore_all", "acme", "--yes")
    assert state(acme) == before
    printed = run("delete_all", "acme", "--yes")
    assert facts(printed)["deleted"] == 6
    assert "earlier run" not in printed
    assert living(acme) == set()
    run("restore_all", "acme", "--yes")
    assert state(acme) == before
    assert contradictions() == []


def test_a_deletion_that_could_not_be_undone_any_more_is_not_gone_on_with(acme, six, run, refused, at_batch):
    at_batch(jobs.DELETE_ALL, 2, ctrl_c)
    refused("delete_all", "acme", "--yes", status=130)
    acme.tombstones.update(expires_at=timezone.now())
    assert facts(run("delete_all", "acme", "--yes"))["deleted"] == 2
    assert acme.images.in_trash().count() == 2
    run("restore_all", "acme", "--yes")
    assert len(living(acme)) == 2


def test_a_deletion_whose_tombstone_expires_fails_and_deletes_nothing_more(acme, six, refused, at_batch):
    at_batch(jobs.DELETE_ALL, 2, lambda: acme.tombstones.update(expires_at=timezone.now()))
    assert "has expired" in refused("delete_all", "acme", "--yes")
    assert Job.objects.get().state == Job.State.FAILED
    assert len(living(acme)) == 4


def test_only_the_same_arguments_go_on(acme, other, six, run, refused, at_batch):
    at_batch(jobs.COPY_ALL, 2, ctrl_c)
    refused("copy_all", "acme", "other", "--yes", "--created-after", "2001-01-01", status=130)
    for different in ([], ["--overwrite"], ["--format", "png"]):
        assert "earlier run" not in run("copy_all", "acme", "other", "--dry-run", *different)
    # The same moment, said in another way.
    assert "earlier run" in run("copy_all", "acme", "other", "--yes", "--created-after", "2001-01-01T00:00Z")
    assert living(other) == living(acme)


def test_what_comes_after_an_interruption_is_left_to_the_next_run(acme, other, alice, six, run, refused, at_batch):
    at_batch(jobs.COPY_ALL, 2, ctrl_c)
    refused("copy_all", "acme", "other", "--yes", status=130)
    alice.upload(acme, images.png(seed=7))
    assert "added since then are not part of it" in run("copy_all", "acme", "other", "--yes")
    assert len(living(other)) == 6
    assert facts(run("copy_all", "acme", "other", "--yes"))["created"] == 1
    assert living(other) == living(acme)


def test_who_goes_on_is_asked_too(acme, other, six, refused, at_batch):
    at_batch(jobs.COPY_ALL, 2, ctrl_c)
    refused("copy_all", "acme", "other", "--yes", status=130)
    assert "copy 2 pictures" in refused("copy_all", "acme", "other")
    assert "Nothing was changed" in refused("copy_all", "acme", "other", typed="n\n")
    assert Job.objects.get().state == Job.State.INTERRUPTED
    assert len(living(other)) == 4


def test_ctrl_c_after_the_last_batch_comes_too_late(acme, other, six, run, at_batch):
    at_batch(jobs.COPY_ALL, 4, ctrl_c)
    assert facts(run("copy_all", "acme", "other", "--yes"))["created"] == 6
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@committing
def test_a_second_ctrl_c_does_not_wait(acme, other, six, refused, at_batch):
    at_batch(jobs.COPY_ALL, 2, lambda: (ctrl_c(), ctrl_c()))
    assert "2 of 6" in refused("copy_all", "acme", "other", "--yes", status=130)
    assert len(living(other)) == 2


def test_being_told_to_end_is_an_interruption(acme, other, six, run, refused, at_batch):
    at_batch(jobs.COPY_ALL, 1, lambda: signal.raise_signal(signal.SIGTERM))
    refused("copy_all", "acme", "other", "--yes", status=130)
    run("copy_all", "acme", "other", "--yes")
    assert living(other) == living(acme)


@committing
@pytest.mark.parametrize("error", [StorageUnavailable("It does not answer."), OperationalError("It does\nnot answer")])
def test_what_fails_in_the_middle_can_be_gone_on_with(acme, other, six, run, refused, at_batch, error):
    at_batch(jobs.COPY_ALL, 2, raising(error))
    said = refused("copy_all", "acme", "other", "--yes")
    assert "It does not answer. 2 of 6 are dealt with. Run the same command again to go on." in said
    assert len(living(other)) == 2
    assert contradictions() == []
    assert "has come to 2 of 6" in run("copy_all", "acme", "other", "--yes")
    assert living(other) == living(acme)
    assert contradictions() == []


@committing
def test_a_storage_without_room_leaves_nothing_behind(acme, other, six, run, refused, monkeypatch):
    link, count = LocalStorage._link, 0

    def full(self, source, target):
        nonlocal count
        count += 1
        if count == 4:
            raise OSError(28, "No space left on device")
        link(self, source, target)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "_link", full)
        assert "is full" in refused("copy_all", "acme", "other", "--yes")
    assert len(living(other)) == 2
    run("copy_all", "acme", "other", "--yes")
    assert living(other) == living(acme)
    assert contradictions() == []


@committing
@pytest.mark.parametrize("kind", [jobs.COPY_ALL, jobs.DELETE_ALL])
def test_a_killed_command_is_gone_on_with_once_it_is_silent(acme, other, six, run, refused, at_batch, kind):
    command = ["copy_all", "acme", "other"] if kind == jobs.COPY_ALL else ["delete_all", "acme"]
    at_batch(kind, 2, raising(SystemExit()))
    with pytest.raises(SystemExit):
        run(*command, "--yes")
    assert Job.objects.get().state == Job.State.RUNNING
    assert "Somebody is doing this" in refused(*command, "--yes")
    assert "Somebody is doing this" in refused(*command, "--dry-run")
    assert Job.objects.get().done == 2
    age(Job.objects.get())
    assert "has come to 2 of 6" in run(*command, "--yes")
    assert Job.objects.get().state == Job.State.DONE
    assert living(other if kind == jobs.COPY_ALL else acme) == (living(acme) if kind == jobs.COPY_ALL else set())
    assert contradictions() == []


def test_a_job_that_somebody_stops_ends_the_command(acme, other, six, refused, at_batch):
    at_batch(jobs.COPY_ALL, 2, lambda: jobs.cancel(Job.objects.get(), actor=COMMAND))
    said = refused("copy_all", "acme", "other", "--yes")
    assert "Somebody has stopped it: 2 of 6" in said
    assert len(living(other)) == 2


def test_a_job_that_cannot_be_done_ends_the_command(acme, other, six, refused, at_batch):
    at_batch(jobs.COPY_ALL, 2, lambda: Organization.objects.filter(pk=other.pk).update(name="renamed"))
    assert "no organization called 'other'" in refused("copy_all", "acme", "other", "--yes")
    assert Job.objects.get().state == Job.State.FAILED


# --- The queue --------------------------------------------------------------------------------------------------------


@pytest.fixture
def workers(settings, monkeypatch) -> list[object]:
    """Jobs that were handed to workers, which do one batch each time that somebody looks."""
    settings.CELERY_TASK_ALWAYS_EAGER = False
    handed: list[object] = []
    monkeypatch.setattr(progress, "hurry", handed.append)
    monkeypatch.setattr(progress.time, "sleep", lambda seconds: jobs.step(handed[-1]))
    return handed


def test_without_redis_the_queue_is_this_process(acme, other, six, run, settings):
    settings.CELERY_TASK_ALWAYS_EAGER = True
    printed = run("copy_all", "acme", "other", "--yes", "--queue")
    assert "no workers" in printed
    assert facts(printed)["created"] == 6
    assert living(other) == living(acme)
    assert contradictions() == []


def test_workers_are_watched_until_they_are_done(acme, other, six, run, workers):
    assert facts(run("copy_all", "acme", "other", "--yes", "--queue"))["created"] == 6
    assert facts(run("delete_all", "acme", "--yes", "--queue"))["deleted"] == 6
    assert facts(run("restore_all", "acme", "--yes", "--queue"))["restored"] == 6
    assert workers == [job.pk for job in Job.objects.order_by("created")]
    assert living(other) == living(acme) == {image.hash for image in six}


def test_ctrl_c_while_watching_ends_only_the_watching(acme, other, six, run, refused, workers, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(progress.time, "sleep", raising(KeyboardInterrupt()))
        said = refused("delete_all", "acme", "--yes", "--queue", status=130)
    job = Job.objects.get()
    assert job.state == Job.State.WAITING
    assert f"DELETE /jobs/acme/{job.pk} stops it" in said
    assert "Somebody is doing this" in refused("delete_all", "acme", "--yes")
    run("delete_all", "acme", "--yes", "--queue")
    assert Job.objects.get().state == Job.State.DONE
    assert living(acme) == set()


def test_an_interrupted_command_is_gone_on_with_by_workers(acme, other, six, run, refused, at_batch, workers):
    at_batch(jobs.COPY_ALL, 2, ctrl_c)
    refused("copy_all", "acme", "other", "--yes", status=130)
    assert "has come to 4 of 6" in run("copy_all", "acme", "other", "--yes", "--queue")
    assert workers == [Job.objects.get().pk]
    assert living(other) == living(acme)


def test_a_job_that_is_stopped_ends_the_watching(acme, other, six, refused, workers, at_batch):
    at_batch(jobs.COPY_ALL, 2, lambda: jobs.cancel(Job.objects.get(), actor=COMMAND))
    assert "Somebody has stopped it: 2 of 6" in refused("copy_all", "acme", "other", "--yes", "--queue")


def test_missing_workers_are_mentioned(acme, other, six, workers, monkeypatch, capsys):
    monkeypatch.setattr(progress, "MISSED", -1)
    call_command("copy_all", "acme", "other", "--yes", "--queue")
    assert capsys.readouterr().err.count("Is a worker running?") == 1


# --- The bar ----------------------------------------------------------------------------------------------------------


def test_progress_is_shown_at_a_terminal_only(acme, other, six, run, monkeypatch, capsys):
    run("copy_all", "acme", "other", "--yes")
    assert capsys.readouterr().err == ""
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", terminal)
        call_command("copy_all", "acme", "other", "--yes")
    assert "100%" in terminal.getvalue()
    assert "6/6" in terminal.getvalue()


# --- purge ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def expired(acme, six, monkeypatch) -> Tombstone:
    """Three pictures that are past their time, and one that is not yet."""
    monkeypatch.setattr("sourceimages.upkeep.BATCH", 2)
    delete_image(six[5], actor=COMMAND)
    tombstone = delete_image(six[0], actor=COMMAND)
    for image in six[1:3]:
        acme.images.filter(pk=image.pk).update(tombstone=tombstone)
    counters.add(acme, images=-2)
    Tombstone.objects.filter(pk=tombstone.pk).update(expires_at=timezone.now())
    return tombstone


def test_what_is_past_its_time_is_removed(acme, expired, run):
    assert "would remove 3 pictures" in run("purge", "--dry-run")
    assert acme.images.count() == StoredFile.objects.count() == 6
    assert run("purge") == "3 pictures removed for ever.\n"
    assert acme.images.count() == StoredFile.objects.count() == 3
    assert acme.images.in_trash().count() == 1
    events = AuditEvent.objects.filter(verb="tombstone.purged")
    assert {event.source for event in events} == {"command"}
    assert sum(event.count for event in events) == 3
    assert run("purge") == "0 pictures removed for ever.\n"
    assert contradictions() == []


@committing
def test_purging_stops_after_ctrl_c_and_goes_on(acme, expired, run, refused, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("rokka.faults.point", lambda name: ctrl_c() if name == "purge.committed" else None)
        assert "Stopped: 2 pictures removed" in refused("purge", status=130)
    assert acme.images.count() == 4
    assert contradictions() == []
    assert run("purge") == "1 picture removed for ever.\n"
    assert contradictions() == []


def test_a_storage_that_fails_ends_the_purge(acme, expired, run, refused, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "remove", raising(StorageUnavailable("The storage does not answer.")))
        assert "does not answer" in refused("purge")
    run("purge")
    assert acme.images.count() == 3
    assert contradictions() == []
