"""Jobs that run bulk actions, over selected images or over the results of a search: each image is processed once."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from organizations.models import AuditEvent, Job, Organization
from rokka.core.errors import Conflict, InvalidInput
from sourceimages import jobs
from sourceimages.errors import InvalidDestination
from sourceimages.jobs import batches
from sourceimages.jobs.bulk_actions import BULK_ACTIONS, Scope, base, delete
from sourceimages.jobs.selection import MAX_IDS, Selection
from sourceimages.metadata.user import MAX_FIELDS
from sourceimages.models import SourceImage, Tombstone
from sourceimages.operations import change_user_metadata, delete_image, set_locked, set_protected
from tests.conftest import consistency_errors
from tests.support import images
from tests.support.prepared import prepared
from tests.support.rows import insert_images

pytestmark = pytest.mark.usefixtures("consistent")


def twin(image):
    """Return the active image with the same file."""
    return image.organization.images.active().by_binary_hash(image.binary_hash).get()


def is_copied(image):
    return SourceImage.objects.active().filter(organization__name="stage", hash=image.hash).exists()


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a job of a bulk action is expected to do with each image that `prepared` returns."""

    outcome: str  # the key of Job.counts
    is_applied: Callable[[SourceImage], bool]
    audit_action: str | None = None  # of the event of each image; None if there is none with its hash
    params: Mapping[str, Any] = field(default_factory=dict)  # an organization by its name


ACTIONS = {
    "lock": Case(outcome="locked", audit_action="image.locked", is_applied=lambda image: image.locked),
    "unlock": Case(outcome="unlocked", audit_action="image.unlocked", is_applied=lambda image: not image.locked),
    "protect": Case(outcome="protected", is_applied=lambda image: image.deleted and twin(image).protected),
    "unprotect": Case(outcome="unprotected", is_applied=lambda image: image.deleted and not twin(image).protected),
    "set_metadata": Case(
        outcome="updated",
        audit_action="image.metadata_updated",
        is_applied=lambda image: image.user_metadata.get("int:year") == 1999,
        params={"changes": {"int:year": 1999}},
    ),
    "delete": Case(outcome="deleted", audit_action="image.deleted", is_applied=lambda image: image.deleted),
    "copy": Case(outcome="created", is_applied=is_copied, params={"destination": "stage", "overwrite": False}),
    "restore": Case(outcome="restored", audit_action="image.restored", is_applied=lambda image: not image.deleted),
}
FAILURES = {"locked", "not_found", "failed"}  # outcomes of any action, beside its own

KINDS = list(ACTIONS)
ACTIVE_KINDS = [kind for kind in KINDS if BULK_ACTIONS[kind].scope is Scope.ACTIVE]
AUDITED_KINDS = [kind for kind, case in ACTIONS.items() if case.audit_action]
SET_BASED_KINDS = [kind for kind in ACTIVE_KINDS if BULK_ACTIONS[kind].set_based]
BATCH_SIZES = (
    (base, "LOOKUP_BATCH"),
    (base, "TRANSACTION_BATCH"),
    (delete, "DELETE_BATCH"),
    (batches, "COPY_BATCH"),
)


@pytest.fixture
def five(acme, alice):
    """Five images of acme, the oldest first."""
    return insert_images(
        acme, 5, name=lambda seed: f"{'harbor' if seed < 3 else 'garden'} {seed}.png", actor=alice.actor
    )


def in_trash(kind):
    return BULK_ACTIONS[kind].scope is Scope.TRASH


def selected(organization, rows, *, in_trash=False):
    return Selection(organization, in_trash=in_trash, ids=tuple(image.pk for image in rows))


def searched(organization, *, in_trash=False, **parameters):
    return Selection(organization, in_trash=in_trash, search=urlencode(parameters))


def started(kind, selection, actor):
    params = dict(ACTIONS[kind].params)
    if "destination" in params:
        params["destination"] = Organization.objects.get(name=params["destination"])
    return jobs.start_bulk_action(kind, selection, actor=actor, **params)


def applied(kind, rows):
    """Return for each image, as it is now, whether the bulk action was applied to it."""
    return [ACTIONS[kind].is_applied(SourceImage.objects.get(pk=image.pk)) for image in rows]


def everything():
    """Return all rows that a bulk action could change."""
    return [list(model.objects.order_by("pk").values()) for model in (SourceImage, Tombstone, Job, AuditEvent)]


# --- The table --------------------------------------------------------------------------------------------------------


def test_the_table_has_every_bulk_action_that_runs_as_a_job():
    assert ACTIONS.keys() == {name for name, action in BULK_ACTIONS.items() if action.runs_as_job}


@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_outcomes_of_the_action(acme, stage, alice, five, kind):
    rows = prepared(kind, five, alice.actor)
    if kind in ACTIVE_KINDS and kind != "unlock":
        set_locked(rows[0], True, actor=alice.actor)
        delete_image(rows[1], actor=alice.actor)
    for _ in range(2):
        job = jobs.run(started(kind, selected(acme, rows, in_trash=in_trash(kind)), alice.actor).pk)
        assert job.counts.keys() <= {*BULK_ACTIONS[kind].outcomes, *FAILURES}
        assert sum(job.counts.values()) == job.processed == 5


# --- Every action -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_processes_the_selected_images_only(acme, stage, alice, five, kind):
    rows = prepared(kind, five, alice.actor)
    job = jobs.run(started(kind, selected(acme, rows[1:3], in_trash=in_trash(kind)), alice.actor).pk)
    assert (job.state, job.total, job.processed, job.failed, job.errors) == ("succeeded", 2, 2, 0, [])
    assert job.counts == {ACTIONS[kind].outcome: 2}
    assert applied(kind, rows) == [False, True, True, False, False]


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_processes_the_results_of_a_search_only(acme, stage, alice, five, kind):
    rows = prepared(kind, five, alice.actor)
    selection = searched(acme, q="harbor", in_trash=in_trash(kind))
    job = jobs.run(started(kind, selection, alice.actor).pk)
    assert (job.state, job.total, job.processed, job.counts) == ("succeeded", 3, 3, {ACTIONS[kind].outcome: 3})
    assert {image.name: done for image, done in zip(rows, applied(kind, rows), strict=True)} == {
        "harbor 0.png": True,
        "harbor 1.png": True,
        "harbor 2.png": True,
        "garden 3.png": False,
        "garden 4.png": False,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_other_organizations_are_not_found_by_id(acme, stage, alice, charlie, five, kind):
    other = charlie.user.memberships.get().organization
    charlie.upload(other, images.png(seed=1))
    theirs = prepared(kind, list(other.images.all()), charlie.actor)
    before = list(other.images.values())
    job = jobs.run(started(kind, selected(acme, theirs, in_trash=in_trash(kind)), alice.actor).pk)
    assert (job.state, job.total, job.processed, job.counts) == ("succeeded", 0, 0, {})
    assert list(other.images.values()) == before
    assert not stage.images.exists()


@pytest.mark.parametrize("kind", AUDITED_KINDS)
def test_the_audit_log_has_an_event_with_the_user_for_each_image(acme, stage, alice, five, kind):
    rows = prepared(kind, five[:2], alice.actor)
    earlier = set(AuditEvent.objects.values_list("pk", flat=True))
    jobs.run(started(kind, selected(acme, rows, in_trash=in_trash(kind)), alice.actor).pk)
    events = AuditEvent.objects.exclude(pk__in=earlier).filter(action=ACTIONS[kind].audit_action)
    assert {(event.target, event.user, event.source) for event in events} == {
        (image.hash, alice.user, "api") for image in rows
    }
    assert len(events) == 2
    for action in ("job.started", "job.succeeded"):
        assert AuditEvent.objects.exclude(pk__in=earlier).get(action=action).user == alice.user


@pytest.mark.parametrize("kind", [kind for kind in KINDS if BULK_ACTIONS[kind].skips_locked])
def test_locked_images_are_skipped_and_listed_in_errors(acme, stage, alice, five, kind):
    rows = prepared(kind, five, alice.actor)
    set_locked(rows[2], True, actor=alice.actor)
    job = jobs.run(started(kind, selected(acme, rows), alice.actor).pk)
    assert job.counts == {ACTIONS[kind].outcome: 4, "locked": 1}
    assert job.errors == [{"hash": rows[2].hash, "message": "Image is locked."}]
    assert (job.state, job.failed, job.skipped) == ("succeeded_with_errors", 0, 1)
    assert applied(kind, rows) == [True, True, False, True, True]


@pytest.mark.parametrize("kind", [kind for kind in ACTIVE_KINDS if kind not in ("copy", "unlock")])
def test_images_deleted_after_the_start_are_counted_as_not_found(acme, stage, alice, five, monkeypatch, kind):
    rows = prepared(kind, five, alice.actor)
    job = started(kind, selected(acme, rows), alice.actor)
    apply_batch = base.apply_batch

    def after_a_deletion(action, job_id, ids):
        if rows[2].pk in ids:
            delete_image(rows[2], actor=alice.actor)
        return apply_batch(action, job_id, ids)

    monkeypatch.setattr(base, "apply_batch", after_a_deletion)
    job = jobs.run(job.pk)
    assert (job.state, job.processed, job.failed, job.skipped) == ("succeeded_with_errors", 5, 0, 1)
    assert job.counts == {ACTIONS[kind].outcome: 4, "not_found": 1}
    assert job.errors == [{"hash": rows[2].hash, "message": "Image or file no longer exists."}]
    assert SourceImage.objects.get(pk=rows[2].pk).tombstone.reason == "api"


def test_an_image_that_is_refused_does_not_stop_the_others(acme, stage, alice, five):
    full = change_user_metadata(five[2], {f"field{number}": "x" for number in range(MAX_FIELDS)}, actor=alice.actor)
    job = jobs.run(started("set_metadata", selected(acme, five), alice.actor).pk)
    assert (job.state, job.processed, job.failed) == ("succeeded_with_errors", 5, 1)
    assert job.counts == {"updated": 4, "failed": 1}
    (failure,) = job.errors
    assert failure["hash"] == full.hash
    assert f"the limit is {MAX_FIELDS}" in failure["message"]
    assert applied("set_metadata", five) == [True, True, False, True, True]


@pytest.mark.parametrize("kind", SET_BASED_KINDS)
def test_more_images_take_no_more_queries(acme, stage, alice, five, kind):
    rows = prepared(kind, five, alice.actor)
    counts = []
    for part in (rows[:1], rows[1:]):
        job = started(kind, selected(acme, part), alice.actor)
        with CaptureQueriesContext(connection) as queries:
            jobs.run(job.pk)
        counts.append(len(queries))
    assert counts[1] <= counts[0]  # the first job also creates the metadata field


def test_a_job_makes_one_deletion(acme, stage, alice, five):
    job = jobs.run(started("delete", searched(acme, q="harbor"), alice.actor).pk)
    tombstone = Tombstone.objects.get()
    assert job.params["deletion_id"] == str(tombstone.pk)
    assert (tombstone.reason, tombstone.deleted_by, tombstone.images.count()) == ("admin", alice.user, 3)
    assert {event.tombstone_id for event in AuditEvent.objects.filter(action="image.deleted")} == {tombstone.pk}


def test_nothing_is_deleted_once_the_deletion_has_expired(acme, stage, alice, five):
    job = started("delete", selected(acme, five), alice.actor)
    Tombstone.objects.update(expires_at=timezone.now())
    job = jobs.run(job.pk)
    assert (job.state, job.processed) == ("failed", 0)
    assert "expired" in job.error
    assert acme.images.active().count() == 5


def test_of_two_images_with_one_hash_in_the_trash_one_is_restored(acme, stage, alice):
    for _ in range(2):
        alice.upload(acme, images.png())
        delete_image(acme.images.active().get(), actor=alice.actor)
    both = list(acme.images.order_by("id"))
    job = jobs.run(started("restore", selected(acme, both, in_trash=True), alice.actor).pk)
    assert job.counts == {"restored": 1, "skipped_existing": 1}
    assert acme.images.active().get() == both[0]


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_invalid_search_is_refused_at_the_start(acme, stage, alice, five, kind):
    before = everything()
    for search in ("q=year:[", "size=many", "operator=xor"):
        selection = Selection(acme, in_trash=in_trash(kind), search=search)
        with pytest.raises(InvalidInput):
            started(kind, selection, alice.actor)
    assert everything() == before


def test_too_many_ids_are_refused(acme, stage, alice, five):
    before = everything()
    for kind in ACTIVE_KINDS:
        with pytest.raises(InvalidInput, match="the limit is 2000"):
            started(kind, Selection(acme, in_trash=False, ids=tuple(range(MAX_IDS + 1))), alice.actor)
    assert everything() == before


@pytest.mark.parametrize(
    ("kind", "params"), [("paint", {}), ("set_metadata", {}), ("lock", {"changes": {}}), ("delete_all", {})]
)
def test_unknown_actions_and_wrong_parameters_are_not_started(acme, alice, five, kind, params):
    with pytest.raises(TypeError):
        jobs.start_bulk_action(kind, selected(acme, five), actor=alice.actor, **params)
    assert not acme.jobs.exists()


def test_images_are_not_copied_to_their_own_organization(acme, alice, five):
    before = everything()
    with pytest.raises(InvalidDestination):
        jobs.start_bulk_action("copy", selected(acme, five), actor=alice.actor, destination=acme, overwrite=False)
    assert everything() == before


def test_a_selection_survives_serialization(acme, five):
    for selection in (selected(acme, five), searched(acme, q="harbor", in_trash=True), Selection(acme, in_trash=False)):
        assert Selection.from_json(acme, selection.to_json()) == selection


def test_a_summary_counts_the_selected_images(acme, alice, five):
    set_locked(five[0], True, actor=alice.actor)
    derived = set_protected(five[1], True, delete_previous=True, actor=alice.actor).image
    summary = selected(acme, [five[0], derived, five[2]]).summary()
    assert (summary.count, summary.locked, summary.protected) == (3, 1, 1)
    assert summary.bytes == sum(image.size for image in five[:3])
    nothing = Selection(acme, in_trash=False, ids=()).summary()
    assert (nothing.count, nothing.bytes) == (0, 0)


# --- Each image once --------------------------------------------------------------------------------------------------


def test_changing_the_field_of_the_search_processes_each_image_once(acme, stage, alice, five, monkeypatch):
    monkeypatch.setattr(base, "TRANSACTION_BATCH", 2)
    for image in five:
        change_user_metadata(image, {"int:year": 1950}, actor=alice.actor)
    job = jobs.run(started("set_metadata", searched(acme, q="user:int:year:1950"), alice.actor).pk)
    assert (job.processed, job.counts) == (5, {"updated": 5})
    assert [image.user_metadata for image in acme.images.active()] == [{"int:year": 1999}] * 5


@pytest.mark.parametrize("parameters", [{}, {"q": "harbor OR garden"}])
def test_images_that_protecting_creates_are_not_processed(acme, stage, alice, five, monkeypatch, parameters):
    monkeypatch.setattr(base, "LOOKUP_BATCH", 2)
    job = jobs.run(started("protect", searched(acme, **parameters), alice.actor).pk)
    assert (job.processed, job.counts) == (5, {"protected": 5})
    assert acme.images.count() == 10
    assert acme.images.active().filter(protected=True).count() == 5


class KilledError(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_job_continues_where_it_stopped(acme, stage, alice, five, monkeypatch, kind):
    """Killed before and after saving the progress: only what was committed has happened."""
    for module, name in BATCH_SIZES:
        monkeypatch.setattr(module, name, 2)
    rows = prepared(kind, five, alice.actor)
    job = started(kind, selected(acme, rows, in_trash=in_trash(kind)), alice.actor)
    earlier = AuditEvent.objects.count()
    for module in (base, batches):
        advance, turns = module.advance, iter(range(100))

        def killed(*args, advance=advance, turns=turns, **kwargs):
            turn = next(turns)
            if turn % 3 == 1:
                raise KilledError
            advance(*args, **kwargs)
            if turn % 3 == 2:
                raise KilledError

        monkeypatch.setattr(module, "advance", killed)
    kills = 0
    while True:
        try:
            job = jobs.run(job.pk)
            break
        except KilledError:
            kills += 1
    assert kills >= 2
    assert (job.state, job.processed, job.failed, job.counts) == ("succeeded", 5, 0, {ACTIONS[kind].outcome: 5})
    assert all(applied(kind, rows))
    if kind in AUDITED_KINDS:
        assert AuditEvent.objects.filter(action=ACTIONS[kind].audit_action).count() == 5
        assert AuditEvent.objects.count() == earlier + 5 + 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_cancelled_job_is_resumed_where_it_stopped(acme, stage, alice, five, monkeypatch, kind):
    for module, name in BATCH_SIZES:
        monkeypatch.setattr(module, name, 2)
    rows = prepared(kind, five, alice.actor)
    job = started(kind, selected(acme, rows, in_trash=in_trash(kind)), alice.actor)
    jobs.run_one_batch(job.pk)
    cancelled = jobs.cancel(job, actor=alice.actor)
    assert (cancelled.state, cancelled.processed) == ("cancelled", 2)
    assert jobs.run(job.pk).processed == 2
    assert applied(kind, rows) == [True, True, False, False, False]
    assert jobs.resume(cancelled, actor=alice.actor).state == "queued"
    finished = jobs.run(job.pk)
    assert (finished.state, finished.processed, finished.counts) == ("succeeded", 5, {ACTIONS[kind].outcome: 5})
    assert all(applied(kind, rows))
    events = AuditEvent.objects.filter(job_id=job.pk, action__startswith="job.").order_by("pk")
    assert [event.action for event in events] == [
        "job.started",
        "job.cancelled",
        "job.resumed",
        "job.succeeded",
    ]


def test_cancelling_takes_effect_before_the_next_image(acme, stage, alice, five, monkeypatch):
    job = started("protect", selected(acme, five), alice.actor)
    apply_batch = base.apply_batch

    def cancelled_after_two(action, job_id, ids):
        if ids == [five[2].pk]:
            jobs.cancel(job, actor=alice.actor)
        return apply_batch(action, job_id, ids)

    monkeypatch.setattr(base, "apply_batch", cancelled_after_two)
    assert jobs.run(job.pk).state == "cancelled"
    assert applied("protect", five) == [True, True, False, False, False]


def test_a_failed_job_is_resumed_once_its_cause_is_fixed(acme, stage, alice, five):
    job = started("copy", selected(acme, five), alice.actor)
    Job.objects.filter(pk=job.pk).update(params=job.params | {"destination": "nowhere"})
    failed = jobs.run(job.pk)
    assert (failed.state, failed.processed) == ("failed", 0)
    assert "nowhere" in failed.error
    Job.objects.filter(pk=job.pk).update(params=job.params)
    resumed = jobs.resume(failed, actor=alice.actor)
    assert (resumed.state, resumed.error) == ("queued", "")
    assert jobs.run(job.pk).counts == {"created": 5}


def test_a_finished_job_is_neither_resumed_nor_cancelled(acme, stage, alice, five):
    job = jobs.run(started("lock", selected(acme, five), alice.actor).pk)
    before = everything()
    assert jobs.resume(job, actor=alice.actor).state == "succeeded"
    assert jobs.cancel(job, actor=alice.actor).state == "succeeded"
    assert everything() == before


def test_locked_images_at_the_destination_are_listed_in_errors(acme, stage, alice, five):
    jobs.run(started("copy", selected(acme, five[:1]), alice.actor).pk)
    set_locked(stage.images.get(), True, actor=alice.actor)
    job = jobs.start_bulk_action("copy", selected(acme, five), actor=alice.actor, destination=stage, overwrite=True)
    job = jobs.run(job.pk)
    assert (job.state, job.counts) == ("succeeded_with_errors", {"created": 4, "locked": 1})
    assert job.errors == [{"hash": five[0].hash, "message": "Destination image is locked."}]


# --- Concurrent jobs --------------------------------------------------------------------------------------------------


def together(*calls):
    """Make the calls at the same time, each in its own thread, and return the results."""
    barrier = Barrier(len(calls))

    def run(call):
        try:
            barrier.wait(30)
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def run_to_the_end(job):
    """Run the job to its end, with a retry after each conflict, as a worker does."""
    while True:
        try:
            return jobs.run(job.pk)
        except Conflict:
            continue


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", KINDS)
def test_several_processes_that_run_one_job_process_each_image_once(acme, stage, alice, five, monkeypatch, kind):
    for module, name in BATCH_SIZES:
        monkeypatch.setattr(module, name, 2)
    rows = prepared(kind, five, alice.actor)
    job = started(kind, selected(acme, rows, in_trash=in_trash(kind)), alice.actor)
    together(*[lambda: run_to_the_end(job)] * 3)
    job.refresh_from_db()
    assert (job.state, job.processed, job.failed, job.counts) == ("succeeded", 5, 0, {ACTIONS[kind].outcome: 5})
    if kind in AUDITED_KINDS:
        assert AuditEvent.objects.filter(action=ACTIONS[kind].audit_action).count() == 5
    assert consistency_errors() == []


@pytest.mark.django_db(transaction=True)
def test_two_jobs_that_delete_the_same_images_delete_each_once(acme, stage, alice, five, monkeypatch):
    monkeypatch.setattr(delete, "DELETE_BATCH", 2)
    both = [started("delete", selected(acme, five), alice.actor) for _ in range(2)]
    results = together(*[lambda job=job: run_to_the_end(job) for job in both])
    assert sum(job.counts.get("deleted", 0) for job in results) == 5
    assert AuditEvent.objects.filter(action="image.deleted").count() == 5
    assert acme.images.active().count() == 0
    assert consistency_errors() == []


@pytest.mark.django_db(transaction=True)
def test_an_image_is_either_deleted_or_protected_by_concurrent_jobs(acme, stage, alice, five):
    deleting, protecting = (started(kind, selected(acme, five), alice.actor) for kind in ("delete", "protect"))
    deleted, protected = together(lambda: run_to_the_end(deleting), lambda: run_to_the_end(protecting))
    assert all(job.state == ("succeeded_with_errors" if job.skipped else "succeeded") for job in (deleted, protected))
    assert acme.images.active().count() == protected.counts.get("protected", 0)
    assert deleted.counts.get("deleted", 0) + protected.counts.get("protected", 0) == 5
    assert consistency_errors() == []


@pytest.mark.django_db(transaction=True)
def test_two_jobs_that_restore_the_same_images_restore_each_once(acme, stage, alice, five):
    prepared("restore", five, alice.actor)
    both = [started("restore", selected(acme, five, in_trash=True), alice.actor) for _ in range(2)]
    results = together(*[lambda job=job: run_to_the_end(job) for job in both])
    assert sum(job.counts.get("restored", 0) for job in results) == 5
    assert acme.images.active().count() == 5
    assert consistency_errors() == []
