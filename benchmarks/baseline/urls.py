"""Views to compare rokka with."""

from pathlib import Path
from typing import cast
from uuid import uuid4

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from benchmarks.baseline.models import Image


def trivial(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"trivial": True})


def upload(request: HttpRequest) -> HttpResponse:
    """Save the file with Django's storage, which doesn't call fsync, and insert one row."""
    file = cast(UploadedFile, request.FILES["filedata"])
    key = default_storage.save(uuid4().hex, file)
    image = Image.objects.create(name=file.name, key=key, size=file.size)
    return JsonResponse({"id": image.pk})


def download(request: HttpRequest, pk: int) -> FileResponse:
    image = Image.objects.get(pk=pk)
    return FileResponse(Path(settings.MEDIA_ROOT, image.key).open("rb"), content_type="image/jpeg")


class ImageSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    key = serializers.CharField()
    size = serializers.IntegerField()
    created = serializers.DateTimeField()


class ImageView(APIView):
    def get(self, request: Request, pk: int) -> Response:
        return Response(ImageSerializer(Image.objects.get(pk=pk)).data)


urlpatterns = [
    path("trivial", trivial),
    path("upload", upload),
    path("images/<int:pk>", ImageView.as_view()),
    path("images/<int:pk>/download", download),
]
