"""The scheduler of standalone mode."""

from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry
from django.utils.module_loading import import_string


class InlineScheduler(PersistentScheduler):
    """Runs scheduled tasks in its own process instead of sending them to workers (JOB_RUNNER=inline)."""

    def apply_async(self, entry: ScheduleEntry, *args: Any, **kwargs: Any) -> None:
        import_string(str(entry.task))(*(entry.args or ()), **(entry.kwargs or {}))
