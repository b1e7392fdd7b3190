"""The views that rokka is compared with."""

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

from benchmarks.baseline.models import Picture


def trivial(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"trivial": True})


def upload(request: HttpRequest) -> HttpResponse:
    """Save the file as Django does, which is without fsync, and insert one row."""
    file = cast(UploadedFile, request.FILES["filedata"])
    key = default_storage.save(uuid4().hex, file)
    picture = Picture.objects.create(name=file.name, key=key, size=file.size)
    return JsonResponse({"id": picture.pk})


def download(request: HttpRequest, pk: int) -> FileResponse:
    picture = Picture.objects.get(pk=pk)
    return FileResponse(Path(settings.MEDIA_ROOT, picture.key).open("rb"), content_type="image/jpeg")


class PictureSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    key = serializers.CharField()
    size = serializers.IntegerField()
    created = serializers.DateTimeField()


class PictureView(APIView):
    def get(self, request: Request, pk: int) -> Response:
        return Response(PictureSerializer(Picture.objects.get(pk=pk)).data)


urlpatterns = [
    path("trivial", trivial),
    path("upload", upload),
    path("pictures/<int:pk>", PictureView.as_view()),
    path("pictures/<int:pk>/download", download),
]
