"""What happened in an organization: its numbers by day, and who did what."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from organizations import stats
from organizations.api.scope import OrganizationScope
from organizations.api.serializers import AuditEventSerializer, AuditPageSerializer, StatsSerializer
from organizations.permissions import Permission
from rokka import cursor
from rokka.clock import from_iso
from rokka.errors import FeatureUnavailable, Invalid
from rokka.openapi import ORGANIZATION, errors

DAYS = 30
DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
LIMIT = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
VERB = re.compile(r"[a-z_]{1,39}\.([a-z_]{1,39}|\*)\Z")
HASH = re.compile(r"[0-9a-f]{40}\Z")
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


class StatsViewSet(OrganizationScope):
    """Numbers of an organization."""

    tag = "Statistics"
    serializer_class = StatsSerializer
    needs = {"retrieve": Permission.STATS_READ, "billing": Permission.BILLING_READ}

    @extend_schema(
        summary="Get statistics by day",
        parameters=[
            ORGANIZATION,
            OpenApiParameter("from", OpenApiTypes.DATE, description="First day (UTC); default 30 days ago."),
            OpenApiParameter("to", OpenApiTypes.DATE, description="Last day, included; default today."),
        ],
        responses={200: StatsSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def retrieve(self, request: Request, organization: str) -> Response:
        """Space, images and downloaded bytes, newest first."""
        query = request.query_params
        last = day("to", query.get("to", "")) or stats.today()
        first = day("from", query.get("from", "")) or min(last, stats.today()) - timedelta(days=DAYS)
        if first > last:
            raise Invalid(f"from: {first} is after {last}, the last day.")
        return Response(StatsSerializer(stats.days(self.organization, first, last)).data)

    @extend_schema(summary="Get bills", parameters=[ORGANIZATION], responses=errors(400, 401, 403, 404, 429))
    def billing(self, request: Request, organization: str) -> Response:
        """Always refused: a server of one's own sends no bills."""
        raise FeatureUnavailable("This server sends no bills. What is kept and downloaded is in GET /stats/{org}.")


class AuditViewSet(OrganizationScope):
    """The audit trail of an organization."""

    tag = "Audit log"
    serializer_class = AuditEventSerializer
    needs = {"list": Permission.AUDIT_READ}

    @extend_schema(
        summary="List events of the audit log",
        parameters=[
            ORGANIZATION,
            OpenApiParameter("verb", OpenApiTypes.STR, description="Such as `image.added`; `image.*` is all of these."),
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
        limit = number_of_events(query.get("limit", ""))
        events = self.organization.audit_events.filter(*conditions(query)).order_by("-created", "-id")
        found = list(events[: limit + 1])
        answer: dict[str, Any] = {"items": AuditEventSerializer(found[:limit], many=True).data}
        if len(found) > limit:
            last = found[limit - 1]
            answer["cursor"] = cursor.pack([cursor.written_moment(last.created), last.pk])
        return Response(answer)


def conditions(query: dict[str, str]) -> list[Q]:
    """What the query asks of events. Raises Invalid naming the parameter."""
    if unknown := query.keys() - CONDITIONS.keys() - {"limit"}:
        raise Invalid(f"{sorted(unknown)[0][:80]}: events cannot be filtered by it, only by {', '.join(CONDITIONS)}.")
    return [CONDITIONS[name](value) for name, value in query.items() if name in CONDITIONS]


def of_verb(text: str) -> Q:
    if not VERB.match(text):
        raise Invalid("verb: it is two words with a dot between, such as image.added or image.*")
    return Q(verb__startswith=text[:-1]) if text.endswith("*") else Q(verb=text)


def of_actor(text: str) -> Q:
    try:
        return Q(user=UUID(text))
    except ValueError as error:
        raise Invalid("actor: it must be the id of a user.") from error


def of_picture(text: str) -> Q:
    if not HASH.match(text):
        raise Invalid("picture: it must be a whole hash, 40 hex digits.")
    return Q(target=text)


def since(text: str) -> Q:
    return Q(created__gte=moment("from", text, timedelta()))


def until(text: str) -> Q:
    return Q(created__lt=moment("to", text, timedelta(days=1)))


def behind(text: str) -> Q:
    """Older than the position of a cursor."""
    try:
        created, pk = cursor.unpack(text)
        at = cursor.read_moment(created)
        if type(pk) is not int or not 0 <= pk < 2**63:
            raise ValueError("no id")
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Invalid("cursor: this is none of this server.") from error
    return Q(created__lte=at) & (Q(created__lt=at) | Q(pk__lt=pk))


CONDITIONS: dict[str, Callable[[str], Q]] = {
    "verb": of_verb,
    "actor": of_actor,
    "picture": of_picture,
    "from": since,
    "to": until,
    "cursor": behind,
}


def moment(name: str, text: str, whole_day: timedelta) -> datetime:
    """A time; a day alone is its beginning and `whole_day`. Without a zone it is UTC. Raises Invalid."""
    try:
        parsed = from_iso(text)
        if len(text) <= len("2026-01-31"):
            parsed += whole_day
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Invalid(f"{name}: it must be a day or a time, like 2026-01-31 or 2026-01-31T09:30:00Z.") from error


def day(name: str, text: str) -> date | None:
    """A day; None if there is no text. Raises Invalid."""
    if not text.strip():
        return None
    try:
        if not DAY.match(text):
            raise ValueError("not a day")
        return date.fromisoformat(text)
    except ValueError as error:
        raise Invalid(f"{name}: it must be a day like 2026-01-31.") from error


def number_of_events(text: str) -> int:
    if not text:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT):
        raise Invalid(f"limit: it must be a number from 1 to {MAX_LIMIT}.")
    return int(text)
