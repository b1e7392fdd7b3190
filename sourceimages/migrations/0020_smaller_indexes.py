from django.db import migrations, models


class Migration(migrations.Migration):
    """Smaller indexes, with which the last release works too. Until it is replaced, it finds existing images slowly."""

    dependencies = [
        ("organizations", "0012_api_key_origins"),
        ("sourceimages", "0019_index_without_constraints"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="sourceimage",
            index=models.Index(
                condition=models.Q(
                    ("tombstone__isnull", True), models.Q(("identity", models.F("hash")), _negated=True)
                ),
                fields=["organization", "identity"],
                name="image_kept_hash",
            ),
        ),
        migrations.RemoveIndex("sourceimage", "image_created"),
        migrations.AddIndex(
            model_name="sourceimage",
            index=models.Index(
                condition=models.Q(("tombstone__isnull", True)),
                fields=["organization", "created", "-hash", "-id"],
                name="image_created",
            ),
        ),
        migrations.RemoveIndex("sourceimage", "image_identity"),
    ]
