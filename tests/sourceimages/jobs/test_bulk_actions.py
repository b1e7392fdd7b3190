"""Jobs about pictures that somebody chose, by ticking them or by a search: each is done once, whatever happens."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from organizations.models import AuditEvent, Job
from rokka.core.errors import Conflict, InvalidInput
from sourceimages import jobs
from sourceimages.errors import InvalidDestination
from sourceimages.jobs import batches
from sourceimages.jobs.bulk_actions import base, delete
from sourceimages.jobs.selection import MAX_IDS, Selection
from sourceimages.metadata.user import MAX_FIELDS
from sourceimages.models import SourceImage, Tombstone
from sourceimages.operations import change_user_metadata, delete_image, set_locked, set_protected
from tests.conftest import consistency_errors
from tests.support import images
from tests.support.prepared import prepared

pytestmark = pytest.mark.usefixtures("consistent")

SIZES = (
    (base, "LOOKUP_BATCH"),
    (base, "TRANSACTION_BATCH"),
    (delete, "DELETE_BATCH"),
    (batches, "COPY_BATCH"),
)  # of batches
CHANGES = {"changes": {"int:year": 1999}}
LIVING_KINDS = ["lock", "unlock", "protect", "unprotect", "set_metadata", "delete", "copy"]
KINDS = [*LIVING_KINDS, "restore"]
VERBS = {
    "lock": "image.locked",
    "unlock": "image.unlocked",
    "set_metadata": "image.metadata_updated",
    "delete": "image.deleted",
    "restore": "image.restored",
}
BECAME = {
    "lock": "locked",
    "unlock": "unlocked",
    "protect": "protected",
    "unprotect": "unprotected",
    "set_metadata": "updated",
    "delete": "deleted",
    "copy": "created",
    "restore": "restored",
}


@pytest.fixture
def five(acme, alice):
    """Five pictures of acme, one after the other."""
    for seed in range(5):
        alice.upload(acme, images.png(seed=seed), name=f"{'harbour' if seed < 3 else 'garden'} {seed}.png")
    return list(acme.images.order_by("id"))


def ticked(organization, pictures, *, in_trash=False):
    return Selection(organization, in_trash=in_trash, ids=tuple(image.pk for image in pictures))


def searched(organization, *, in_trash=False, **parameters):
    return Selection(organization, in_trash=in_trash, search=urlencode(parameters))


def begun(kind, selection, actor, stage):
    arguments = CHANGES if kind == "set_metadata" else {}
    if kind == "copy":
        arguments = {"destination": stage, "overwrite": False}
    return jobs.start_bulk_action(kind, selection, actor=actor, **arguments)


def holds(kind, image, stage):
    """Has it been done to this picture?"""
    now = SourceImage.objects.get(pk=image.pk)
    alike = now.organization.images.active().by_binary_hash(now.binary_hash)
    match kind:
        case "lock" | "unlock":
            return now.locked == (kind == "lock")
        case "protect" | "unprotect":
            return now.deleted and alike.get().protected == (kind == "protect")
        case "set_metadata":
            return now.user_metadata.get("int:year") == 1999
        case "delete" | "restore":
            return now.deleted == (kind == "delete")
    return stage.images.active().filter(hash=image.hash).exists()


def everything():
    return [list(model.objects.order_by("pk").values()) for model in (SourceImage, Tombstone, Job, AuditEvent)]


# --- Every kind -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_done_to_what_is_ticked_and_to_nothing_else(acme, stage, alice, five, kind):
    pictures = prepared(kind, five, alice.actor)
    job = jobs.run(begun(kind, ticked(acme, pictures[1:3], in_trash=kind == "restore"), alice.actor, stage).pk)
    assert (job.state, job.total, job.processed, job.failed, job.errors) == ("succeeded", 2, 2, 0, [])
    assert job.counts == {BECAME[kind]: 2}
    assert [holds(kind, image, stage) for image in pictures] == [False, True, True, False, False]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_done_to_what_a_search_finds_and_to_nothing_else(acme, stage, alice, five, kind):
    pictures = prepared(kind, five, alice.actor)
    selection = searched(acme, q="harbour", in_trash=kind == "restore")
    job = jobs.run(begun(kind, selection, alice.actor, stage).pk)
    assert (job.state, job.total, job.processed, job.counts) == ("succeeded", 3, 3, {BECAME[kind]: 3})
    done = {image.name: holds(kind, image, stage) for image in pictures}
    assert {name for name, was in done.items() if was} == {"harbour 0.png", "harbour 1.png", "harbour 2.png"}


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_others_are_not_found_by_their_ids(acme, stage, alice, charlie, five, kind):
    other = charlie.user.memberships.get().organization
    charlie.upload(other, images.png(seed=1))
    theirs = prepared(kind, list(other.images.all()), charlie.actor)
    before = list(other.images.values())
    job = jobs.run(begun(kind, ticked(acme, theirs, in_trash=kind == "restore"), alice.actor, stage).pk)
    assert (job.state, job.total, job.processed, job.counts) == ("succeeded", 0, 0, {})
    assert list(other.images.values()) == before
    assert not stage.images.exists()


@pytest.mark.parametrize("kind", VERBS)
def test_the_trail_has_each_picture_with_the_person(acme, stage, alice, five, kind):
    pictures = prepared(kind, five[:2], alice.actor)
    earlier = set(AuditEvent.objects.values_list("pk", flat=True))
    jobs.run(begun(kind, ticked(acme, pictures, in_trash=kind == "restore"), alice.actor, stage).pk)
    events = AuditEvent.objects.exclude(pk__in=earlier).filter(action=VERBS[kind])
    assert {(event.target, event.user, event.source) for event in events} == {
        (image.hash, alice.user, "api") for image in pictures
    }
    assert len(events) == 2
    for verb in ("job.started", "job.succeeded"):
        assert AuditEvent.objects.exclude(pk__in=earlier).get(action=verb).user == alice.user


@pytest.mark.parametrize("kind", ["protect", "set_metadata", "delete"])
def test_what_is_locked_is_left_and_named(acme, stage, alice, five, kind):
    set_locked(five[2], True, actor=alice.actor)
    job = jobs.run(begun(kind, ticked(acme, five), alice.actor, stage).pk)
    assert job.counts == {BECAME[kind]: 4, "locked": 1}
    assert job.errors == [{"hash": five[2].hash, "message": "Image is locked."}]
    assert (job.state, job.failed, job.skipped) == ("succeeded_with_errors", 0, 1)
    assert [holds(kind, image, stage) for image in five] == [True, True, False, True, True]


@pytest.mark.parametrize("kind", ["lock", "protect", "set_metadata"])
def test_what_is_deleted_meanwhile_is_counted(acme, stage, alice, five, monkeypatch, kind):
    job = begun(kind, ticked(acme, five), alice.actor, stage)
    some = base.apply_batch

    def after_a_deletion(action, job_id, ids):
        if five[2].pk in ids:
            delete_image(five[2], actor=alice.actor)
        return some(action, job_id, ids)

    monkeypatch.setattr(base, "apply_batch", after_a_deletion)
    job = jobs.run(job.pk)
    assert (job.state, job.processed, job.failed, job.skipped) == ("succeeded_with_errors", 5, 0, 1)
    assert job.counts == {BECAME[kind]: 4, "not_found": 1}
    assert job.errors == [{"hash": five[2].hash, "message": "Image or file no longer exists."}]
    assert SourceImage.objects.get(pk=five[2].pk).tombstone.reason == "api"


def test_one_that_may_not_have_it_does_not_keep_it_from_others(acme, stage, alice, five):
    full = change_user_metadata(five[2], {f"field{number}": "x" for number in range(MAX_FIELDS)}, actor=alice.actor)
    job = jobs.run(begun("set_metadata", ticked(acme, five), alice.actor, stage).pk)
    assert (job.state, job.processed, job.failed) == ("succeeded_with_errors", 5, 1)
    assert job.counts == {"updated": 4, "failed": 1}
    (failure,) = job.errors
    assert failure["hash"] == full.hash
    assert f"the limit is {MAX_FIELDS}" in failure["message"]
    assert [holds("set_metadata", image, stage) for image in five] == [True, True, False, True, True]


@pytest.mark.parametrize("kind", ["lock", "unlock", "set_metadata", "delete"])
def test_more_pictures_take_no_more_queries(acme, stage, alice, five, kind):
    pictures = prepared(kind, five, alice.actor)
    counts = []
    for some in (pictures[:1], pictures[1:]):
        job = begun(kind, ticked(acme, some), alice.actor, stage)
        with CaptureQueriesContext(connection) as queries:
            jobs.run(job.pk)
        counts.append(len(queries))
    assert counts[1] <= counts[0]  # the first one also made the field


def test_a_job_makes_one_act_in_the_trash(acme, stage, alice, five):
    job = jobs.run(begun("delete", searched(acme, q="harbour"), alice.actor, stage).pk)
    tombstone = Tombstone.objects.get()
    assert job.params["deletion_id"] == str(tombstone.pk)
    assert (tombstone.reason, tombstone.deleted_by, tombstone.images.count()) == ("admin", alice.user, 3)
    assert {event.tombstone_id for event in AuditEvent.objects.filter(action="image.deleted")} == {tombstone.pk}


def test_nothing_is_deleted_that_could_not_be_brought_back(acme, stage, alice, five):
    job = begun("delete", ticked(acme, five), alice.actor, stage)
    Tombstone.objects.update(expires_at=timezone.now())
    job = jobs.run(job.pk)
    assert (job.state, job.processed) == ("failed", 0)
    assert "expired" in job.error
    assert acme.images.active().count() == 5


def test_of_two_alike_in_the_trash_one_comes_back(acme, stage, alice):
    for _ in range(2):
        alice.upload(acme, images.png())
        delete_image(acme.images.active().get(), actor=alice.actor)
    both = list(acme.images.order_by("id"))
    job = jobs.run(begun("restore", ticked(acme, both, in_trash=True), alice.actor, stage).pk)
    assert job.counts == {"restored": 1, "skipped_existing": 1}
    assert acme.images.active().get() == both[0]


# --- What cannot be asked for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_search_is_refused_when_it_is_asked_for(acme, stage, alice, five, kind):
    before = everything()
    for search in ("q=year:[", "size=many", "operator=xor"):
        selection = Selection(acme, in_trash=kind == "restore", search=search)
        with pytest.raises(InvalidInput):
            begun(kind, selection, alice.actor, stage)
    assert everything() == before


def test_too_many_ids_are_refused(acme, stage, alice, five):
    before = everything()
    for kind in LIVING_KINDS:
        with pytest.raises(InvalidInput, match="the limit is 2000"):
            begun(kind, Selection(acme, in_trash=False, ids=tuple(range(MAX_IDS + 1))), alice.actor, stage)
    assert everything() == before


@pytest.mark.parametrize(
    ("kind", "arguments"), [("paint", {}), ("set_metadata", {}), ("lock", {"changes": {}}), ("delete_all", {})]
)
def test_what_can_never_be_done_is_not_begun(acme, alice, five, kind, arguments):
    with pytest.raises(TypeError):
        jobs.start_bulk_action(kind, ticked(acme, five), actor=alice.actor, **arguments)
    assert not acme.jobs.exists()


def test_nothing_is_copied_to_where_it_is(acme, alice, five):
    before = everything()
    with pytest.raises(InvalidDestination):
        jobs.start_bulk_action("copy", ticked(acme, five), actor=alice.actor, destination=acme, overwrite=False)
    assert everything() == before


def test_what_is_chosen_outlives_being_written_down(acme, five):
    for selection in (ticked(acme, five), searched(acme, q="harbour", in_trash=True), Selection(acme, in_trash=False)):
        assert Selection.from_json(acme, selection.to_json()) == selection


def test_a_summary_counts_what_is_about_to_be_touched(acme, alice, five):
    set_locked(five[0], True, actor=alice.actor)
    derived = set_protected(five[1], True, delete_previous=True, actor=alice.actor).image
    summary = ticked(acme, [five[0], derived, five[2]]).summary()
    assert (summary.count, summary.locked, summary.protected) == (3, 1, 1)
    assert summary.bytes == sum(image.size for image in five[:3])
    nothing = Selection(acme, in_trash=False, ids=()).summary()
    assert (nothing.count, nothing.bytes) == (0, 0)


# --- Each once --------------------------------------------------------------------------------------------------------


def test_setting_the_very_field_that_is_searched_for_visits_each_once(acme, stage, alice, five, monkeypatch):
    monkeypatch.setattr(base, "TRANSACTION_BATCH", 2)
    for image in five:
        change_user_metadata(image, {"int:year": 1950}, actor=alice.actor)
    job = jobs.run(begun("set_metadata", searched(acme, q="user:int:year:1950"), alice.actor, stage).pk)
    assert (job.processed, job.counts) == (5, {"updated": 5})
    assert [image.user_metadata for image in acme.images.active()] == [{"int:year": 1999}] * 5


@pytest.mark.parametrize("parameters", [{}, {"q": "harbour OR garden"}])
def test_what_protecting_makes_is_not_visited(acme, stage, alice, five, monkeypatch, parameters):
    monkeypatch.setattr(base, "LOOKUP_BATCH", 2)
    job = jobs.run(begun("protect", searched(acme, **parameters), alice.actor, stage).pk)
    assert (job.processed, job.counts) == (5, {"protected": 5})
    assert acme.images.count() == 10
    assert acme.images.active().filter(protected=True).count() == 5


class KilledError(BaseException):
    """The end of the process, which nothing catches."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_is_killed_goes_on_where_it_was(acme, stage, alice, five, monkeypatch, kind):
    """Before and after each batch or picture: what was not committed was not done."""
    for module, name in SIZES:
        monkeypatch.setattr(module, name, 2)
    pictures = prepared(kind, five, alice.actor)
    job = begun(kind, ticked(acme, pictures, in_trash=kind == "restore"), alice.actor, stage)
    earlier = AuditEvent.objects.count()
    for module in (base, batches):
        advance, turns = module.advance, iter(range(100))

        def killed(*arguments, advance=advance, turns=turns, **more):
            turn = next(turns)
            if turn % 3 == 1:
                raise KilledError
            advance(*arguments, **more)
            if turn % 3 == 2:
                raise KilledError

        monkeypatch.setattr(module, "advance", killed)
    deaths = 0
    while True:
        try:
            job = jobs.run(job.pk)
            break
        except KilledError:
            deaths += 1
    assert deaths >= 2
    assert (job.state, job.processed, job.failed, job.counts) == ("succeeded", 5, 0, {BECAME[kind]: 5})
    assert all(holds(kind, image, stage) for image in pictures)
    if kind in VERBS:
        assert AuditEvent.objects.filter(action=VERBS[kind]).count() == 5
        assert AuditEvent.objects.count() == earlier + 5 + 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_is_stopped_in_the_middle_and_goes_on(acme, stage, alice, five, monkeypatch, kind):
    for module, name in SIZES:
        monkeypatch.setattr(module, name, 2)
    pictures = prepared(kind, five, alice.actor)
    job = begun(kind, ticked(acme, pictures, in_trash=kind == "restore"), alice.actor, stage)
    jobs.run_one_batch(job.pk)
    stopped = jobs.cancel(job, actor=alice.actor)
    assert (stopped.state, stopped.processed) == ("cancelled", 2)
    assert jobs.run(job.pk).processed == 2
    assert [holds(kind, image, stage) for image in pictures] == [True, True, False, False, False]
    assert jobs.resume(stopped, actor=alice.actor).state == "queued"
    ended = jobs.run(job.pk)
    assert (ended.state, ended.processed, ended.counts) == ("succeeded", 5, {BECAME[kind]: 5})
    assert all(holds(kind, image, stage) for image in pictures)
    verbs = list(AuditEvent.objects.filter(job_id=job.pk, action__startswith="job.").order_by("pk"))
    assert [event.action for event in verbs] == [
        "job.started",
        "job.cancelled",
        "job.resumed",
        "job.succeeded",
    ]


def test_stopping_takes_effect_before_the_next_picture(acme, stage, alice, five, monkeypatch):
    job = begun("protect", ticked(acme, five), alice.actor, stage)
    some = base.apply_batch

    def cancelled_after_two(action, job_id, ids):
        if ids == [five[2].pk]:
            jobs.cancel(job, actor=alice.actor)
        return some(action, job_id, ids)

    monkeypatch.setattr(base, "apply_batch", cancelled_after_two)
    assert jobs.run(job.pk).state == "cancelled"
    assert [holds("protect", image, stage) for image in five] == [True, True, False, False, False]


def test_a_job_that_failed_goes_on_once_it_can(acme, stage, alice, five):
    job = begun("copy", ticked(acme, five), alice.actor, stage)
    Job.objects.filter(pk=job.pk).update(params=job.params | {"destination": "nowhere"})
    failed = jobs.run(job.pk)
    assert (failed.state, failed.processed) == ("failed", 0)
    assert "nowhere" in failed.error
    Job.objects.filter(pk=job.pk).update(params=job.params)
    resumed = jobs.resume(failed, actor=alice.actor)
    assert (resumed.state, resumed.error) == ("queued", "")
    assert jobs.run(job.pk).counts == {"created": 5}


def test_a_job_that_is_done_does_not_go_on(acme, stage, alice, five):
    job = jobs.run(begun("lock", ticked(acme, five), alice.actor, stage).pk)
    before = everything()
    assert jobs.resume(job, actor=alice.actor).state == "succeeded"
    assert jobs.cancel(job, actor=alice.actor).state == "succeeded"
    assert everything() == before


def test_copies_that_are_there_and_locked_are_named(acme, stage, alice, five):
    jobs.run(begun("copy", ticked(acme, five[:1]), alice.actor, stage).pk)
    set_locked(stage.images.get(), True, actor=alice.actor)
    job = jobs.start_bulk_action("copy", ticked(acme, five), actor=alice.actor, destination=stage, overwrite=True)
    job = jobs.run(job.pk)
    assert (job.state, job.counts) == ("succeeded_with_errors", {"created": 4, "locked": 1})
    assert job.errors == [{"hash": five[0].hash, "message": "Destination image is locked."}]


# --- Several at once --------------------------------------------------------------------------------------------------


def together(*calls):
    barrier = Barrier(len(calls))

    def run(call):
        try:
            barrier.wait(30)
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def finished(job):
    """To its end, as a worker does, who tries again where others were in the way."""
    while True:
        try:
            return jobs.run(job.pk)
        except Conflict:
            continue


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", KINDS)
def test_several_who_do_the_same_job_do_each_picture_once(acme, stage, alice, five, monkeypatch, kind):
    for module, name in SIZES:
        monkeypatch.setattr(module, name, 2)
    pictures = prepared(kind, five, alice.actor)
    job = begun(kind, ticked(acme, pictures, in_trash=kind == "restore"), alice.actor, stage)
    together(*[lambda: finished(job)] * 3)
    job.refresh_from_db()
    assert (job.state, job.processed, job.failed, job.counts) == ("succeeded", 5, 0, {BECAME[kind]: 5})
    if kind in VERBS:
        assert AuditEvent.objects.filter(action=VERBS[kind]).count() == 5
    assert consistency_errors() == []


@pytest.mark.django_db(transaction=True)
def test_two_jobs_that_delete_the_same_pictures_delete_each_once(acme, stage, alice, five, monkeypatch):
    monkeypatch.setattr(delete, "DELETE_BATCH", 2)
    both = [begun("delete", ticked(acme, five), alice.actor, stage) for _ in range(2)]
    ended = together(*[lambda job=job: finished(job) for job in both])
    assert sum(job.counts.get("deleted", 0) for job in ended) == 5
    assert AuditEvent.objects.filter(action="image.deleted").count() == 5
    assert acme.images.active().count() == 0
    assert consistency_errors() == []


@pytest.mark.django_db(transaction=True)
def test_what_is_deleted_is_not_protected_beside_it(acme, stage, alice, five):
    deleting, protecting = (begun(kind, ticked(acme, five), alice.actor, stage) for kind in ("delete", "protect"))
    deleted, protected = together(lambda: finished(deleting), lambda: finished(protecting))
    assert all(job.state == ("succeeded_with_errors" if job.skipped else "succeeded") for job in (deleted, protected))
    assert acme.images.active().count() == protected.counts.get("protected", 0)
    assert deleted.counts.get("deleted", 0) + protected.counts.get("protected", 0) == 5
    assert consistency_errors() == []


@pytest.mark.django_db(transaction=True)
def test_two_jobs_that_restore_the_same_pictures_bring_each_back_once(acme, stage, alice, five):
    prepared("restore", five, alice.actor)
    both = [begun("restore", ticked(acme, five, in_trash=True), alice.actor, stage) for _ in range(2)]
    ended = together(*[lambda job=job: finished(job) for job in both])
    assert sum(job.counts.get("restored", 0) for job in ended) == 5
    assert acme.images.active().count() == 5
    assert consistency_errors() == []
