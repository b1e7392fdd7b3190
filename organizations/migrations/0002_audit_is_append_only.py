from django.db import migrations

from organizations import triggers


class Migration(migrations.Migration):
    dependencies = [("organizations", "0001_initial")]

    operations = [migrations.RunPython(triggers.create, triggers.drop)]
