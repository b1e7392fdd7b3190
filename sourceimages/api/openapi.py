"""What the OpenAPI document says beyond what drf-spectacular reads from the code."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from rokka.core.openapi import ErrorSerializer

SAFE_METHODS = {"get", "head", "options", "parameters"}
IMAGE_PATHS = ("/sourceimages/", "/jobs/")

HASH = OpenApiParameter(
    "hash",
    OpenApiTypes.STR,
    OpenApiParameter.PATH,
    pattern=r"^[0-9a-f]{6,40}$",
    description="Hash or short hash; nothing in between.",
)
BINARY_HASH = OpenApiParameter("binary_hash", OpenApiTypes.STR, OpenApiParameter.PATH, pattern=r"^[0-9a-f]{40}$")
DELETED = OpenApiParameter("deleted", OpenApiTypes.BOOL, description="true: look in the trash instead.")
DELETION = OpenApiParameter(
    "deletion", OpenApiTypes.UUID, description="Id of a deletion, as images in the trash say it in `deletion`."
)
PAGING = [
    OpenApiParameter("limit", {"type": "integer", "minimum": 0, "maximum": 2000, "default": 100}),
    OpenApiParameter("offset", OpenApiTypes.STR, description="A number, or the `cursor` of another page."),
    OpenApiParameter("sort", OpenApiTypes.STR, description="`field[ asc|desc],…`, default `created desc`."),
    OpenApiParameter("binaryHash", OpenApiTypes.STR, description="Only images of these bytes; no paging."),
]
SEARCH = [
    OpenApiParameter(
        "q", OpenApiTypes.STR, description="Words of a search box, or a query: `format:png AND NOT user:artist:kim`."
    ),
    OpenApiParameter("operator", {"type": "string", "enum": ["and", "or"], "default": "and"}),
    OpenApiParameter("facets", OpenApiTypes.STR, description="`user:array:tags,format`: how often each value occurs."),
]
FIELD = OpenApiParameter(
    "field",
    OpenApiTypes.STR,
    OpenApiParameter.PATH,
    pattern=r"^([a-z_]+:)?[a-z0-9_]{1,54}$",
    description="Name of a field, with or without its type.",
)
BINARY_HASH_QUERY = OpenApiParameter(
    "binaryHash", OpenApiTypes.STR, required=True, description="sha1 of the bytes whose images are deleted."
)
DELETE_PREVIOUS = OpenApiParameter(
    "deletePrevious", OpenApiTypes.BOOL, description="true: delete the image with the old hash, if the hash changes."
)
DESTINATION = OpenApiParameter(
    "Destination", OpenApiTypes.STR, OpenApiParameter.HEADER, required=True, description="Name of an organization."
)
OVERWRITE = OpenApiParameter(
    "Overwrite", OpenApiTypes.STR, OpenApiParameter.HEADER, description="`F`: leave alone what is there already."
)
LOCATION = OpenApiParameter(
    "Location",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    response=[201, 204],
    description="Path of the image that is meant now.",
)
ZIP: dict[Any, Any] = {
    (200, "application/zip"): OpenApiTypes.BINARY,
    (200, "application/octet-stream"): OpenApiTypes.BINARY,  # which generators know for bytes
}
CONDITIONS = [
    OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.HEADER, description=description)
    for name, description in (
        ("If-Match", "ETags: refuse any other content (412)."),
        ("If-None-Match", "ETags: do not send this content again (304)."),
        ("If-Modified-Since", "Do not send content that is older (304)."),
        ("If-Unmodified-Since", "Refuse content that is newer (412)."),
    )
]
RANGE = OpenApiParameter("Range", OpenApiTypes.STR, OpenApiParameter.HEADER, description="One range of bytes.")

FILE_RESPONSES: dict[Any, Any] = {
    # Generators know the first for bytes; the file comes under its own type.
    (200, "application/octet-stream"): OpenApiTypes.BINARY,
    (200, "*/*"): OpenApiTypes.BINARY,
    (206, "application/octet-stream"): OpenApiTypes.BINARY,
    (206, "*/*"): OpenApiTypes.BINARY,
    412: OpenApiResponse(ErrorSerializer, description="A condition of the request does not hold."),
    304: OpenApiResponse(description="The ETag in If-None-Match is still right."),
    416: OpenApiResponse(ErrorSerializer, description="The file has none of these bytes."),
}


def exclude_copy_method(endpoints: list[Any]) -> list[Any]:
    """OpenAPI 3.0 does not know the method COPY; its twin by POST is described."""
    return [endpoint for endpoint in endpoints if endpoint[2] != "COPY"]


def add_mismatch_responses(result: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Whatever writes below the paths of images is answered 503 while database and storage do not agree."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for path, methods in result["paths"].items():
        for method in methods.keys() - SAFE_METHODS if path.startswith(IMAGE_PATHS) else ():
            methods[method]["responses"].setdefault("503", {"content": content, "description": "Service Unavailable"})
    return result
