"""Celery, for work outside requests. Without REDIS_URL tasks run where they are called."""

import os
from typing import Any

from celery import Celery, signals

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rokka.settings")

app = Celery("rokka")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@signals.setup_logging.connect
def disable_celery_logging(**kwargs: Any) -> None:
    """Somebody listening here is what keeps Celery from replacing the logging of our settings."""
