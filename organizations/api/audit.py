"""The audit log of an organization."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Q
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.base import OrganizationScope
from organizations.api.serializers import AuditEventSerializer, AuditPageSerializer
from organizations.permissions import Permission
from rokka.core import cursors
from rokka.core.clock import from_iso
from rokka.core.errors import InvalidInput
from rokka.core.openapi import ORGANIZATION, errors, extend_schema
from rokka.core.parsers import parse_uuid

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
ACTION = re.compile(r"[a-z_]{1,39}\.([a-z_]{1,39}|\*)\Z")
HASH = re.compile(r"[0-9a-f]{40}\Z")


class AuditViewSet(OrganizationScope):
    """Endpoint of an organization's audit log."""

    tag = "Audit log"
    serializer_class = AuditEventSerializer
    required_permissions = {"list": Permission.AUDIT_READ}

    @extend_schema(
        summary="List events of the audit log",
        parameters=[
            ORGANIZATION,
            OpenApiParameter(
                "action",
                OpenApiTypes.STR,
                description="For example `image.created`, or `image.*` for all of these.",
            ),
            OpenApiParameter("actor", OpenApiTypes.UUID, description="User ID."),
            OpenApiParameter("image", OpenApiTypes.STR, description="Full hash of an image (40 hex digits)."),
            OpenApiParameter(
                "from", OpenApiTypes.DATETIME, description="Start, inclusive. A date means 00:00 UTC of that day."
            ),
            OpenApiParameter(
                "to", OpenApiTypes.DATETIME, description="End, exclusive. A date includes that whole day (UTC)."
            ),
            OpenApiParameter(
                "limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
            ),
            OpenApiParameter("cursor", OpenApiTypes.STR, description="The `cursor` of the previous page."),
        ],
        responses={200: AuditPageSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def list(self, request: Request, organization: str) -> Response:
        """Returns events, newest first. Events can't be changed or deleted."""
        query = {name: value for name, value in request.query_params.dict().items() if value}
        limit = parse_limit(query.get("limit", ""))
        events = self.organization.audit_events.filter(*parse_filters(query)).order_by("-created", "-id")
        page = list(events[: limit + 1])
        data: dict[str, Any] = {"items": AuditEventSerializer(page[:limit], many=True).data}
        if len(page) > limit:
            last = page[limit - 1]
            data["cursor"] = cursors.encode([cursors.format_datetime(last.created), last.pk])
        return Response(data)


def parse_filters(query: dict[str, str]) -> list[Q]:
    """Turn query parameters into filters on events. Raises InvalidInput naming the parameter."""
    if unknown := query.keys() - FILTERS.keys() - {"limit"}:
        raise InvalidInput(f"{sorted(unknown)[0][:80]}: unknown filter. Use {', '.join(FILTERS)}.")
    return [FILTERS[name](value) for name, value in query.items() if name in FILTERS]


def filter_action(text: str) -> Q:
    if not ACTION.match(text):
        raise InvalidInput("action: must have the form noun.verb, such as image.created or image.*.")
    return Q(action__startswith=text[:-1]) if text.endswith("*") else Q(action=text)


def filter_actor(text: str) -> Q:
    return Q(user=parse_uuid("actor", text))


def filter_image(text: str) -> Q:
    if not HASH.match(text):
        raise InvalidInput("image: must be a full hash of 40 hex digits.")
    return Q(target=text)


def filter_from(text: str) -> Q:
    return Q(created__gte=parse_time("from", text, timedelta()))


def filter_to(text: str) -> Q:
    return Q(created__lt=parse_time("to", text, timedelta(days=1)))


def filter_cursor(text: str) -> Q:
    """Events older than the position in the cursor. Raises InvalidInput."""
    try:
        created, pk = cursors.decode(text)
        at = cursors.parse_datetime(created)
        if type(pk) is not int or not 0 <= pk < 2**63:
            raise ValueError("invalid id")
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidInput("cursor: invalid. Use the cursor of the previous page.") from error
    return Q(created__lte=at) & (Q(created__lt=at) | Q(pk__lt=pk))


FILTERS: dict[str, Callable[[str], Q]] = {
    "action": filter_action,
    "actor": filter_actor,
    "image": filter_image,
    "from": filter_from,
    "to": filter_to,
    "cursor": filter_cursor,
}


def parse_time(name: str, text: str, whole_day: timedelta) -> datetime:
    """Parse a date or time; without a time zone it is UTC.

    A date means 00:00 of that day plus `whole_day`. Raises InvalidInput naming the parameter.
    """
    try:
        parsed = from_iso(text)
        if len(text) <= len("2026-01-31"):
            parsed += whole_day
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{name}: must be a date or time, such as 2026-01-31 or 2026-01-31T09:30:00Z.") from error


def parse_limit(text: str) -> int:
    if not text:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT):
        raise InvalidInput(f"limit: must be an integer from 1 to {MAX_LIMIT}.")
    return int(text)
