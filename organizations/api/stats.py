"""The statistics of an organization."""

import re
from datetime import date, timedelta

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.base import OrganizationScope, unsupported_action
from organizations.api.serializers import StatsSerializer
from organizations.permissions import Permission
from organizations.usage import daily_stats
from rokka.core.errors import InvalidInput
from rokka.core.openapi import ORGANIZATION, errors, extend_schema

DEFAULT_DAYS = 30
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


class StatsViewSet(OrganizationScope):
    """Statistics of an organization, and billing, which is not supported."""

    tag = "Statistics"
    serializer_class = StatsSerializer
    required_permissions = {"retrieve": Permission.STATS_READ, "billing": Permission.BILLING_READ}

    @extend_schema(
        summary="Get statistics by day",
        parameters=[
            ORGANIZATION,
            OpenApiParameter("from", OpenApiTypes.DATE, description="First day (UTC). Default: 30 days before `to`."),
            OpenApiParameter("to", OpenApiTypes.DATE, description="Last day (UTC), inclusive. Default: today."),
        ],
        responses={200: StatsSerializer, **errors(400, 401, 403, 404, 429)},
    )
    def retrieve(self, request: Request, organization: str) -> Response:
        """Returns storage used, number of images and bytes downloaded for each day, newest first."""
        query = request.query_params
        today = daily_stats.today()
        last = parse_day("to", query.get("to", "")) or today
        first = parse_day("from", query.get("from", "")) or min(last, today) - timedelta(days=DEFAULT_DAYS)
        if first > last:
            raise InvalidInput(f"from: must not be after {last}, the last day.")
        return Response(StatsSerializer(daily_stats.days(self.organization, first, last)).data)

    billing = unsupported_action(
        "Get bills (not supported)",
        "This server has no billing. Storage and downloads are in GET /stats/{org}.",
        parameters=[ORGANIZATION],
    )


def parse_day(name: str, text: str) -> date | None:
    """Parse a date; None for an empty text. Raises InvalidInput naming the parameter."""
    if not text.strip():
        return None
    try:
        if not DAY.match(text):
            raise ValueError("not a date")
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{name}: must be a date, such as 2026-01-31.") from error
