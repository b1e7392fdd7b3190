"""Scheduled Celery tasks of the accounts app."""

import structlog

from organizations.usage import daily_stats
from rokka.celery import app
from rokka.core.locks import AlreadyRunning, exclusive

log = structlog.get_logger()


@app.task
def snapshot_stats() -> None:
    try:
        with exclusive("snapshot_stats"):
            daily_stats.snapshot()
    except AlreadyRunning:
        log.info("task.already_running", task="snapshot_stats")
