from django.urls import path

from sourceimages.api.jobs import JobViewSet

urlpatterns = [
    path("<str:organization>", JobViewSet.as_view({"get": "list", "post": "create"})),
    path("<str:organization>/<str:job_id>", JobViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
    path("<str:organization>/<str:job_id>/undo", JobViewSet.as_view({"post": "undo"})),
    path("<str:organization>/<str:job_id>/retry", JobViewSet.as_view({"post": "retry"})),
]
