"""The statistics of an organization."""

import re
from datetime import date, timedelta

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.base import OrganizationScope
from organizations.api.serializers import StatsSerializer
from organizations.permissions import Permission
from organizations.usage import daily_stats
from rokka.core.errors import FeatureUnavailable, InvalidInput
from rokka.core.openapi import ORGANIZATION, errors

DAYS = 30
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


class StatsViewSet(OrganizationScope):
    """Numbers of an organization."""

    tag = "Statistics"
    serializer_class = StatsSerializer
    required_permissions = {"retrieve": Permission.STATS_READ, "billing": Permission.BILLING_READ}

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
        last = parse_day("to", query.get("to", "")) or daily_stats.today()
        first = parse_day("from", query.get("from", "")) or min(last, daily_stats.today()) - timedelta(days=DAYS)
        if first > last:
            raise InvalidInput(f"from: {first} is after {last}, the last day.")
        return Response(StatsSerializer(daily_stats.days(self.organization, first, last)).data)

    @extend_schema(summary="Get bills", parameters=[ORGANIZATION], responses=errors(400, 401, 403, 404, 429))
    def billing(self, request: Request, organization: str) -> Response:
        """Always refused: a server of one's own sends no bills."""
        raise FeatureUnavailable("This server sends no bills. What is kept and downloaded is in GET /stats/{org}.")


def parse_day(name: str, text: str) -> date | None:
    """A day; None if there is no text. Raises Invalid."""
    if not text.strip():
        return None
    try:
        if not DAY.match(text):
            raise ValueError("not a day")
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{name}: it must be a day like 2026-01-31.") from error
