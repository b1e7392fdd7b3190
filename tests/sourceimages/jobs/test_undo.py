"""A job takes back what another one did, and leaves alone what somebody changed since."""

import pytest
from django.conf import settings as django_settings
from django.core.files.storage import storages

from organizations.models import AuditEvent, Job
from organizations.usage import counters
from rokka.core import env
from sourceimages import jobs
from sourceimages.errors import JobInProgress, JobNotUndoable
from sourceimages.jobs import undo
from sourceimages.jobs.selection import Selection
from sourceimages.models import ImageVersion, SourceImage, Tombstone
from sourceimages.operations import (
    change_user_metadata,
    delete_image,
    rename_image,
    set_locked,
    set_protected,
)
from tests.support import images

pytestmark = pytest.mark.usefixtures("consistent")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(undo, "BATCH", 2)


@pytest.fixture(params=["local", "s3"])
def storage(request, settings, tmp_path):
    if request.param == "s3":
        config = env.storage_config(request.getfixturevalue("empty_bucket"), temp_dir=tmp_path / "spool")
        settings.STORAGES = settings.STORAGES | {"originals": config}
    storages["originals"].temp_dir.mkdir(parents=True, exist_ok=True)


@pytest.fixture
def five(acme, alice):
    return uploaded(acme, alice)


def uploaded(organization, alice, count=5, **fields):
    for seed in range(count):
        answer = alice.upload(organization, images.png(seed=seed), name=f"{organization} {seed}.png", **fields)
        assert answer.status_code == 200
    return list(organization.images.order_by("id"))


def everything(organization):
    """What is said of the active images, whichever rows they are."""
    fields = ("hash", "identity", "name", "created", "user_metadata", "dynamic_metadata", "protected", "locked", "file")
    found = list(organization.images.active().order_by("hash").values(*fields))
    assert counters.totals(organization).images == len(found)
    return found


def done(kind, chosen, alice, **arguments):
    organization = chosen[0].organization
    selection = Selection(organization, in_trash=False, ids=tuple(image.pk for image in chosen))
    return jobs.run(jobs.start_bulk_action(kind, selection, actor=alice.actor, **arguments).pk)


def undone(job, alice):
    started = jobs.start_undo(job, actor=alice.actor)
    return jobs.run(started.pk)


def failed(job):
    return {failure["hash"]: failure["message"] for failure in job.errors}


# --- Each kind --------------------------------------------------------------------------------------------------------


def test_copy_all_keeps_what_it_overwrites_and_undoing_it_brings_that_back(storage, acme, stage, alice):
    uploaded(acme, alice)
    uploaded(stage, alice, 3, **{"meta_user[0]": '{"title": "Ours", "text:note": "\\u00fc \\"quoted\\""}'})
    before, source = everything(stage), everything(acme)
    job = jobs.run(jobs.start_copy_all(acme, stage, overwrite=True, actor=alice.actor).pk)
    assert job.counts == {"created": 2, "overwritten": 3}
    assert everything(stage) != before

    undoing = undone(job, alice)
    assert (undoing.organization, undoing.state, undoing.total, undoing.processed) == (stage, "succeeded", 5, 5)
    assert (undoing.counts, undoing.errors) == ({"undone": 5}, [])
    assert everything(stage) == before
    assert everything(acme) == source
    tombstone = stage.tombstones.get()
    assert (tombstone.reason, tombstone.images.count()) == ("undo", 2)
    events = AuditEvent.objects.filter(job_id=undoing.pk, action__startswith="image.")
    assert sorted(event.action for event in events) == ["image.deleted"] * 2 + ["image.version_restored"] * 3


def test_what_was_overwritten_without_a_difference_is_no_change(acme, stage, alice, five):
    jobs.run(jobs.start_copy_all(acme, stage, overwrite=True, actor=alice.actor).pk)
    again = jobs.run(jobs.start_copy_all(acme, stage, overwrite=True, actor=alice.actor).pk)
    assert again.counts == {"overwritten": 5}
    assert not ImageVersion.objects.filter(job_id=again.pk).exists()


def test_copies_that_were_changed_since_stay(acme, stage, alice, five):
    job = done("copy", five, alice, destination=stage, overwrite=False)
    copies = list(stage.images.order_by("hash"))
    rename_image(copies[0], "mine.png", actor=alice.actor)
    set_locked(copies[1], True, actor=alice.actor)
    delete_image(copies[2], actor=alice.actor)
    undoing = undone(job, alice)
    assert undoing.counts == {"undone": 2, "changed_since": 1, "locked": 1, "not_found": 1}
    assert failed(undoing).keys() == {image.hash for image in copies[:3]}
    assert set(stage.images.active()) == set(copies[:2])


def test_metadata_of_many_comes_back_but_for_the_image_that_was_changed_since(acme, alice, five):
    change_user_metadata(five[0], {"title": "First"}, actor=alice.actor)
    before = everything(acme)
    job = done("set_metadata", five, alice, changes={"title": "All", "int:year": 1999})
    change_user_metadata(five[2], {"title": "Mine"}, actor=alice.actor)
    rename_image(five[3], "renamed.png", actor=alice.actor)  # another field: no reason to leave the metadata

    undoing = undone(job, alice)
    assert (undoing.state, undoing.processed) == ("succeeded_with_errors", 5)
    assert undoing.counts == {"undone": 4, "changed_since": 1}
    assert failed(undoing) == {five[2].hash: "Image was changed after the job."}
    now = {image.pk: image for image in acme.images.all()}
    assert now[five[2].pk].user_metadata == {"title": "Mine", "int:year": 1999}
    assert [now[five[n].pk].user_metadata for n in (0, 1, 3, 4)] == [{"title": "First"}, {}, {}, {}]
    assert now[five[3].pk].name == "renamed.png"
    assert before[0]["hash"] in {image.hash for image in five}


def test_an_undo_is_undone_like_any_job(acme, alice, five):
    job = done("set_metadata", five, alice, changes={"title": "All"})
    after = everything(acme)
    undoing = undone(job, alice)
    assert everything(acme) != after
    assert undone(undoing, alice).counts == {"undone": 5}
    assert everything(acme) == after


@pytest.mark.parametrize("kind", ["protect", "unprotect"])
def test_images_that_were_replaced_come_back_and_those_made_of_them_go(acme, alice, five, kind):
    if kind == "unprotect":
        five = [set_protected(image, True, delete_previous=True, actor=alice.actor).image for image in five]
    before = everything(acme)
    job = done(kind, five, alice)
    after = everything(acme)
    assert after != before
    undoing = undone(job, alice)
    assert (undoing.total, undoing.processed, undoing.counts) == (5, 5, {"undone": 5})
    assert everything(acme) == before
    assert undone(undoing, alice).counts == {"undone": 10}
    assert everything(acme) == after


def test_a_replaced_image_stays_in_the_trash_while_the_one_made_of_it_was_changed(acme, alice, five):
    job = done("protect", five, alice)
    protected = acme.images.active().get(binary_hash=five[2].binary_hash)
    change_user_metadata(protected, {"title": "Mine"}, actor=alice.actor)
    undoing = undone(job, alice)
    assert undoing.counts == {"undone": 4, "changed_since": 1}
    assert acme.images.active().get(binary_hash=five[2].binary_hash) == protected
    assert SourceImage.objects.get(pk=five[2].pk).deleted


def test_an_image_that_was_there_before_stays_where_it_took_the_place_of_another(acme, alice, five):
    """Protecting found the protected one: undoing brings the other back, beside it."""
    there = set_protected(five[0], True, delete_previous=False, actor=alice.actor).image
    job = done("protect", five[:1], alice)
    assert SourceImage.objects.get(pk=five[0].pk).deleted
    assert undone(job, alice).counts == {"undone": 1}
    assert set(acme.images.active()) == {there, *five}


@pytest.mark.parametrize("kind", ["delete", "delete_all"])
def test_a_deletion_is_undone_by_restoring_it(acme, alice, five, kind):
    before = everything(acme)
    job = done(kind, five, alice) if kind == "delete" else jobs.run(jobs.start_delete_all(acme, actor=alice.actor).pk)
    assert everything(acme) == []
    undoing = undone(job, alice)
    assert (undoing.kind, undoing.counts) == ("restore_deletion", {"restored": 5})
    assert everything(acme) == before


def test_an_image_whose_hash_is_active_again_stays_in_the_trash(acme, alice, five):
    job = done("protect", five[:1], alice)
    alice.upload(acme, images.png(seed=0))
    undoing = undone(job, alice)
    assert undoing.counts == {"skipped_existing": 1}
    assert acme.images.active().filter(binary_hash=five[0].binary_hash).count() == 2


# --- Jobs -------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_undone_is_refused_and_starts_nothing(acme, alice, five):
    locking = done("lock", five, alice)
    waiting = jobs.start_reindex(acme, actor=alice.actor)
    count = Job.objects.count()
    with pytest.raises(JobNotUndoable):
        jobs.start_undo(locking, actor=alice.actor)
    with pytest.raises(JobInProgress):
        jobs.start_undo(waiting, actor=alice.actor)
    assert (Job.objects.count(), Tombstone.objects.count()) == (count, 0)


def test_a_job_is_undone_by_one_job_at_a_time(acme, alice, five):
    job = done("set_metadata", five, alice, changes={"title": "All"})
    jobs.start_undo(job, actor=alice.actor)
    with pytest.raises(JobInProgress):
        jobs.start_undo(job, actor=alice.actor)
    assert Job.objects.filter(kind="undo").count() == 1


def test_undoing_twice_changes_nothing_the_second_time(acme, alice, five):
    job = done("set_metadata", five, alice, changes={"title": "All"})
    undone(job, alice)
    before = everything(acme)
    assert undone(job, alice).counts == {"changed_since": 5}
    assert everything(acme) == before


def test_an_undo_that_is_interrupted_goes_on_where_it_was(acme, alice, five):
    before = everything(acme)
    job = done("set_metadata", five, alice, changes={"title": "All"})
    started = jobs.start_undo(job, actor=alice.actor)
    jobs.run_one_batch(started.pk)
    jobs.cancel(started, actor=alice.actor)
    assert jobs.run(started.pk).processed == 2
    assert jobs.run(jobs.resume(started, actor=alice.actor).pk).counts == {"undone": 5}
    assert everything(acme) == before


def test_a_batch_that_fails_in_its_middle_changes_nothing(acme, alice, five, monkeypatch):
    job = done("set_metadata", five, alice, changes={"title": "All"})
    after = everything(acme)
    started = jobs.start_undo(job, actor=alice.actor)
    with monkeypatch.context() as patch:
        patch.setattr(undo, "advance", None)
        assert jobs.run_one_batch(started.pk).attempts == 0
    assert (everything(acme), Job.objects.get(pk=started.pk).processed) == (after, 0)
    assert jobs.run(started.pk).counts == {"undone": 5}


def test_changes_that_the_history_no_longer_has_are_refused(acme, alice, five):
    job = done("set_metadata", five, alice, changes={"title": "All"})
    ImageVersion.objects.all().delete()
    with pytest.raises(JobNotUndoable, match=f"{django_settings.HISTORY_RETENTION_DAYS} days"):
        jobs.start_undo(job, actor=alice.actor)
