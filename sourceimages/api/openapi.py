"""OpenAPI parameters and responses that drf-spectacular does not derive from the code."""

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
    description="Hash or short hash.",
)
BINARY_HASH = OpenApiParameter("binary_hash", OpenApiTypes.STR, OpenApiParameter.PATH, pattern=r"^[0-9a-f]{40}$")
DELETED = OpenApiParameter("deleted", OpenApiTypes.BOOL, description="true: use images in the trash.")
DELETION = OpenApiParameter(
    "deletion",
    OpenApiTypes.UUID,
    description="ID of a deletion, as returned in the `deletion` field of images in the trash.",
)
PAGING = [
    OpenApiParameter("limit", {"type": "integer", "minimum": 0, "maximum": 2000, "default": 100}),
    OpenApiParameter("offset", OpenApiTypes.STR, description="Number of images to skip, or the `cursor` of a page."),
    OpenApiParameter("sort", OpenApiTypes.STR, description="`field[ asc|desc],…`. Default: `created desc`."),
    OpenApiParameter("binaryHash", OpenApiTypes.STR, description="Only images with this binary hash. Disables paging."),
]
SEARCH = [
    OpenApiParameter(
        "q", OpenApiTypes.STR, description="Search words or a query, such as `format:png AND NOT user:artist:kim`."
    ),
    OpenApiParameter("operator", {"type": "string", "enum": ["and", "or"], "default": "and"}),
    OpenApiParameter(
        "facets", OpenApiTypes.STR, description="Fields to count values of, such as `user:array:tags,format`."
    ),
]
FIELD = OpenApiParameter(
    "field",
    OpenApiTypes.STR,
    OpenApiParameter.PATH,
    pattern=r"^([a-z_]+:)?[a-z0-9_]{1,54}$",
    description="Field name, with or without its type.",
)
BINARY_HASH_QUERY = OpenApiParameter(
    "binaryHash", OpenApiTypes.STR, required=True, description="SHA-1 of the uploaded file whose images are deleted."
)
DELETE_PREVIOUS = OpenApiParameter(
    "deletePrevious", OpenApiTypes.BOOL, description="true: if the hash changes, delete the image with the old hash."
)
DESTINATION = OpenApiParameter(
    "Destination", OpenApiTypes.STR, OpenApiParameter.HEADER, required=True, description="Organization name."
)
OVERWRITE = OpenApiParameter(
    "Overwrite", OpenApiTypes.STR, OpenApiParameter.HEADER, description="`F`: don't overwrite existing images."
)
LOCATION = OpenApiParameter(
    "Location",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    response=[201, 204],
    description="Path of the resulting image.",
)
ZIP: dict[Any, Any] = {
    (200, "application/zip"): OpenApiTypes.BINARY,
    (200, "application/octet-stream"): OpenApiTypes.BINARY,  # code generators map this type to binary data
}
CONDITIONS = [
    OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.HEADER, description=description)
    for name, description in (
        ("If-Match", "ETags. Other content is refused (412)."),
        ("If-None-Match", "ETags. The response is 304 if the content matches."),
        ("If-Modified-Since", "The response is 304 if the content is not newer."),
        ("If-Unmodified-Since", "Newer content is refused (412)."),
    )
]
RANGE = OpenApiParameter("Range", OpenApiTypes.STR, OpenApiParameter.HEADER, description="A single byte range.")

FILE_RESPONSES: dict[Any, Any] = {
    # Code generators map octet-stream to binary data; responses use the media type of the file.
    (200, "application/octet-stream"): OpenApiTypes.BINARY,
    (200, "*/*"): OpenApiTypes.BINARY,
    (206, "application/octet-stream"): OpenApiTypes.BINARY,
    (206, "*/*"): OpenApiTypes.BINARY,
    412: OpenApiResponse(ErrorSerializer, description="A precondition of the request is not met."),
    304: OpenApiResponse(description="The ETag in If-None-Match matches."),
    416: OpenApiResponse(ErrorSerializer, description="The range is beyond the end of the file."),
}


def exclude_copy_method(endpoints: list[Any]) -> list[Any]:
    """OpenAPI 3.0 does not support the method COPY; the equivalent POST is documented instead."""
    return [endpoint for endpoint in endpoints if endpoint[2] != "COPY"]


def add_mismatch_responses(result: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Add 503 to all writing operations on images: they are refused while database and storage do not match."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for path, methods in result["paths"].items():
        for method in methods.keys() - SAFE_METHODS if path.startswith(IMAGE_PATHS) else ():
            methods[method]["responses"].setdefault("503", {"content": content, "description": "Service Unavailable"})
    return result
