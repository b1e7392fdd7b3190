"""Signing URLs for those who may, without showing them the key."""

from datetime import UTC, datetime
from typing import Any

from django.http import QueryDict
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.api.base import OrganizationScope
from organizations.api.serializers import SignedUrlSerializer
from organizations.auth import signed_urls
from organizations.auth.credentials import TOUCH_INTERVAL
from organizations.models import SigningKey
from organizations.permissions import Permission
from rokka.core.clock import from_iso
from rokka.core.errors import InvalidInput
from rokka.core.openapi import ORGANIZATION, errors
from rokka.core.parsers import LenientJSONParser


class SignUrlSerializer(serializers.Serializer):
    """What is to be signed; the same names work in the query and in a form."""

    url = serializers.CharField(max_length=signed_urls.MAX_URL)
    key = serializers.CharField(required=False, help_text="Which of the signing keys; the newest if none is named.")
    until = serializers.CharField(required=False, max_length=80, help_text="ISO 8601, or seconds since 1970.")
    round_date_up_to = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=signed_urls.MAX_ROUNDING,
        default=signed_urls.EXPIRY_ROUNDING_SECONDS,
        help_text="Seconds.",
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
        """The URL with a signature, and with a time limit if one is given."""
        serializer = SignUrlSerializer(data=request_fields(request))
        serializer.is_valid(raise_exception=True)
        wanted = serializer.validated_data
        if not signed_urls.belongs_to(wanted["url"], self.organization.name):
            raise InvalidInput(f"url: it is no address of {self.organization.name!r}.")
        until = parse_datetime(wanted["until"], wanted["round_date_up_to"]) if "until" in wanted else None
        key = self._key(wanted.get("key"))
        answer = {"signed_url": signed_urls.signed_url(wanted["url"], key, until=until), "original_url": wanted["url"]}
        return Response(answer | ({"until": signed_urls.isoformat(until)} if until else {}))

    def get_parsers(self) -> list[Any]:
        form = self.request is not None and self.request.content_type == "multipart/form-data"
        return [MultiPartParser() if form else LenientJSONParser()]

    def _key(self, wanted: str | None) -> str:
        """The key itself, noted as used. Raises Invalid if it is none of the organization's."""
        keys = list(self.organization.signing_keys.order_by("-created", "-id"))
        key = next((one for one in keys if wanted in (None, one.key)), None)
        if key is None:
            raise InvalidInput("key: it is none of the signing keys of this organization.")
        if key.accessed is None or key.accessed < timezone.now() - TOUCH_INTERVAL:
            SigningKey.objects.filter(pk=key.pk).update(accessed=timezone.now())
        return str(key.key)


def request_fields(request: Request) -> dict[str, Any]:
    """Query and body together; the body counts more. `roundDateUpTo` is the other spelling."""
    body = request.data if request.data not in (None, []) else {}
    if not isinstance(body, dict):  # a QueryDict is one
        raise InvalidInput("The body must be a JSON object or a form.")
    fields = request.query_params.dict() | (body.dict() if isinstance(body, QueryDict) else body)
    if "roundDateUpTo" in fields:
        fields.setdefault("round_date_up_to", fields["roundDateUpTo"])
    return {name: value for name, value in fields.items() if value not in (None, "")}


def parse_datetime(text: str, rounded_up_to: int) -> datetime:
    """The time limit. Raises Invalid."""
    try:
        parsed = datetime.fromtimestamp(int(text), UTC) if text.isdigit() else from_iso(text)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidInput("until: it must be a time like 2040-01-01T00:00:00+00:00.") from error
    parsed = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed
    return signed_urls.rounded_up(parsed, rounded_up_to)
