from django.contrib import admin
from django.urls import include, path

from rokka import health, metrics
from rokka.views import CatalogueViewSet, OpenAPIPage, OpenAPIView, RootViewSet

urlpatterns = [
    path("", RootViewSet.as_view({"get": "root"})),
    path("operations", CatalogueViewSet.as_view({"get": "operations"})),
    path("stackoptions", CatalogueViewSet.as_view({"get": "stack_options"})),
    path("", include("sourceimages.api.urls")),
    path("", include("organizations.api.urls")),
    path("admin/", admin.site.urls),
    path("doc", OpenAPIPage.as_view(url_name="openapi"), name="doc"),
    path("doc/openapi.json", OpenAPIView.as_view(), name="openapi"),
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("metrics", metrics.view),
]

handler400 = "rokka.core.http.bad_request"
handler403 = "rokka.core.http.forbidden"
handler404 = "rokka.core.http.not_found"
handler500 = "rokka.core.http.server_error"
