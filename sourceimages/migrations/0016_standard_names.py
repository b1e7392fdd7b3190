from django.db import migrations, models

REASONS = {"binary hash": "binary_hash", "delete-all": "delete_all", "staff": "admin"}
KINDS = {
    "metadata_changed": "metadata_updated",
    "dynamic_metadata_changed": "dynamic_metadata_updated",
}


def rename_values(apps, schema_editor):
    tombstones = apps.get_model("sourceimages", "Tombstone").objects
    for old, new in REASONS.items():
        tombstones.filter(reason=old).update(reason=new)
    versions = apps.get_model("sourceimages", "ImageVersion").objects
    for old, new in KINDS.items():
        versions.filter(kind=old).update(kind=new)
    versions.filter(source="time").update(source="system")
    files = apps.get_model("sourceimages", "StoredFile").objects
    for file in files.filter(static_metadata__has_key="optimize").iterator():
        optimize = file.static_metadata["optimize"]
        for old, new in (("wish", "requested"), ("left", "skipped_reason")):
            if old in optimize:
                optimize[new] = optimize.pop(old)
        file.save(update_fields=["static_metadata"])


class Migration(migrations.Migration):
    """Columns, constraints and stored values get the names that the code, the API and the admin use now."""

    dependencies = [
        ("sourceimages", "0015_file_content_since"),
        ("organizations", "0009_standard_values"),
    ]

    operations = [
        migrations.RunPython(rename_values, migrations.RunPython.noop),
        migrations.RemoveIndex("storedfile", "file_without_colours"),
        migrations.RenameField("storedfile", "colours_wanted", "colors_pending"),
        migrations.RenameField("storedfile", "optimize_since", "optimize_started_at"),
        migrations.RenameIndex("sourceimage", new_name="image_created", old_name="image_newest"),
        migrations.RenameIndex("sourceimage", new_name="image_tombstone", old_name="image_trash"),
        migrations.RenameIndex("tombstone", new_name="tombstone_deleted_at", old_name="tombstone_newest"),
        migrations.RenameIndex("imageversion", new_name="version_created", old_name="version_oldest"),
        migrations.RemoveConstraint("sourceimage", "image_living_hash_unique"),
        migrations.AlterField(
            model_name="imageversion",
            name="kind",
            field=models.CharField(
                choices=[
                    ("renamed", "Renamed"),
                    ("metadata_updated", "Metadata Updated"),
                    ("dynamic_metadata_updated", "Dynamic Metadata Updated"),
                    ("overwritten", "Overwritten"),
                    ("alias_moved", "Alias Moved"),
                    ("alias_deleted", "Alias Deleted"),
                    ("version_restored", "Version Restored"),
                    ("restore_conflict", "Restore Conflict"),
                    ("created", "Created"),
                    ("replaced", "Replaced"),
                    ("deleted", "Deleted"),
                    ("restored", "Restored"),
                ],
                max_length=30,
            ),
        ),
        migrations.AlterField(
            model_name="imageversion",
            name="source",
            field=models.CharField(
                choices=[("api", "Api"), ("staff", "Staff"), ("command", "Command"), ("system", "System")],
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="tombstone",
            name="reason",
            field=models.CharField(
                choices=[
                    ("api", "Api"),
                    ("binary_hash", "Binary Hash"),
                    ("delete_all", "Delete All"),
                    ("replaced", "Replaced"),
                    ("admin", "Admin"),
                    ("undo", "Undo"),
                ],
                max_length=20,
            ),
        ),
        migrations.AddIndex(
            model_name="storedfile",
            index=models.Index(condition=models.Q(("colors_pending", True)), fields=["id"], name="file_without_colors"),
        ),
        migrations.AddConstraint(
            model_name="sourceimage",
            constraint=models.UniqueConstraint(
                condition=models.Q(("tombstone__isnull", True)),
                fields=("organization", "hash"),
                name="image_active_hash_unique",
            ),
        ),
    ]
