"""The Celery application. Without REDIS_URL, tasks run in the calling process."""

import os
from typing import Any

from celery import Celery, signals

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rokka.settings")

app = Celery("rokka")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@signals.setup_logging.connect
def disable_celery_logging(**kwargs: Any) -> None:
    """A receiver of this signal keeps Celery from replacing the logging configuration of the settings."""
