from django.db import migrations, models

from organizations import audit_triggers

KINDS = {
    "copy-all": "copy_all",
    "delete-all": "delete_all",
    "restore": "restore_deletion",
    "restore-some": "restore",
    "index": "reindex",
    "set-metadata": "set_metadata",
}
STATES = {"waiting": "queued", "done": "succeeded", "interrupted": "paused"}
SOURCES = {"time": "system"}
ACTIONS = {
    "alias.changed": "alias.updated",
    "api_key.added": "api_key.created",
    "file.left_as_it_is": "file.optimization_skipped",
    "image.added": "image.created",
    "image.derived": "image.variant_created",
    "image.dynamic_metadata_changed": "image.dynamic_metadata_updated",
    "image.metadata_changed": "image.metadata_updated",
    "job.done": "job.succeeded",
    "job.interrupted": "job.paused",
    "job.stopped": "job.cancelled",
    "membership.added": "membership.created",
    "membership.changed": "membership.updated",
    "membership.removed": "membership.deleted",
    "organization.changed": "organization.updated",
    "organization.options_changed": "organization.options_updated",
    "signing_key.added": "signing_key.created",
    "signing_key.removed": "signing_key.deleted",
    "signing_key.shown": "signing_key.revealed",
    "staff.created": "user.created",
    "tombstone.purged": "deletion.purged",
    "trash.expired": "deletion.expired",
}
COUNTS = {
    "changed": "updated",
    "collision": "hash_collision",
    "existing": "skipped_existing",
    "gone": "not_found",
    "locked already": "already_locked",
    "not locked": "not_locked",
    "not protected": "not_protected",
    "protected already": "already_protected",
}
REASONS = {"binary hash": "binary_hash", "delete-all": "delete_all", "staff": "admin"}


def rename_values(apps, schema_editor):
    events, jobs = apps.get_model("organizations", "AuditEvent"), apps.get_model("organizations", "Job")
    for old, new in ACTIONS.items():
        events.objects.filter(action=old).update(action=new)
    for old, new in KINDS.items():
        events.objects.filter(action__startswith="job.", target=old).update(target=new)
    for old, new in SOURCES.items():
        events.objects.filter(source=old).update(source=new)
        jobs.objects.filter(source=old).update(source=new)
    for job in jobs.objects.iterator():
        job.kind, job.state = KINDS.get(job.kind, job.kind), STATES.get(job.state, job.state)
        job.params = {("deletion_id" if key == "tombstone" else key): value for key, value in job.params.items()}
        if "undone" in job.params:
            job.params["undone"] = KINDS.get(job.params["undone"], job.params["undone"])
        if "undoes" in job.params:
            job.params["undoes"]["reason"] = REASONS.get(job.params["undoes"]["reason"], job.params["undoes"]["reason"])
        job.counts = {COUNTS.get(key, key): value for key, value in job.counts.items()}
        job.save(update_fields=["kind", "state", "params", "counts"])


class Migration(migrations.Migration):
    """Stored values get the words that the API and the admin use now."""

    dependencies = [("organizations", "0008_standard_names")]

    operations = [
        migrations.RunPython(audit_triggers.drop, audit_triggers.create),
        migrations.RunPython(rename_values, migrations.RunPython.noop),
        migrations.RunPython(audit_triggers.create, audit_triggers.drop),
        migrations.AlterField(
            model_name="auditevent",
            name="source",
            field=models.CharField(
                choices=[("api", "Api"), ("staff", "Staff"), ("command", "Command"), ("system", "System")],
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="job",
            name="source",
            field=models.CharField(
                choices=[("api", "Api"), ("staff", "Staff"), ("command", "Command"), ("system", "System")],
                default="command",
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="job",
            name="state",
            field=models.CharField(
                choices=[
                    ("queued", "Queued"),
                    ("running", "Running"),
                    ("succeeded", "Succeeded"),
                    ("succeeded_with_errors", "Completed with errors"),
                    ("failed", "Failed"),
                    ("cancelled", "Cancelled"),
                    ("paused", "Paused"),
                ],
                default="queued",
                max_length=30,
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("state__in", ["queued", "running"])), fields=["heartbeat"], name="job_unfinished"
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.UniqueConstraint(
                condition=models.Q(
                    ("kind__in", ["delete_all", "restore_deletion"]), ("state__in", ["queued", "running"])
                ),
                fields=("organization",),
                name="job_exclusive",
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(("processed__lte", models.F("total"))), name="job_processed_within_total"
            ),
        ),
    ]
