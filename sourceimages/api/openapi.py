"""What the OpenAPI document says beyond what drf-spectacular reads from the code."""

from http import HTTPStatus
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from sourceimages.api.serializers import ErrorSerializer

ORGANIZATION = OpenApiParameter(
    "organization", OpenApiTypes.STR, OpenApiParameter.PATH, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
)
HASH = OpenApiParameter(
    "hash",
    OpenApiTypes.STR,
    OpenApiParameter.PATH,
    pattern=r"^[0-9a-f]{6,40}$",
    description="Hash or short hash; nothing in between.",
)
BINARY_HASH = OpenApiParameter("binary_hash", OpenApiTypes.STR, OpenApiParameter.PATH, pattern=r"^[0-9a-f]{40}$")
DELETED = OpenApiParameter("deleted", OpenApiTypes.BOOL, description="true: look in the trash instead.")
PAGING = [
    OpenApiParameter("limit", {"type": "integer", "minimum": 0, "maximum": 2000, "default": 100}),
    OpenApiParameter("offset", OpenApiTypes.STR, description="A number, or the `cursor` of another page."),
    OpenApiParameter("sort", OpenApiTypes.STR, description="`field[ asc|desc],…`, default `created desc`."),
    OpenApiParameter("binaryHash", OpenApiTypes.STR, description="Only pictures of these bytes; no paging."),
]
RANGE = OpenApiParameter("Range", OpenApiTypes.STR, OpenApiParameter.HEADER, description="One range of bytes.")

BYTES: dict[Any, Any] = {
    (200, "*/*"): OpenApiTypes.BINARY,
    (206, "*/*"): OpenApiTypes.BINARY,
    304: OpenApiResponse(description="The ETag in If-None-Match is still right."),
    416: OpenApiResponse(description="The file has none of these bytes."),
}


def errors(*statuses: int) -> dict[Any, Any]:
    """Answers in the shape of every error."""
    return {status: OpenApiResponse(ErrorSerializer, HTTPStatus(status).phrase) for status in statuses}
