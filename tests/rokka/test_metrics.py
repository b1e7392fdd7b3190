"""Prometheus metrics."""

from prometheus_client.parser import text_string_to_metric_families

from organizations.models import Job
from sourceimages import storage, task_state
from sourceimages.models import MaintenanceTask
from sourceimages.storage import OWNER_MARK


def samples(client):
    """Values by name and labels, as Prometheus parses them."""
    families = text_string_to_metric_families(client.get("/metrics").content.decode())
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def test_a_task_that_waits_for_an_operator_is_a_metric(db, client):
    MaintenanceTask.objects.create(name="verify")
    task_state.hold("purge", "It would remove too many images.", count=12)
    assert samples(client)["rokka_maintenance_held", "purge"] == 1
    assert samples(client)["rokka_maintenance_held", "verify"] == 0
    task_state.release("purge")
    assert samples(client)["rokka_maintenance_held", "purge"] == 0


def test_a_storage_of_another_owner_is_a_metric(image, storage_dir, client):
    assert samples(client)["rokka_storage_mismatch",] == 0
    (storage_dir / OWNER_MARK).unlink()
    storage_dir.rename(storage_dir.with_name("unmounted"))
    storage_dir.mkdir()
    assert samples(client)["rokka_storage_mismatch",] == 1


def test_a_recovered_file_is_counted(image, alice, client):
    storage.originals().move_to_trash([image.file.key])
    assert b"".join(alice.api.get(f"/sourceimages/acme/{image.hash}/download").streaming_content)
    assert samples(client)["rokka_files_recovered_total",] == 1


def test_unfinished_jobs_are_counted(acme, client):
    Job.objects.create(organization=acme, kind="copy_all", state="running")
    Job.objects.create(organization=acme, kind="copy_all", state="succeeded")
    assert samples(client)["rokka_jobs_unfinished", "copy_all", "running"] == 1
    assert ("rokka_jobs_unfinished", "copy_all", "succeeded") not in samples(client)
