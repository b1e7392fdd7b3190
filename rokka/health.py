"""Two questions of load balancers and orchestrators: does the process live, and can it serve?"""

import secrets
from collections.abc import Callable
from functools import wraps

import structlog
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from rokka.api import error_response
from sourceimages import storage

log = structlog.get_logger()


def for_machines(view: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Only to be read, and wrong methods are answered in the shape of every error."""

    @csrf_exempt
    @wraps(view)
    def answer(request: HttpRequest) -> HttpResponse:
        if request.method in ("GET", "HEAD"):
            return view(request)
        refusal = error_response(405, f"Method {request.method} is not allowed here.", "method_not_allowed")
        refusal["Allow"] = "GET, HEAD"
        return refusal

    return answer


@for_machines
def live(request: HttpRequest) -> JsonResponse:
    """200 as long as requests are answered at all."""
    return JsonResponse({"status": "ok"})


@for_machines
def ready(request: HttpRequest) -> JsonResponse:
    """200 if database, storage and cache answer; else 503, with the ones that do not."""
    checks = {"database": check_database, "storage": check_storage, "cache": check_cache}
    failed = []
    for name, check in checks.items():
        try:
            check()
        except Exception:
            log.warning("not_ready", check=name, exc_info=True)
            failed.append(name)
    state = {name: "failed" if name in failed else "ok" for name in checks}
    return JsonResponse({"status": "failed" if failed else "ok", "checks": state}, status=503 if failed else 200)


def check_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM organizations_organization LIMIT 1")


def check_storage() -> None:
    storage.originals().check()


def check_cache() -> None:
    if settings.REDIS_URL:
        cache.set("health", secrets.token_hex(4), timeout=10)
