"""The root (a page for browsers, a credentials check for API clients), the stack catalogue and the API docs."""

from threading import Lock
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, inline_serializer
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.base import AuthenticatedViewSet
from organizations.permissions import Requirement
from rendering.catalogue import OPERATIONS, STACK_OPTIONS
from rokka.core.methods import PlainOptions
from rokka.core.openapi import errors

RESOURCES = ["/operations", "/organizations", "/sourceimages", "/stackoptions", "/stats", "/user", "/users"]
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


class CatalogueViewSet(AuthenticatedViewSet):
    """The catalogue of stack operations and options. This server doesn't render images."""

    tag = "Stacks"
    required_permissions = {"operations": Requirement.ANONYMOUS, "stack_options": Requirement.ANONYMOUS}
    serializer_class = serializers.Serializer

    @extend_schema(
        summary="List stack operations",
        auth=[],
        responses={200: OpenApiTypes.OBJECT, **errors(429)},
    )
    def operations(self, request: Request) -> Response:
        """Returns the operations by name, with description, properties and required properties."""
        return Response(OPERATIONS)

    @extend_schema(
        summary="List stack options",
        auth=[],
        responses={200: OpenApiTypes.OBJECT, **errors(429)},
    )
    def stack_options(self, request: Request) -> Response:
        """Returns all options that a stack can have."""
        return Response(STACK_OPTIONS)


class OpenAPIView(PlainOptions, SpectacularJSONAPIView):
    """The OpenAPI document. A lock guards its generation, which is not thread-safe."""

    lock = Lock()

    @extend_schema(exclude=True)
    def get(self, *args: Any, **kwargs: Any) -> Any:
        with self.lock:
            return super().get(*args, **kwargs)  # type: ignore[no-untyped-call]


class OpenAPIPage(PlainOptions, SpectacularSwaggerSplitView):
    """Swagger UI."""


def welcome_page(request: HttpRequest) -> HttpResponse:
    return render(request, "welcome.html", {"host": request.build_absolute_uri("/").rstrip("/")})
