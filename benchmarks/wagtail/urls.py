from django.http import FileResponse, HttpRequest
from django.urls import include, path
from wagtail.admin import urls as admin_urls
from wagtail.api.v2.router import WagtailAPIRouter
from wagtail.images.api.v2.views import ImagesAPIViewSet
from wagtail.images.models import Image

router = WagtailAPIRouter("api")
router.register_endpoint("images", ImagesAPIViewSet)


def download(request: HttpRequest, pk: int) -> FileResponse:
    return FileResponse(Image.objects.get(pk=pk).file.open("rb"))


urlpatterns = [
    path("admin/", include(admin_urls)),
    path("api/", router.urls),
    path("download/<int:pk>", download),
]
