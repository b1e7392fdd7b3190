"""Signing URLs without revealing the signing key."""

from datetime import UTC, datetime
from typing import Any

from django.http import QueryDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.base import OrganizationScope
from organizations.api.serializers import SignedUrlSerializer
from organizations.auth import signed_urls
from organizations.auth.signing_keys import use_key
from organizations.permissions import Permission
from rokka.core.clock import from_iso
from rokka.core.errors import InvalidInput
from rokka.core.openapi import ORGANIZATION, errors, extend_schema
from rokka.core.parsers import LenientJSONParser


class SignUrlSerializer(serializers.Serializer):
    """The URL to sign. The same fields work in the query string, as JSON and as a form."""

    url = serializers.CharField(max_length=signed_urls.MAX_URL)
    key = serializers.CharField(required=False, help_text="Signing key to use. Default: the newest.")
    until = serializers.CharField(required=False, max_length=80, help_text="Expiry: ISO 8601, or seconds since 1970.")
    round_date_up_to = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=signed_urls.MAX_ROUNDING,
        default=signed_urls.EXPIRY_ROUNDING_SECONDS,
        help_text="Round the expiry up to a multiple of this many seconds.",
    )


class SigningViewSet(OrganizationScope):
    """Signed URLs."""

    tag = "Signed URLs"
    serializer_class = SignedUrlSerializer
    required_permissions = {"sign_url": Permission.URLS_SIGN}

    @extend_schema(
        summary="Sign a URL",
        parameters=[ORGANIZATION, *(OpenApiParameter(name, OpenApiTypes.STR) for name in ("url", "key", "until"))],
        request=SignUrlSerializer,
        responses={200: SignedUrlSerializer, **errors(400, 401, 403, 404, 413, 429)},
    )
    def sign_url(self, request: Request, organization: str) -> Response:
        """Returns the URL with a signature and, if `until` is given, an expiry."""
        serializer = SignUrlSerializer(data=request_fields(request))
        serializer.is_valid(raise_exception=True)
        fields = serializer.validated_data
        if not signed_urls.belongs_to(fields["url"], self.organization.name):
            raise InvalidInput(f"url: must be an image URL of {self.organization.name!r}.")
        until = parse_datetime(fields["until"], fields["round_date_up_to"]) if "until" in fields else None
        key = use_key(self.organization, fields.get("key"))
        data = {"signed_url": signed_urls.signed_url(fields["url"], key, until=until), "original_url": fields["url"]}
        return Response(data | ({"until": signed_urls.isoformat(until)} if until else {}))

    def get_parsers(self) -> list[Any]:
        form = self.request is not None and self.request.content_type == "multipart/form-data"
        return [MultiPartParser() if form else LenientJSONParser()]


def request_fields(request: Request) -> dict[str, Any]:
    """Merge query and body; the body takes precedence. `roundDateUpTo` is an alias. Raises InvalidInput."""
    body = request.data if request.data not in (None, []) else {}
    if not isinstance(body, dict):  # a QueryDict is a dict
        raise InvalidInput("The body must be a JSON object or a form.")
    fields = request.query_params.dict() | (body.dict() if isinstance(body, QueryDict) else body)
    if "roundDateUpTo" in fields:
        fields.setdefault("round_date_up_to", fields["roundDateUpTo"])
    return {name: value for name, value in fields.items() if value not in (None, "")}


def parse_datetime(text: str, rounding_seconds: int) -> datetime:
    """Parse an expiry and round it up. Raises InvalidInput."""
    try:
        parsed = datetime.fromtimestamp(int(text), UTC) if text.isdigit() else from_iso(text)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidInput(
            "until: must be a time, such as 2040-01-01T00:00:00+00:00, or seconds since 1970."
        ) from error
    parsed = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed
    return signed_urls.round_up(parsed, rounding_seconds)
