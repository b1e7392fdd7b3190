"""Endpoints of stacks."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.base import OrganizationScope
from organizations.permissions import Permission
from rendering import operations
from rendering.api.cache import CACHE_LIMIT
from rendering.api.serializers import (
    LinkedStackSerializer,
    StackContentSerializer,
    StackPageSerializer,
    StackSerializer,
    StatusSerializer,
)
from rendering.contents import StackContent, parse_content
from rendering.definitions import is_storable
from rendering.errors import InvalidStack
from rendering.models import MAX_NAME_LENGTH
from rokka.core import cursors, ratelimits
from rokka.core.errors import InvalidInput
from rokka.core.openapi import ORGANIZATION, errors, extend_schema
from rokka.core.parsers import parse_flag

MAX_LIMIT = 1000
ALL_STACKS = "*"
STACK = OpenApiParameter(
    "stack", OpenApiTypes.STR, OpenApiParameter.PATH, pattern=rf"^[a-z0-9_-]{{1,{MAX_NAME_LENGTH}}}$"
)
STACK_OR_ALL = OpenApiParameter(
    "stack", OpenApiTypes.STR, OpenApiParameter.PATH, description="Name of a stack, `dynamic`, or `*` for all."
)


class StackViewSet(OrganizationScope):
    """Stacks of an organization."""

    tag = "Stacks"
    serializer_class = StackSerializer
    required_permissions = {
        "list": Permission.STACKS_READ,
        "retrieve": Permission.STACKS_READ,
        "save": Permission.STACKS_WRITE,
        "destroy": Permission.STACKS_WRITE,
        "invalidate_cache": Permission.STACKS_WRITE,
    }

    @extend_schema(
        summary="List stacks",
        parameters=[
            ORGANIZATION,
            OpenApiParameter("limit", {"type": "integer", "minimum": 0, "maximum": MAX_LIMIT, "default": MAX_LIMIT}),
            OpenApiParameter("offset", OpenApiTypes.STR, description="The `cursor` of the previous page."),
        ],
        responses={200: StackPageSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def list(self, request: Request, organization: str) -> Response:
        """Returns complete stacks, ordered by name."""
        limit = parse_limit(request.query_params.get("limit", ""))
        after = parse_offset(request.query_params.get("offset", ""))
        stacks = self.organization.stacks.filter(name__gt=after).order_by("name")
        page = list(stacks.select_related("organization")[: limit + 1])
        data: dict[str, Any] = {"items": StackSerializer(page[:limit], many=True).data}
        if len(page) > limit > 0:
            data["cursor"] = cursors.encode([page[limit - 1].name])
        return Response(data)

    @extend_schema(
        summary="Get a stack",
        parameters=[ORGANIZATION, STACK],
        responses={200: LinkedStackSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def retrieve(self, request: Request, organization: str, stack: str) -> Response:
        """Returns a stack with all that it contains."""
        return Response(LinkedStackSerializer(operations.get_stack(self.organization, stack)).data)

    @extend_schema(
        summary="Save a stack",
        parameters=[
            ORGANIZATION,
            STACK,
            OpenApiParameter("overwrite", OpenApiTypes.BOOL, description="true: replace an existing stack."),
        ],
        request=StackContentSerializer,
        responses={
            200: StackSerializer,
            201: StackSerializer,
            **errors(400, 401, 403, 404, 409, 413, 429),
        },
    )
    def save(self, request: Request, organization: str, stack: str) -> Response:
        """Creates a stack (201) or, with `overwrite`, replaces an existing one (200).

        The body can also be the list of operations. An unprotected stack can't be replaced by a protected one.
        """
        overwrite = parse_flag("overwrite", request.query_params.get("overwrite", ""))
        content = read_content(request)
        saved, created = operations.save_stack(self.organization, stack, content, overwrite=overwrite, actor=self.actor)
        return Response(StackSerializer(saved).data, status=status.HTTP_201_CREATED if created else status.HTTP_200_OK)

    @extend_schema(
        summary="Delete a stack",
        parameters=[ORGANIZATION, STACK],
        responses={204: None, **errors(400, 401, 403, 404, 429)},
    )
    def destroy(self, request: Request, organization: str, stack: str) -> Response:
        """Deletes the stack. It can't be restored."""
        operations.delete_stack(self.organization, stack, actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        summary="Clear the cache of a stack",
        parameters=[ORGANIZATION, STACK_OR_ALL],
        responses={200: StatusSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def invalidate_cache(self, request: Request, organization: str, stack: str) -> Response:
        """Lets everything that the stack renders be rendered again.

        Limited to five requests per hour (RATE_LIMIT_CACHE_PURGES).
        """
        self.allowance = None  # a 429 has the headers of the limit that was exceeded
        self.allowance = ratelimits.hit((CACHE_LIMIT, f"{self.organization.pk.hex}:stacks"))
        operations.clear_cache(self.organization, None if stack == ALL_STACKS else stack, actor=self.actor)
        return Response({"status": "ok"})


def read_content(request: Request) -> StackContent:
    """The content in the body. An empty body is refused: with `overwrite` it would empty a stack."""
    if not request._request.body.strip():
        raise InvalidStack('The body is empty. Send at least {"operations": []}.')
    return parse_content(request.data)


def parse_limit(text: str) -> int:
    """The number of stacks of a page. Raises InvalidInput."""
    if not text:
        return MAX_LIMIT
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= MAX_LIMIT):
        raise InvalidInput(f"limit: must be an integer from 0 to {MAX_LIMIT}.")
    return int(text[:9])


def parse_offset(text: str) -> str:
    """The name after which a page starts: "" for the first one. Raises InvalidInput."""
    if text in ("", "0"):
        return ""
    try:
        (name,) = cursors.decode(text)
        if not isinstance(name, str) or not is_storable(name):
            raise ValueError("not a name")
    except (ValueError, RecursionError) as error:
        raise InvalidInput("offset: must be the cursor of the previous page.") from error
    return name
