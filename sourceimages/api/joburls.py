from django.urls import path

from sourceimages.api.jobs import JobViewSet

urlpatterns = [
    path("<str:organization>", JobViewSet.as_view({"get": "list", "post": "create"})),
    path("<str:organization>/<str:job_id>", JobViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
]
