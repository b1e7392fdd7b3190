from django.contrib import admin
from django.urls import include, path

from rokka import health, metrics
from rokka.pages import CatalogueViewSet, DocumentPage, DocumentView, StartViewSet

urlpatterns = [
    path("", StartViewSet.as_view({"get": "root"})),
    path("operations", CatalogueViewSet.as_view({"get": "operations"})),
    path("stackoptions", CatalogueViewSet.as_view({"get": "stack_options"})),
    path("sourceimages/", include("sourceimages.api.urls")),
    path("jobs/", include("sourceimages.api.joburls")),
    path("", include("organizations.api.urls")),
    path("admin/", admin.site.urls),
    path("doc", DocumentPage.as_view(url_name="openapi"), name="doc"),
    path("doc/openapi.json", DocumentView.as_view(), name="openapi"),
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("metrics", metrics.view),
]

handler400 = "rokka.api.bad_request"
handler403 = "rokka.api.forbidden"
handler404 = "rokka.api.not_found"
handler500 = "rokka.api.server_error"
