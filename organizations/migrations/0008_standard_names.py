from django.db import migrations

from organizations import audit_triggers


class Migration(migrations.Migration):
    """Columns and constraints get the names that the code uses now."""

    # Earlier migrations of source images read the tables under their old names.
    dependencies = [("organizations", "0007_job_attempts"), ("sourceimages", "0015_file_content_since")]

    operations = [
        migrations.RunPython(audit_triggers.drop, audit_triggers.create),
        migrations.RenameField("auditevent", "verb", "action"),
        migrations.RenameIndex("auditevent", new_name="audit_created", old_name="audit_newest"),
        migrations.RunPython(audit_triggers.create, audit_triggers.drop),
        migrations.RenameModel("Counter", "UsageCounter"),
        migrations.RemoveConstraint("job", "job_exclusive"),
        migrations.RemoveConstraint("job", "job_done_within_total"),
        migrations.RemoveIndex("job", "job_unfinished"),
        migrations.RenameIndex("job", new_name="job_created", old_name="job_newest"),
        migrations.RenameField("job", "arguments", "params"),
        migrations.RenameField("job", "done", "processed"),
        migrations.RenameField("job", "position", "processed_id"),
        migrations.RenameField("job", "upto", "last_id"),
        migrations.RenameField("job", "one_by_one_upto", "single_until_id"),
        migrations.RenameField("job", "report", "counts"),
        migrations.RenameField("job", "failures", "errors"),
    ]
