"""Migrations that change stored values."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

BEFORE = [("organizations", "0007_job_attempts"), ("sourceimages", "0015_file_content_since")]


@pytest.fixture
def migrate(transactional_db):
    """Migrates to the given nodes and returns the models of that state; everything is migrated in the end."""

    def to(nodes):
        executor = MigrationExecutor(connection)
        executor.migrate(nodes)
        return executor.loader.project_state(nodes).apps

    yield to
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def test_stored_values_get_their_standard_words(migrate):
    old = migrate(BEFORE)
    acme = old.get_model("organizations", "Organization").objects.create(name="acme", display_name="Acme")
    job = old.get_model("organizations", "Job").objects.create(
        organization=acme,
        kind="restore",
        state="interrupted",
        arguments={"tombstone": "x", "undoes": {"reason": "delete-all"}},
        report={"restored": 2, "gone": 1, "existing": 3},
        done=6,
        total=9,
        position=12,
        upto=20,
    )
    events = old.get_model("organizations", "AuditEvent").objects
    events.create(verb="image.added", source="time", organization=acme, target="abc")
    events.create(verb="job.interrupted", source="command", organization=acme, target="restore")

    new = migrate(MigrationExecutor(connection).loader.graph.leaf_nodes())
    job = new.get_model("organizations", "Job").objects.get(pk=job.pk)
    assert (job.kind, job.state, job.processed, job.processed_id, job.last_id) == (
        *("restore_deletion", "paused", 6, 12, 20),
    )
    assert job.params == {"deletion_id": "x", "undoes": {"reason": "delete_all"}}
    assert job.counts == {"restored": 2, "not_found": 1, "skipped_existing": 3}
    stored = new.get_model("organizations", "AuditEvent").objects.order_by("pk")
    assert list(stored.values_list("action", "source", "target")) == [
        ("image.created", "system", "abc"),
        ("job.paused", "command", "restore_deletion"),
    ]
