"""Celery, for work outside requests. Without REDIS_URL tasks run where they are called."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rokka.settings")

app = Celery("rokka")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
