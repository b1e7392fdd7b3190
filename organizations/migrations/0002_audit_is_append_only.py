from django.db import migrations

from organizations import audit_triggers


class Migration(migrations.Migration):
    dependencies = [("organizations", "0001_initial")]

    operations = [migrations.RunPython(audit_triggers.create, audit_triggers.drop)]
