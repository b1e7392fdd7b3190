from django.urls import path

from sourceimages.api.views import SourceImageViewSet

view = SourceImageViewSet.as_view

urlpatterns = [
    path("<str:organization>", view({"post": "create", "get": "list"})),
    path("<str:organization>/binaryhash/<str:binary_hash>", view({"get": "binary_hash"})),
    path("<str:organization>/<str:hash>", view({"get": "retrieve"})),
    path("<str:organization>/<str:hash>/download", view({"get": "download"})),
]
