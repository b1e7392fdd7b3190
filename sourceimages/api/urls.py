from django.urls import include, path

from sourceimages.api.aliases import AliasViewSet
from sourceimages.api.jobs import JobViewSet
from sourceimages.api.source_images import SourceImageViewSet

view, alias, job = SourceImageViewSet.as_view, AliasViewSet.as_view, JobViewSet.as_view
IMAGE = "<str:organization>/<str:hash>"

# Fixed words take precedence over hashes, which are hexadecimal and can't collide with them.
image_urlpatterns = [
    path("<str:organization>", view({"post": "create", "get": "list", "delete": "destroy_by_binary_hash"})),
    path("<str:organization>/copy", view({"post": "copy_many"})),
    path("<str:organization>/download", view({"get": "archive"})),
    path("<str:organization>/fields", view({"get": "fields"})),
    path("<str:organization>/binaryhash/<str:binary_hash>", view({"get": "binary_hash"})),
    path("<str:organization>/alias/<str:alias>", alias({"get": "retrieve", "put": "update", "delete": "destroy"})),
    path(IMAGE, view({"get": "retrieve", "delete": "destroy", "copy": "copy_one"})),
    path(f"{IMAGE}/copy", view({"post": "copy_one"})),
    path(f"{IMAGE}/restore", view({"post": "restore"})),
    path(f"{IMAGE}/download", view({"get": "download"})),
    path(f"{IMAGE}/history", view({"get": "history"})),
    path(f"{IMAGE}/history/<str:version>/restore", view({"post": "restore_version"})),
    path(f"{IMAGE}/name", view({"put": "rename"})),
    path(f"{IMAGE}/options/protected", view({"put": "protect"})),
    path(f"{IMAGE}/options/locked", view({"put": "lock"})),
    path(
        f"{IMAGE}/meta/user",
        view(
            {
                "get": "user_metadata",
                "put": "replace_metadata",
                "patch": "change_metadata",
                "delete": "clear_metadata",
            }
        ),
    ),
    path(f"{IMAGE}/meta/user/<str:field>", view({"get": "field", "put": "set_field", "delete": "remove_field"})),
    path(f"{IMAGE}/meta/dynamic/<str:name>", view({"put": "set_entry", "delete": "remove_entry"})),
    path(f"{IMAGE}/autolabel", view({"post": "autolabel"})),
    path(f"{IMAGE}/autodescription", view({"post": "autodescription"})),
]

job_urlpatterns = [
    path("<str:organization>", job({"get": "list", "post": "create"})),
    path("<str:organization>/<str:job_id>", job({"get": "retrieve", "delete": "destroy"})),
    path("<str:organization>/<str:job_id>/undo", job({"post": "undo"})),
    path("<str:organization>/<str:job_id>/retry", job({"post": "retry"})),
]

urlpatterns = [
    path("sourceimages/", include(image_urlpatterns)),
    path("jobs/", include(job_urlpatterns)),
]
