"""What the OpenAPI document says beyond what drf-spectacular reads from the code."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

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
