"""Readiness: a server that can't answer requests reports it."""

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from rokka.doctor.services import check_tables
from sourceimages.models import StoredFile
from tests.conftest import files_in
from tests.support import images


def problems(client):
    ready = client.get("/health/ready")
    assert ready.status_code == 503
    return ready.json()["problems"]


def test_code_that_is_older_than_the_database_is_ready(db, client):
    """An upgrade migrates before it replaces the servers."""
    MigrationRecorder(connection).record_applied("sourceimages", "9999_from_the_future")
    assert client.get("/health/ready").status_code == 200
    [warning, _] = check_tables()
    assert "sourceimages.9999_from_the_future" in warning.message


def test_code_that_is_newer_than_the_database_is_not_ready(db, client):
    MigrationRecorder(connection).record_unapplied("organizations", "0001_initial")
    said = problems(client)
    assert list(said) == ["migrations"]
    assert "organizations.0001_initial" in said["migrations"]


def test_migrations_of_other_apps_are_ignored(db, client):
    MigrationRecorder(connection).record_applied("another_app", "0001_initial")
    assert client.get("/health/ready").status_code == 200


READ_ONLY = {
    "postgresql": ("SET default_transaction_read_only = on", "SET default_transaction_read_only = off"),
    "sqlite": ("PRAGMA query_only = ON", "PRAGMA query_only = OFF"),
}


@pytest.fixture
def read_only(transactional_db):
    """Makes the database read-only, like a standby. Call it after creating the data."""
    begin, end = READ_ONLY[connection.vendor]

    def make():
        with connection.cursor() as cursor:
            cursor.execute(begin)

    yield make
    with connection.cursor() as cursor:
        cursor.execute(end)


def test_a_read_only_database_is_not_ready_and_answers_503(acme, alice, uploaded, read_only, client, storage_dir):
    kept = files_in(storage_dir)
    read_only()
    assert problems(client)["database"] == "The database is read-only."
    response = alice.upload(acme, images.png(seed=1))
    assert (response.status_code, response.json()["reason"]) == (503, "unavailable")
    assert response.headers["Retry-After"]
    assert alice.api.get("/sourceimages/acme").json()["total"] == 1
    assert StoredFile.objects.count() == 1
    assert set(kept) <= set(files_in(storage_dir))
