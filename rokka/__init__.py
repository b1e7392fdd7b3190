import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rokka.settings")
