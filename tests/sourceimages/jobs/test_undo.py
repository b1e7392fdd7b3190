"""A job undoes the changes of another one, except to images that were changed since."""

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
from sourceimages.operations.aliases import set_alias
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
        response = alice.upload(organization, images.png(seed=seed), name=f"{organization} {seed}.png", **fields)
        assert response.status_code == 200
    return list(organization.images.order_by("id"))


def values_of(organization):
    """Return the values of the active images by hash, without their ids."""
    fields = ("hash", "identity", "name", "created", "user_metadata", "dynamic_metadata", "protected", "locked", "file")
    values = list(organization.images.active().order_by("hash").values(*fields))
    assert counters.totals(organization).images == len(values)
    return values


def run_bulk_action(kind, rows, alice, **params):
    selection = Selection(rows[0].organization, in_trash=False, ids=tuple(image.pk for image in rows))
    return jobs.run(jobs.start_bulk_action(kind, selection, actor=alice.actor, **params).pk)


def run_undo(job, alice):
    return jobs.run(jobs.start_undo(job, actor=alice.actor).pk)


def messages_by_hash(job):
    return {failure["hash"]: failure["message"] for failure in job.errors}


# --- Kinds of jobs ----------------------------------------------------------------------------------------------------


def test_undoing_copy_all_restores_overwritten_values_and_deletes_copies(storage, acme, stage, alice):
    uploaded(acme, alice)
    uploaded(stage, alice, 3, **{"meta_user[0]": '{"title": "Ours", "text:note": "\\u00fc \\"quoted\\""}'})
    before, source = values_of(stage), values_of(acme)
    job = jobs.run(jobs.start_copy_all(acme, stage, overwrite=True, actor=alice.actor).pk)
    assert job.counts == {"created": 2, "overwritten": 3}
    assert values_of(stage) != before

    undo_job = run_undo(job, alice)
    assert (undo_job.organization, undo_job.state, undo_job.total, undo_job.processed) == (stage, "succeeded", 5, 5)
    assert (undo_job.counts, undo_job.errors) == ({"undone": 5}, [])
    assert values_of(stage) == before
    assert values_of(acme) == source
    tombstone = stage.tombstones.get()
    assert (tombstone.reason, tombstone.images.count()) == ("undo", 2)
    events = AuditEvent.objects.filter(job_id=undo_job.pk, action__startswith="image.")
    assert sorted(event.action for event in events) == ["image.deleted"] * 2 + ["image.version_restored"] * 3


def test_overwriting_with_equal_values_is_not_a_change(acme, stage, alice, five):
    jobs.run(jobs.start_copy_all(acme, stage, overwrite=True, actor=alice.actor).pk)
    repeated = jobs.run(jobs.start_copy_all(acme, stage, overwrite=True, actor=alice.actor).pk)
    assert repeated.counts == {"overwritten": 5}
    assert not ImageVersion.objects.filter(job_id=repeated.pk).exists()


def test_copies_that_were_changed_since_are_skipped(acme, stage, alice, five):
    job = run_bulk_action("copy", five, alice, destination=stage, overwrite=False)
    copies = list(stage.images.order_by("hash"))
    rename_image(copies[0], "mine.png", actor=alice.actor)
    set_locked(copies[1], True, actor=alice.actor)
    delete_image(copies[2], actor=alice.actor)
    undo_job = run_undo(job, alice)
    assert undo_job.counts == {"undone": 2, "changed_since": 1, "locked": 1, "not_found": 1}
    assert messages_by_hash(undo_job).keys() == {image.hash for image in copies[:3]}
    assert set(stage.images.active()) == set(copies[:2])


def test_undoing_set_metadata_skips_the_image_whose_metadata_was_changed_since(acme, alice, five):
    change_user_metadata(five[0], {"title": "First"}, actor=alice.actor)
    before = values_of(acme)
    job = run_bulk_action("set_metadata", five, alice, changes={"title": "All", "int:year": 1999})
    change_user_metadata(five[2], {"title": "Mine"}, actor=alice.actor)
    rename_image(five[3], "renamed.png", actor=alice.actor)  # another field: the metadata is restored

    undo_job = run_undo(job, alice)
    assert (undo_job.state, undo_job.processed) == ("succeeded_with_errors", 5)
    assert undo_job.counts == {"undone": 4, "changed_since": 1}
    assert messages_by_hash(undo_job) == {five[2].hash: "Image was changed after the job."}
    now = {image.pk: image for image in acme.images.all()}
    assert now[five[2].pk].user_metadata == {"title": "Mine", "int:year": 1999}
    assert [now[five[n].pk].user_metadata for n in (0, 1, 3, 4)] == [{"title": "First"}, {}, {}, {}]
    assert now[five[3].pk].name == "renamed.png"
    assert before[0]["hash"] in {image.hash for image in five}


def test_an_undo_can_be_undone(acme, alice, five):
    job = run_bulk_action("set_metadata", five, alice, changes={"title": "All"})
    after = values_of(acme)
    undo_job = run_undo(job, alice)
    assert values_of(acme) != after
    assert run_undo(undo_job, alice).counts == {"undone": 5}
    assert values_of(acme) == after


@pytest.mark.parametrize("kind", ["protect", "unprotect"])
def test_replaced_images_are_restored_and_their_replacements_deleted(acme, alice, five, kind):
    if kind == "unprotect":
        five = [set_protected(image, True, delete_previous=True, actor=alice.actor).image for image in five]
    before = values_of(acme)
    job = run_bulk_action(kind, five, alice)
    after = values_of(acme)
    assert after != before
    undo_job = run_undo(job, alice)
    assert (undo_job.total, undo_job.processed, undo_job.counts) == (5, 5, {"undone": 5})
    assert values_of(acme) == before
    assert run_undo(undo_job, alice).counts == {"undone": 10}
    assert values_of(acme) == after


@pytest.mark.parametrize("existing", [False, True])
def test_aliases_move_back_and_forth_with_the_images(acme, alice, five, existing):
    """Also those that were set to the replacement after the job; not those that were moved elsewhere."""
    for name in ("logo", "moved"):
        set_alias(five[0], name, overwrite=False, actor=alice.actor)
    if existing:
        set_protected(five[0], True, delete_previous=False, actor=alice.actor)
    job = run_bulk_action("protect", five[:1], alice)
    target = acme.images.active().get(binary_hash=five[0].binary_hash)
    assert hashes_by_alias(acme) == {"logo": target.hash, "moved": target.hash}
    set_alias(target, "later", overwrite=False, actor=alice.actor)
    set_alias(five[1], "later", overwrite=True, actor=alice.actor)
    ImageVersion.objects.filter(job_id=None).delete()  # or the replacement would count as changed
    set_alias(target, "new", overwrite=False, actor=alice.actor)
    acme.aliases.filter(alias="moved").update(hash=five[1].hash)

    undone = run_undo(job, alice)
    assert undone.counts == {"undone": 1}
    new = target.hash if existing else five[0].hash  # an image that the job did not create stays
    assert hashes_by_alias(acme) == {
        "logo": five[0].hash,
        "moved": five[1].hash,
        "later": five[1].hash,
        "new": new,
    }
    run_undo(undone, alice)
    assert hashes_by_alias(acme)["logo"] == target.hash
    assert acme.images.active().get(binary_hash=five[0].binary_hash) == target


def hashes_by_alias(organization):
    return dict(organization.aliases.values_list("alias", "hash"))


def test_a_replaced_image_stays_in_the_trash_if_its_replacement_was_changed(acme, alice, five):
    job = run_bulk_action("protect", five, alice)
    protected = acme.images.active().get(binary_hash=five[2].binary_hash)
    change_user_metadata(protected, {"title": "Mine"}, actor=alice.actor)
    undo_job = run_undo(job, alice)
    assert undo_job.counts == {"undone": 4, "changed_since": 1}
    assert acme.images.active().get(binary_hash=five[2].binary_hash) == protected
    assert SourceImage.objects.get(pk=five[2].pk).deleted


def test_a_replacement_that_existed_before_the_job_is_not_deleted(acme, alice, five):
    """Protecting found a protected variant, which the job did not create: undo only restores the original."""
    existing = set_protected(five[0], True, delete_previous=False, actor=alice.actor).image
    job = run_bulk_action("protect", five[:1], alice)
    assert SourceImage.objects.get(pk=five[0].pk).deleted
    assert run_undo(job, alice).counts == {"undone": 1}
    assert set(acme.images.active()) == {existing, *five}


@pytest.mark.parametrize("kind", ["delete", "delete_all"])
def test_a_deletion_is_undone_by_restoring_it(acme, alice, five, kind):
    before = values_of(acme)
    job = (
        run_bulk_action(kind, five, alice)
        if kind == "delete"
        else jobs.run(jobs.start_delete_all(acme, actor=alice.actor).pk)
    )
    assert values_of(acme) == []
    undo_job = run_undo(job, alice)
    assert (undo_job.kind, undo_job.counts) == ("restore_deletion", {"restored": 5})
    assert values_of(acme) == before


def test_an_image_whose_hash_is_active_again_stays_in_the_trash(acme, alice, five):
    job = run_bulk_action("protect", five[:1], alice)
    alice.upload(acme, images.png(seed=0))
    undo_job = run_undo(job, alice)
    assert undo_job.counts == {"skipped_existing": 1}
    assert acme.images.active().filter(binary_hash=five[0].binary_hash).count() == 2


# --- Jobs -------------------------------------------------------------------------------------------------------------


def test_jobs_without_changes_and_unfinished_jobs_are_not_undone(acme, alice, five):
    unchanged = run_bulk_action("lock", five, alice)
    unfinished = jobs.start_reindex(acme, actor=alice.actor)
    count = Job.objects.count()
    with pytest.raises(JobNotUndoable):
        jobs.start_undo(unchanged, actor=alice.actor)
    with pytest.raises(JobInProgress):
        jobs.start_undo(unfinished, actor=alice.actor)
    assert (Job.objects.count(), Tombstone.objects.count()) == (count, 0)


def test_a_job_is_undone_by_one_job_at_a_time(acme, alice, five):
    job = run_bulk_action("set_metadata", five, alice, changes={"title": "All"})
    jobs.start_undo(job, actor=alice.actor)
    with pytest.raises(JobInProgress):
        jobs.start_undo(job, actor=alice.actor)
    assert Job.objects.filter(kind="undo").count() == 1


def test_a_second_undo_changes_nothing(acme, alice, five):
    job = run_bulk_action("set_metadata", five, alice, changes={"title": "All"})
    run_undo(job, alice)
    before = values_of(acme)
    assert run_undo(job, alice).counts == {"changed_since": 5}
    assert values_of(acme) == before


def test_a_cancelled_undo_is_resumed_where_it_stopped(acme, alice, five):
    before = values_of(acme)
    job = run_bulk_action("set_metadata", five, alice, changes={"title": "All"})
    started = jobs.start_undo(job, actor=alice.actor)
    jobs.run_one_batch(started.pk)
    jobs.cancel(started, actor=alice.actor)
    assert jobs.run(started.pk).processed == 2
    assert jobs.run(jobs.resume(started, actor=alice.actor).pk).counts == {"undone": 5}
    assert values_of(acme) == before


def test_a_failed_batch_changes_nothing(acme, alice, five, monkeypatch):
    job = run_bulk_action("set_metadata", five, alice, changes={"title": "All"})
    after = values_of(acme)
    started = jobs.start_undo(job, actor=alice.actor)
    with monkeypatch.context() as patch:
        patch.setattr(undo, "advance", None)
        assert jobs.run_one_batch(started.pk).attempts == 0
    assert (values_of(acme), Job.objects.get(pk=started.pk).processed) == (after, 0)
    assert jobs.run(started.pk).counts == {"undone": 5}


def test_changes_missing_in_the_history_are_not_undone(acme, alice, five):
    job = run_bulk_action("set_metadata", five, alice, changes={"title": "All"})
    ImageVersion.objects.all().delete()
    with pytest.raises(JobNotUndoable, match=f"{django_settings.HISTORY_RETENTION_DAYS} days"):
        jobs.start_undo(job, actor=alice.actor)
