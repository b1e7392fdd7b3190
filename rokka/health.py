"""Liveness and readiness checks for load balancers and orchestrators."""

import os
from collections.abc import Callable, Iterable
from functools import cache as cached
from functools import wraps
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.core.cache import caches
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from rokka.core import temp_files
from rokka.core.errors import DomainError, Unavailable
from rokka.core.http import error_response
from sourceimages import ownership, storage

METHODS = "GET, HEAD, OPTIONS"
CONNECT_SECONDS = 3  # for a new connection to the database

log = structlog.get_logger()


def read_only_json(view: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Allow GET, HEAD and OPTIONS; other methods answer 405 in JSON."""

    @csrf_exempt
    @wraps(view)
    def wrapper(request: HttpRequest) -> HttpResponse:
        if request.method in ("GET", "HEAD"):
            return view(request)
        if request.method == "OPTIONS":
            return HttpResponse(status=204, headers={"Allow": METHODS})
        response = error_response(405, f"Method {request.method} is not allowed. Use GET.", "method_not_allowed")
        response["Allow"] = METHODS
        return response

    return wrapper


@read_only_json
def live(request: HttpRequest) -> JsonResponse:
    """Answers 200 while the process is running."""
    return JsonResponse({"status": "ok"})


@read_only_json
def ready(request: HttpRequest) -> JsonResponse:
    """Answers 200 if all checks pass, else 503 with the failed checks and, in `problems`, the reasons."""
    checks = {
        "database": check_database,
        "migrations": check_migrations,
        "owner": check_owner,  # before the storage, whose folder it creates on the first run
        "storage": check_storage,
        "cache": check_cache,
    }
    problems = {}
    for name, check in checks.items():
        try:
            check()
        except Exception as error:
            log.warning("health.check_failed", check=name, exc_info=True)
            problems[name] = public_message(error)
    state = {name: "failed" if name in problems else "ok" for name in checks}
    data = {"status": "failed" if problems else "ok", "checks": state}
    return JsonResponse(data | ({"problems": problems} if problems else {}), status=503 if problems else 200)


def public_message(error: Exception) -> str:
    """The message of a DomainError; of other errors only the type, because messages can contain hosts or passwords."""
    return error.message if isinstance(error, DomainError) else type(error).__name__


def check_database() -> None:
    """Raise Unavailable if the database refuses connections or is read-only, such as a standby; or its disk is full."""
    _check_new_connection()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM organizations_organization LIMIT 1")
        cursor.execute("PRAGMA query_only" if connection.vendor == "sqlite" else "SHOW transaction_read_only")
        (read_only,) = cursor.fetchone()
    if read_only in (1, "on") or not _is_writable_file():
        raise Unavailable("The database is read-only.")
    if connection.vendor == "sqlite":
        _check_disk(Path(connection.settings_dict["NAME"]).absolute().parent)


def _check_new_connection() -> None:
    """Raise an error unless the database accepts another connection: the one of this thread may be an old one."""
    another = connection.copy()
    if connection.vendor == "postgresql":
        options = another.settings_dict["OPTIONS"]
        another.settings_dict["OPTIONS"] = options | {"connect_timeout": CONNECT_SECONDS, "pool": None}
    try:
        another.ensure_connection()
    finally:
        another.close()


def _check_disk(folder: Path) -> None:
    try:
        temp_files.check_writable(folder)
    except OSError as error:
        raise Unavailable(f"The disk of the database can't be written to: {error.strerror}.") from error


def _is_writable_file() -> bool:
    name = str(connection.settings_dict["NAME"])
    return connection.vendor != "sqlite" or not os.path.isfile(name) or os.access(name, os.W_OK)


def check_migrations() -> None:
    """Raise Unavailable unless all migrations of this version are applied.

    The database can have those of the next version too: an upgrade migrates first, and then replaces the processes.
    """
    if missing := known_migrations() - set(MigrationRecorder(connection).applied_migrations()):
        raise Unavailable(f"Migrations are not applied: {_list(missing)}. Run `manage.py migrate`.")


def newer_migrations() -> str:
    """The applied migrations that this version does not know, as text; empty if all are known."""
    applied, known = set(MigrationRecorder(connection).applied_migrations()), known_migrations()
    apps = {app for app, _ in known}
    return _list(one for one in applied - known if one[0] in apps)


@cached
def known_migrations() -> frozenset[tuple[str, str]]:
    return frozenset(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)


def _list(migrations: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{app}.{name}" for app, name in sorted(migrations))


def check_owner() -> None:
    """Raise StorageMismatch unless database and storage belong together."""
    if problem := ownership.current(fresh=True).problem:
        raise problem.error


def check_storage() -> None:
    storage.originals().check()


def check_cache() -> None:
    if settings.REDIS_URL:
        cache: Any = caches["default"]  # FailSafeRedisCache
        cache.check()
