import django.db.models.deletion
from django.db import migrations, models

MADE_FOR = "1:english"  # what every organization is indexed for that never had another language


def describe(apps, schema_editor):
    """Indexes of organizations that have, or had, a language of their own may be of another one: build them anew."""
    Organization = apps.get_model("organizations", "Organization")
    AuditEvent = apps.get_model("organizations", "AuditEvent")
    SearchIndex = apps.get_model("sourceimages", "SearchIndex")
    changed = AuditEvent.objects.filter(
        details__before__has_key="search_language", verb="organization.options_changed"
    )
    unknown = set(changed.values_list("organization", flat=True))
    unknown |= set(Organization.objects.filter(options__has_key="search_language").values_list("pk", flat=True))
    SearchIndex.objects.bulk_create(
        (SearchIndex(organization_id=pk, made_for="" if pk in unknown else MADE_FOR, building=""))
        for pk in Organization.objects.values_list("pk", flat=True)
    )


class Migration(migrations.Migration):
    dependencies = [("organizations", "0005_job_failures"), ("sourceimages", "0010_instance")]

    operations = [
        migrations.CreateModel(
            name="SearchIndex",
            fields=[
                (
                    "organization",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="search_index",
                        serialize=False,
                        to="organizations.organization",
                    ),
                ),
                ("made_for", models.CharField(blank=True, max_length=60)),
                ("building", models.CharField(blank=True, max_length=60)),
            ],
            options={"verbose_name_plural": "search indexes"},
        ),
        migrations.RunPython(describe, migrations.RunPython.noop),
    ]
