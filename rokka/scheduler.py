"""The scheduler of standalone mode."""

from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry


class InlineScheduler(PersistentScheduler):
    """Runs scheduled tasks in its own process instead of sending them to workers (JOB_RUNNER=inline)."""

    def apply_async(self, entry: ScheduleEntry, *args: Any, **kwargs: Any) -> None:
        self.app.tasks[str(entry.task)](*(entry.args or ()), **(entry.kwargs or {}))
