"""The root: a page for browsers, the list of resources for API keys."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from drf_spectacular.utils import OpenApiResponse, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

RESOURCES = ["/sourceimages"]


class StartView(APIView):
    """One address for two: API keys learn that they are valid, browsers, which have none, get a page."""

    def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        asks_for_html = "text/html" in request.headers.get("Accept", "")
        if request.method in ("GET", "HEAD") and asks_for_html and "Api-Key" not in request.headers:
            return start_page(request)
        return super().dispatch(request, *args, **kwargs)

    @extend_schema(
        summary="Check the credentials",
        operation_id="root",
        responses={
            200: inline_serializer(
                "Root",
                {
                    "resources": serializers.ListField(child=serializers.CharField()),
                    "environment": serializers.CharField(),
                },
            ),
            403: OpenApiResponse(description="The key is missing or not valid."),
        },
    )
    def get(self, request: Request) -> Response:
        """What clients call to find out whether a key is valid."""
        return Response({"resources": RESOURCES, "environment": settings.ROKKA_MODE})


def start_page(request: HttpRequest) -> HttpResponse:
    return render(request, "start.html", {"host": request.build_absolute_uri("/").rstrip("/")})
