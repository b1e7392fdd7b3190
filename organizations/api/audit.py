"""The audit log of an organization."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.base import OrganizationScope
from organizations.api.serializers import AuditEventSerializer, AuditPageSerializer
from organizations.permissions import Permission
from rokka.core import cursors
from rokka.core.clock import from_iso
from rokka.core.errors import InvalidInput
from rokka.core.openapi import ORGANIZATION, errors

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
ACTION = re.compile(r"[a-z_]{1,39}\.([a-z_]{1,39}|\*)\Z")
HASH = re.compile(r"[0-9a-f]{40}\Z")


class AuditViewSet(OrganizationScope):
    """The audit trail of an organization."""

    tag = "Audit log"
    serializer_class = AuditEventSerializer
    required_permissions = {"list": Permission.AUDIT_READ}

    @extend_schema(
        summary="List events of the audit log",
        parameters=[
            ORGANIZATION,
            OpenApiParameter(
                "action", OpenApiTypes.STR, description="Such as `image.created`; `image.*` is all of these."
            ),
            OpenApiParameter("actor", OpenApiTypes.UUID, description="The id of a user."),
            OpenApiParameter("picture", OpenApiTypes.STR, description="The whole hash of an image."),
            OpenApiParameter("from", OpenApiTypes.DATETIME, description="Not before; a day is its first second (UTC)."),
            OpenApiParameter("to", OpenApiTypes.DATETIME, description="Before; a day is its last second."),
            OpenApiParameter(
                "limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
            ),
            OpenApiParameter("cursor", OpenApiTypes.STR, description="The `cursor` of the page before."),
        ],
        responses={200: AuditPageSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def list(self, request: Request, organization: str) -> Response:
        """Newest first. Events are never changed and never removed."""
        query = {name: value for name, value in request.query_params.dict().items() if value}
        limit = parse_limit(query.get("limit", ""))
        events = self.organization.audit_events.filter(*parse_filters(query)).order_by("-created", "-id")
        found = list(events[: limit + 1])
        answer: dict[str, Any] = {"items": AuditEventSerializer(found[:limit], many=True).data}
        if len(found) > limit:
            last = found[limit - 1]
            answer["cursor"] = cursors.encode([cursors.format_datetime(last.created), last.pk])
        return Response(answer)


def parse_filters(query: dict[str, str]) -> list[Q]:
    """What the query asks of events. Raises Invalid naming the parameter."""
    if unknown := query.keys() - FILTERS.keys() - {"limit"}:
        raise InvalidInput(f"{sorted(unknown)[0][:80]}: events cannot be filtered by it, only by {', '.join(FILTERS)}.")
    return [FILTERS[name](value) for name, value in query.items() if name in FILTERS]


def filter_action(text: str) -> Q:
    if not ACTION.match(text):
        raise InvalidInput("action: it is two words with a dot between, such as image.created or image.*")
    return Q(action__startswith=text[:-1]) if text.endswith("*") else Q(action=text)


def filter_actor(text: str) -> Q:
    try:
        return Q(user=UUID(text))
    except ValueError as error:
        raise InvalidInput("actor: it must be the id of a user.") from error


def filter_image(text: str) -> Q:
    if not HASH.match(text):
        raise InvalidInput("picture: it must be a whole hash, 40 hex digits.")
    return Q(target=text)


def filter_from(text: str) -> Q:
    return Q(created__gte=parse_time("from", text, timedelta()))


def filter_to(text: str) -> Q:
    return Q(created__lt=parse_time("to", text, timedelta(days=1)))


def filter_cursor(text: str) -> Q:
    """Older than the position of a cursor."""
    try:
        created, pk = cursors.decode(text)
        at = cursors.parse_datetime(created)
        if type(pk) is not int or not 0 <= pk < 2**63:
            raise ValueError("no id")
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidInput("cursor: this is none of this server.") from error
    return Q(created__lte=at) & (Q(created__lt=at) | Q(pk__lt=pk))


FILTERS: dict[str, Callable[[str], Q]] = {
    "action": filter_action,
    "actor": filter_actor,
    "picture": filter_image,
    "from": filter_from,
    "to": filter_to,
    "cursor": filter_cursor,
}


def parse_time(name: str, text: str, whole_day: timedelta) -> datetime:
    """A time; a day alone is its beginning and `whole_day`. Without a zone it is UTC. Raises Invalid."""
    try:
        parsed = from_iso(text)
        if len(text) <= len("2026-01-31"):
            parsed += whole_day
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{name}: it must be a day or a time, like 2026-01-31 or 2026-01-31T09:30:00Z.") from error


def parse_limit(text: str) -> int:
    if not text:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT):
        raise InvalidInput(f"limit: it must be a number from 1 to {MAX_LIMIT}.")
    return int(text)
