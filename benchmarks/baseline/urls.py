"""Views to compare rokka with."""

import hashlib
import os
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


def upload_durably(request: HttpRequest) -> HttpResponse:
    """With the promises of an upload to rokka: hashed while it is received, and on the disk when it is answered."""
    file = cast(UploadedFile, request.FILES["filedata"])
    hashes = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
    key = uuid4().hex
    folder = Path(settings.MEDIA_ROOT, key[:2])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / key).open("wb") as target:
        for chunk in file.chunks(256 * 1024):
            for hash in hashes:
                hash.update(chunk)
            target.write(chunk)
        target.flush()
        os.fsync(target.fileno())
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    sha1, sha256 = (hash.hexdigest() for hash in hashes)
    image = Image.objects.create(name=file.name, key=f"{key[:2]}/{key}", size=file.size, sha1=sha1, sha256=sha256)
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
    path("upload-durably", upload_durably),
    path("images/<int:pk>", ImageView.as_view()),
    path("images/<int:pk>/download", download),
]
