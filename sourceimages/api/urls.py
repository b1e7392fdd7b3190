from django.urls import path

from sourceimages.api.views import SourceImageViewSet

view = SourceImageViewSet.as_view

urlpatterns = [
    path("<organization>", view({"post": "create", "get": "list"})),
    path("<organization>/binaryhash/<binary_hash>", view({"get": "binary_hash"})),
    path("<organization>/<hash>", view({"get": "retrieve"})),
    path("<organization>/<hash>/download", view({"get": "download"})),
]
