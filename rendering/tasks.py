"""Celery tasks of rendering."""

from rendering import maintenance, operations
from rokka.celery import app
from rokka.core.locks import exclusive
from sourceimages.tasks import retried_by_schedule


@app.task
@retried_by_schedule
@exclusive("delete_preview_stacks")
def delete_preview_stacks() -> None:
    operations.delete_old_previews()


@app.task
@retried_by_schedule
@exclusive("clean_render_cache")
def clean_render_cache() -> None:
    maintenance.remove_unreferenced()
    maintenance.evict()
