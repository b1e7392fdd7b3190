"""Two questions of load balancers and orchestrators: does the process live, and can it serve?"""

import os
import secrets
from collections.abc import Callable, Iterable
from functools import cache as cached
from functools import wraps

import structlog
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from rokka.core.errors import DomainError, Unavailable
from rokka.core.http import error_response
from sourceimages import ownership, storage

METHODS = "GET, HEAD, OPTIONS"

log = structlog.get_logger()


def read_only_json(view: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Only to be read, and wrong methods are answered in the shape of every error."""

    @csrf_exempt
    @wraps(view)
    def answer(request: HttpRequest) -> HttpResponse:
        if request.method in ("GET", "HEAD"):
            return view(request)
        if request.method == "OPTIONS":
            return HttpResponse(status=204, headers={"Allow": METHODS})
        refusal = error_response(405, f"Method {request.method} is not allowed here.", "method_not_allowed")
        refusal["Allow"] = METHODS
        return refusal

    return answer


@read_only_json
def live(request: HttpRequest) -> JsonResponse:
    """200 as long as requests are answered at all."""
    return JsonResponse({"status": "ok"})


@read_only_json
def ready(request: HttpRequest) -> JsonResponse:
    """200 if all is well; else 503, with the checks that failed, and in `problems` why, as far as it may be told."""
    checks = {
        "database": check_database,
        "migrations": check_migrations,
        "owner": check_owner,  # before the storage, whose folder it makes the first time
        "storage": check_storage,
        "cache": check_cache,
    }
    problems = {}
    for name, check in checks.items():
        try:
            check()
        except Exception as error:
            log.warning("health.check_failed", check=name, exc_info=True)
            problems[name] = response(error)
    state = {name: "failed" if name in problems else "ok" for name in checks}
    answer = {"status": "failed" if problems else "ok", "checks": state}
    return JsonResponse(answer | ({"problems": problems} if problems else {}), status=503 if problems else 200)


def response(error: Exception) -> str:
    """Our own sentence, or only the kind of what others say: that may quote an address or a password."""
    return error.message if isinstance(error, DomainError) else type(error).__name__


def check_database() -> None:
    """Raises Unavailable where it can only be read: a standby, a file that belongs to somebody else, a maintenance."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM organizations_organization LIMIT 1")
        cursor.execute("PRAGMA query_only" if connection.vendor == "sqlite" else "SHOW transaction_read_only")
        (read_only,) = cursor.fetchone()
    if read_only in (1, "on") or not _is_writable_file():
        raise Unavailable("The database is read-only.")


def _is_writable_file() -> bool:
    name = str(connection.settings_dict["NAME"])
    return connection.vendor != "sqlite" or not os.path.isfile(name) or os.access(name, os.W_OK)


def check_migrations() -> None:
    """Raises Unavailable unless the tables are exactly those that this code knows."""
    applied, known = set(MigrationRecorder(connection).applied_migrations()), known_migrations()
    apps = {app for app, _ in known}
    newer = {one for one in applied - known if one[0] in apps}
    if newer:
        raise Unavailable(f"The database is newer than this code, which does not know {_listed(newer)}. Upgrade it.")
    if known - applied:
        raise Unavailable(f"The database lacks {_listed(known - applied)}. Run `manage.py migrate`.")


@cached
def known_migrations() -> frozenset[tuple[str, str]]:
    return frozenset(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)


def _listed(migrations: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{app}.{name}" for app, name in sorted(migrations))


def check_owner() -> None:
    """Raises StorageMismatch unless database and storage belong together."""
    if problem := ownership.current(fresh=True).problem:
        raise problem.error


def check_storage() -> None:
    storage.originals().check()


def check_cache() -> None:
    if settings.REDIS_URL:
        cache.set("health", secrets.token_hex(4), timeout=10)
