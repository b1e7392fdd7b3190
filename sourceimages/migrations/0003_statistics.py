"""PostgreSQL counts rows anew after a fixed number of changes.

It plans look-ups in an organization by the rows it has last seen there. By default it looks again when a tenth of the
whole table has changed: an organization of many thousand pictures could come into being without its noticing, and be
read from end to end for each of them.
"""

from django.db import migrations

TABLES = "sourceimages_storedfile", "sourceimages_sourceimage", "sourceimages_shorthash"
SETTINGS = "autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 2000"


def count_more_often(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for table in TABLES:
            schema_editor.execute(f"ALTER TABLE {table} SET ({SETTINGS})")


def count_as_by_default(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for table in TABLES:
            schema_editor.execute(
                f"ALTER TABLE {table} RESET (autovacuum_analyze_scale_factor, autovacuum_analyze_threshold)"
            )


class Migration(migrations.Migration):
    dependencies = [("sourceimages", "0002_batches")]

    operations = [migrations.RunPython(count_more_often, count_as_by_default)]
