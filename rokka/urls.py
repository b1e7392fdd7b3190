"""URLs of the API, the admin, its documentation and the health checks.

Pages that few processes show are imported by the first request to them.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase
from django.urls import URLResolver, include, path
from django.urls.resolvers import RoutePattern
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt

from rokka import health
from rokka.views import RootViewSet


def lazy(name: str) -> Callable[[HttpRequest], HttpResponseBase]:
    """The view of this name, which changes nothing, so that it needs no CSRF token."""

    @csrf_exempt
    def view(request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = import_string(name)(request)
        return response

    return view


urlpatterns = [
    path("", RootViewSet.as_view({"get": "root"})),
    path("", include("rendering.api.urls")),
    path("", include("sourceimages.api.urls")),
    path("", include("organizations.api.urls")),
    # Like path("admin/", include("rokka.backoffice.urls")), which would import it at once.
    URLResolver(RoutePattern("admin/"), "rokka.backoffice.urls", app_name="admin", namespace="admin"),
    path("doc", lazy("rokka.doc.page"), name="doc"),
    path("doc/openapi.json", lazy("rokka.doc.document"), name="openapi"),
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("metrics", lazy("rokka.metrics.view")),
]

handler400 = "rokka.core.http.bad_request"
handler403 = "rokka.core.http.forbidden"
handler404 = "rokka.core.http.not_found"
handler500 = "rokka.core.http.server_error"
