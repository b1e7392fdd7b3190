from django.db import migrations, models
from django.db.models import F
from django.utils import timezone


def accept_all(apps, schema_editor):
    """Members of before have had their say: nobody loses anything by this migration."""
    apps.get_model("organizations", "Membership").objects.update(accepted_at=F("created"))


class Migration(migrations.Migration):

    dependencies = [
        ("organizations", "0005_job_failures"),
    ]

    operations = [
        # Null for what an older server still inserts: it is accepted with its first use.
        migrations.AddField(
            model_name="membership",
            name="accepted_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.RunPython(accept_all, migrations.RunPython.noop, elidable=True),
        migrations.AlterField(
            model_name="membership",
            name="accepted_at",
            field=models.DateTimeField(blank=True, default=timezone.now, null=True),
        ),
    ]
