from django.urls import path

from rendering.api.cache import ImageCacheViewSet
from rendering.api.catalogue import CatalogueViewSet
from rendering.api.stacks import StackViewSet

stacks, cache = StackViewSet.as_view, ImageCacheViewSet.as_view

urlpatterns = [
    path("operations", CatalogueViewSet.as_view({"get": "operations"})),
    path("stackoptions", CatalogueViewSet.as_view({"get": "stack_options"})),
    path("stacks/<str:organization>", stacks({"get": "list"})),
    path(
        "stacks/<str:organization>/<str:stack>",
        stacks({"get": "retrieve", "put": "save", "delete": "destroy"}),
    ),
    path("stacks/<str:organization>/<str:stack>/cache", stacks({"delete": "invalidate_cache"})),
    path("sourceimages/<str:organization>/alias/<str:alias>/cache", cache({"delete": "clear_alias"})),
    path("sourceimages/<str:organization>/<str:hash>/cache", cache({"delete": "clear_image"})),
]
