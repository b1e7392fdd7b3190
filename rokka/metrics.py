"""Metrics in Prometheus text format. All but the pool are read from the database, so all processes report the same."""

from collections.abc import Iterator
from contextlib import suppress

from django.db import connection
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from organizations.models import Job
from rokka.core.connections import pool_state
from rokka.core.errors import Unavailable
from rokka.health import read_only_json
from sourceimages import ownership, stored_files
from sourceimages.models import MaintenanceTask


class DatabaseCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        held = GaugeMetricFamily(
            "rokka_maintenance_held",
            "1 if the scheduled task waits for a decision of an operator.",
            labels=["task"],
        )
        last_run = GaugeMetricFamily(
            "rokka_maintenance_last_run_timestamp_seconds",
            "Time of the scheduled task's last run.",
            labels=["task"],
        )
        recovered = CounterMetricFamily(
            "rokka_files_recovered", "Missing files that were recovered from the storage's trash."
        )
        for task in MaintenanceTask.objects.order_by("name"):
            if task.name == stored_files.TASK:
                recovered.add_metric([], task.progress.get("recovered", 0))
            held.add_metric([task.name], task.held_since is not None)
            if task.last_run:
                last_run.add_metric([task.name], task.last_run.timestamp())
        jobs = GaugeMetricFamily("rokka_jobs_unfinished", "Queued and running jobs.", labels=["kind", "state"])
        for kind, state, count in (
            Job.objects.unfinished().values_list("kind", "state").annotate(Count("pk")).order_by()
        ):
            jobs.add_metric([kind, state], count)
        yield from (held, last_run, recovered, jobs)
        yield from _connections()
        with suppress(Unavailable):  # /health/ready reports it
            yield GaugeMetricFamily(
                "rokka_storage_mismatch",
                "1 if database and storage do not belong together; writes are disabled.",
                value=ownership.current().problem is not None,
            )


def _connections() -> Iterator[Metric]:
    """Connections of all processes to this database, and the pool of this process. Nothing with SQLite."""
    if connection.vendor == "postgresql":
        states = GaugeMetricFamily(
            "rokka_database_connections", "Connections to this database, of all processes.", labels=["state"]
        )
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT coalesce(state, 'unknown'), count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() GROUP BY 1"
            )
            for state, count in cursor.fetchall():
                states.add_metric([state], count)
        yield states
    if pool := pool_state():
        yield GaugeMetricFamily("rokka_database_pool_size", "Connections this process can open.", value=pool.size)
        yield GaugeMetricFamily("rokka_database_pool_in_use", "Connections in use by its threads.", value=pool.in_use)
        yield GaugeMetricFamily("rokka_database_pool_waiting", "Threads waiting for a connection.", value=pool.waiting)


@read_only_json
def view(request: HttpRequest) -> HttpResponse:
    """Returns all metrics. They name no organization or image; still, the bundled proxy hides them from the outside."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(DatabaseCollector())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
