"""Database, Redis, workers and scheduled tasks."""

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, cast

import redis
from django.conf import settings
from django.db import connection

from rokka import health
from rokka.core.clock import database_now
from rokka.core.errors import Unavailable
from rokka.doctor.findings import Finding, error, ok, warning
from sourceimages import task_state
from sourceimages.maintenance import doubts, purge, storage_trash, versions
from sourceimages.management.terminal import count_label, size_label
from sourceimages.models import Instance, MaintenanceTask

CONNECT_TIMEOUT = 4  # seconds, less than the limit of a check, so that the error has its own message
PING_TIMEOUT = 2  # seconds
WEB_PROCESSES, WORKER_PROCESSES = 2, 2  # defaults of WEB_CONCURRENCY and WORKER_CONCURRENCY
OTHER_CONNECTIONS = 3  # beat, a command, monitoring
MAX_CONNECTIONS_USED, MAX_MEMORY_USED = 0.9, 0.9  # of what PostgreSQL and Redis allow
MAX_CLOCK_DIFFERENCE = 2.0  # seconds
QUEUES = {settings.CELERY_TASK_DEFAULT_QUEUE} | {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}
# Scheduled tasks that record each run in a row.
RECORDED = {
    storage_trash.TASK: "empty_storage_trash",
    purge.TASK: "purge",
    versions.NAME: "remove_old_versions",
}
MISSED_RUNS = 3  # after which a task is late

DatabaseLimits = tuple[str, int, int]  # version, connections for users, connections in use


def check_database() -> Iterator[Finding]:
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite" and not os.path.exists(name):  # connecting would create it
        raise Unavailable(f"The file {name} is missing. Run `manage.py migrate`.")
    connection.ensure_connection()
    connection.check_database_version_supported()
    if connection.vendor == "sqlite":
        yield ok(f"SQLite {sqlite3.sqlite_version}")
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('server_version'),"
            " current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
            " - coalesce(current_setting('reserved_connections', true), '0')::int,"
            " (SELECT sum(numbackends)::int FROM pg_stat_database)"
        )
        yield from connection_findings(cursor.fetchone())


def connection_findings(limits: DatabaseLimits) -> Iterator[Finding]:
    """Compare the connections that PostgreSQL allows with those that all processes together open."""
    version, allowed, used = limits
    processes = int(os.environ.get("WEB_CONCURRENCY") or WEB_PROCESSES)
    workers = int(os.environ.get("WORKER_CONCURRENCY") or WORKER_PROCESSES)
    pool = min(settings.DATABASE_POOL_SIZE, settings.WEB_THREADS)
    needed = processes * pool + workers + OTHER_CONNECTIONS
    if needed > allowed:
        yield warning(
            f"PostgreSQL allows {allowed} connections; {processes} web processes with {pool} connections each "
            f"and {workers} workers need up to {needed}. Raise max_connections, or lower DATABASE_POOL_SIZE or "
            "WEB_CONCURRENCY."
        )
    if used > MAX_CONNECTIONS_USED * allowed:
        yield warning(f"{used} of {allowed} connections to PostgreSQL are open. When all are, requests fail.")
    yield ok(f"PostgreSQL {version}; {used} of {allowed} connections are open, up to {needed} are needed")


def check_tables() -> Iterator[Finding]:
    health.check_migrations()
    health.check_database()
    if newer := health.newer_migrations():
        yield warning(f"The database has migrations of a newer version: {newer}. Complete the upgrade of rokka.")
    yield ok("all migrations are applied; the database can be written")


def check_clock() -> Iterator[Finding]:
    before = time.time()
    now = database_now().timestamp()
    yield clock_finding(now - (before + time.time()) / 2)


def clock_finding(seconds: float) -> Finding:
    """Judge the difference between the clocks of the database and of this machine."""
    if abs(seconds) <= MAX_CLOCK_DIFFERENCE:
        return ok(f"differs from the database's by {abs(seconds):.1f} seconds")
    message = (
        f"The clock of the database is {abs(seconds):.0f} seconds {'ahead of' if seconds > 0 else 'behind'} this one."
    )
    if abs(seconds) > doubts.TOLERANCE.total_seconds():
        return error(f"{message} No files are moved or removed until they agree.")
    return warning(f"{message} Tokens and signed URLs expire too early or too late.")


def check_redis() -> Iterator[Finding]:
    if not settings.REDIS_URL:
        yield ok("not configured: each process has its own cache and rate limits")
        return
    timeouts = {"socket_timeout": CONNECT_TIMEOUT, "socket_connect_timeout": CONNECT_TIMEOUT}
    with redis.Redis.from_url(settings.REDIS_URL, **timeouts) as client:
        info = client.info()
    health.check_cache()
    yield from redis_findings(info)


def redis_findings(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge what Redis reports with INFO."""
    used, limit, policy = int(info["used_memory"]), int(info.get("maxmemory", 0)), info.get("maxmemory_policy")
    if policy != "noeviction":
        message = f"maxmemory-policy is {policy}: Redis may remove queued tasks and rate limits. Set it to noeviction."
        yield error(message) if limit else warning(message)
    if limit and used > MAX_MEMORY_USED * limit:
        yield error(f"Redis uses {size_label(used)} of {size_label(limit)} (maxmemory). When it is full, writes fail.")
    of = f" of {size_label(limit)}" if limit else ""
    yield ok(f"Redis {info['redis_version']}; uses {size_label(used)}{of}")


def check_workers() -> Iterator[Finding]:
    if settings.JOB_RUNNER == "inline":
        yield ok("not configured: tasks run in the process that starts them")
        return
    from rokka.celery import app

    answers = app.control.inspect(timeout=PING_TIMEOUT).active_queues() or {}
    if not answers:
        yield error(f"No worker has answered within {PING_TIMEOUT} seconds. Start `celery -A rokka worker`.")
        return
    served = {queue["name"] for queues in answers.values() for queue in queues}
    if missing := QUEUES - served:
        yield error(f"No worker serves the queues {', '.join(sorted(missing))}. Add them to its -Q option.")
    yield ok(f"{count_label(len(answers), 'worker')}: {', '.join(sorted(answers))}")


def check_scheduled_tasks() -> Iterator[Finding]:
    """Whether beat and workers run tasks: the owner mark is raised every few minutes, other tasks have rows."""
    for held in task_state.held():
        yield warning(f"{held.name} waits for an operator: {held.held_reason}")
    instance = Instance.objects.first()
    if instance is None:
        yield warning("No task has run yet. The first request and the first task write the owner mark.")
        return
    rows = dict(MaintenanceTask.objects.filter(name__in=RECORDED).values_list("name", "last_run"))
    runs = {"raise_owner_mark": instance.raised_at} | {task: rows.get(row) for row, task in RECORDED.items()}
    now, latest = database_now(), instance.created
    for task, last_run in runs.items():
        interval = timedelta(seconds=cast(int, settings.CELERY_BEAT_SCHEDULE[task]["schedule"]))
        age = now - (last_run or instance.created)
        if age > MISSED_RUNS * interval:
            last = f"last ran {_ago(age)} ago" if last_run else "has never run"
            yield error(f"{task} {last}; it should run every {_ago(interval)}. Check beat and the workers.")
        latest = max(latest, last_run or latest)
    yield ok(f"the last recorded run was {_ago(now - latest)} ago")


def _ago(age: timedelta) -> str:
    """A duration in its largest unit."""
    seconds = max(0, int(age.total_seconds()))
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return count_label(seconds // length, unit)
    return count_label(seconds, "second")
