"""The root: a page for browsers, a credentials check for API clients."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from drf_spectacular.utils import inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.base import AuthenticatedViewSet
from organizations.permissions import Requirement
from rokka.core.openapi import errors, extend_schema

RESOURCES = [
    "/operations",
    "/organizations",
    "/sourceimages",
    "/stackoptions",
    "/stacks",
    "/stats",
    "/user",
    "/users",
]
CREDENTIALS = ("Api-Key", "Authorization")


class RootViewSet(AuthenticatedViewSet):
    """Checks API credentials; browsers, which send none, get the welcome page."""

    tag = "Server"
    required_permissions = {"root": Requirement.CREDENTIALS}
    serializer_class = serializers.Serializer

    def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        asks_for_html = "text/html" in request.headers.get("Accept", "").lower()
        if request.method in ("GET", "HEAD") and asks_for_html and not set(CREDENTIALS) & request.headers.keys():
            return welcome_page(request)
        return super().dispatch(request, *args, **kwargs)

    @extend_schema(
        summary="Check credentials",
        responses={
            200: inline_serializer(
                "Root",
                {
                    "resources": serializers.ListField(child=serializers.CharField()),
                    "environment": serializers.CharField(),
                },
            ),
            **errors(401, 403, 429),
        },
    )
    def root(self, request: Request) -> Response:
        """Answers 200 if the API key or token is valid."""
        return Response({"resources": RESOURCES, "environment": settings.ROKKA_MODE})


def welcome_page(request: HttpRequest) -> HttpResponse:
    return render(request, "welcome.html", {"host": request.build_absolute_uri("/").rstrip("/")})
