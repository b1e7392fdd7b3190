"""Which database errors are conflicts."""

from contextlib import suppress
from threading import Barrier, Thread

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from organizations.audit import COMMAND
from organizations.models import Job, Organization, User
from organizations.operations import create_organization_with_admin
from rokka.core import database
from rokka.core.database import StaleRead, retry_on_conflict, translate_conflict, violated_constraint
from rokka.core.errors import Conflict
from sourceimages.conflicts import FILE_REFERENCE, TOMBSTONE_REFERENCE
from sourceimages.models import Alias, ShortHash, SourceImage
from tests.conftest import consistency_errors


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(database, "MAX_RETRY_PAUSE_SECONDS", 0)


def take(organization: Organization) -> Alias:
    """Create an alias; the second call violates the unique constraint."""
    return Alias.objects.create(organization=organization, alias="a", hash="0" * 40)


def test_a_function_runs_again_after_a_conflict(acme):
    take(acme)
    attempts = []

    @retry_on_conflict("alias_unique")
    @transaction.atomic
    def replace() -> Alias:
        attempts.append(len(attempts))
        if len(attempts) > 1:
            Alias.objects.all().delete()
        return take(acme)

    assert replace() == Alias.objects.get()
    assert attempts == [0, 1]


def test_failed_attempts_are_rolled_back_and_the_last_one_raises_conflict(acme):
    take(acme)
    attempts = []

    @retry_on_conflict("alias_unique")
    @transaction.atomic
    def add() -> None:
        attempts.append(len(attempts))
        ShortHash.objects.create(organization=acme, short_hash="abcdef", hash="a" * 40)
        take(acme)

    with pytest.raises(Conflict):
        add()
    assert len(attempts) == database.MAX_ATTEMPTS
    assert not ShortHash.objects.exists()


def test_an_integrity_error_of_another_constraint_is_not_swallowed(acme):
    take(acme)
    attempts = []

    @retry_on_conflict("image_active_hash_unique", "short_hash_unique", references=[FILE_REFERENCE])
    @transaction.atomic
    def add() -> None:
        attempts.append(len(attempts))
        take(acme)

    with pytest.raises(IntegrityError):
        add()
    assert attempts == [0]


def test_a_check_constraint_is_no_conflict(image):
    tombstone = image.organization.tombstones.create(expires_at=image.created, reason="api")

    @retry_on_conflict("image_active_hash_unique", references=[FILE_REFERENCE])
    @transaction.atomic
    def delete_locked() -> None:
        SourceImage.objects.filter(pk=image.pk).update(locked=True, tombstone=tombstone)

    with pytest.raises(IntegrityError):
        delete_locked()


def test_a_stale_read_is_a_conflict(db):
    outcomes = iter([StaleRead(), StaleRead(), None])

    @retry_on_conflict()
    def look() -> str:
        if error := next(outcomes):
            raise error
        return "found"

    assert look() == "found"


def test_a_lost_connection_is_not_a_conflict(db):
    @retry_on_conflict("alias_unique", references=[FILE_REFERENCE])
    def look() -> None:
        raise OperationalError("server closed the connection unexpectedly")

    with pytest.raises(OperationalError):
        look()


@pytest.mark.parametrize(
    "constraint", ["alias_unique", "job_exclusive", "organization_name_unique", "short_hash_once_per_hash"]
)
def test_constraints_are_distinguished_by_name(acme, constraint):
    def violate() -> None:
        for _ in range(2):
            match constraint:
                case "alias_unique":
                    take(acme)
                case "job_exclusive":
                    Job.objects.create(organization=acme, kind="restore_deletion")
                case "organization_name_unique":
                    Organization.objects.create(name="twice")
                case "short_hash_once_per_hash":
                    ShortHash.objects.create(organization=acme, short_hash=str(_), hash="a" * 40)

    with pytest.raises(IntegrityError) as error, transaction.atomic():
        violate()
    assert violated_constraint(error.value) == {constraint}


def test_a_primary_key_is_not_a_known_constraint(acme):
    with pytest.raises(IntegrityError) as error, transaction.atomic():
        User.objects.bulk_create([User(pk=acme.pk, email="a@example.org"), User(pk=acme.pk, email="b@example.org")])
    assert violated_constraint(error.value).isdisjoint({"user_username_unique"})


def test_only_one_constraint_is_translated_and_the_transaction_remains_usable(acme):
    with transaction.atomic():
        with pytest.raises(Conflict, match="Taken"), translate_conflict(Conflict("Taken."), "organization_name_unique"):
            Organization.objects.create(name="acme")
        with pytest.raises(IntegrityError), translate_conflict(Conflict("Taken."), "alias_unique"):
            Organization.objects.create(name="acme")
        create_organization_with_admin("stage", email="a@example.org", actor=COMMAND)
    assert Organization.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_named_foreign_key_is_a_conflict(image):
    """The constraint is checked at the end of the transaction."""
    attempts = []

    def refer_to_nothing() -> None:
        attempts.append(len(attempts))
        with transaction.atomic():
            if len(attempts) == 1:
                SourceImage.objects.filter(pk=image.pk).update(file=image.file_id + 1)

    retry_on_conflict(references=[FILE_REFERENCE])(refer_to_nothing)()
    assert attempts == [0, 1]
    attempts.clear()
    with pytest.raises(IntegrityError):
        retry_on_conflict("alias_unique")(refer_to_nothing)()
    if connection.vendor == "postgresql":  # SQLite does not name the constraint
        attempts.clear()
        with pytest.raises(IntegrityError):
            retry_on_conflict(references=[TOMBSTONE_REFERENCE])(refer_to_nothing)()
    assert consistency_errors() == []


@pytest.mark.django_db(transaction=True)
def test_the_victim_of_a_deadlock_runs_again(acme, stage):
    """SQLite has no deadlocks, because writers queue."""
    together, finished = Barrier(2, timeout=5), []

    def hold(*organizations: Organization) -> None:
        @retry_on_conflict()
        @transaction.atomic
        def attempt() -> None:
            for organization in organizations:
                Organization.objects.select_for_update().get(pk=organization.pk)
                if connection.vendor == "postgresql" and not together.broken:
                    with suppress(Exception):
                        together.wait(1)
            finished.append(organizations)

        attempt()
        connection.close()

    threads = [Thread(target=hold, args=order) for order in ((acme, stage), (stage, acme))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(finished) == 2


@pytest.mark.django_db(transaction=True)
def test_a_deadlock_within_a_transaction_is_raised(acme):
    attempts = []

    @retry_on_conflict()
    def inner() -> None:
        attempts.append("inner")
        if len(attempts) < 3 and connection.vendor == "postgresql":  # SQLite has no deadlocks
            with connection.cursor() as cursor:
                cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$")

    @retry_on_conflict()
    @transaction.atomic
    def outer() -> None:
        attempts.append("outer")
        inner()

    outer()
    assert attempts == ["outer", "inner"] * (2 if connection.vendor == "postgresql" else 1)
