"""Examples of requests and responses in the OpenAPI document. A missing example raises KeyError."""

from http import HTTPStatus
from typing import Any

Schema = dict[str, Any]

HASH = "3f5a1e0b7c9d24860e1f3a5b7c9d0e2f4a6b8c0d"
BINARY_HASH = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334"
USER, KEY, ORGANIZATION = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "123")
JOB = "44444444-0000-4000-8000-000000000000"
TIMESTAMP, LATER_TIMESTAMP = "2026-03-05T09:30:00+00:00", "2026-03-05T09:31:00+00:00"
EXPIRY = "2027-03-05T09:30:00+00:00"
CURSOR = "cWyIyMDI2Il0"
SIGNATURE = "158acd8f7087d35d"

IMAGE = {
    "hash": HASH,
    "short_hash": HASH[:6],
    "binary_hash": BINARY_HASH,
    "created": TIMESTAMP,
    "name": "harbour.jpg",
    "mimetype": "image/jpeg",
    "format": "jpg",
    "size": 284_631,
    "width": 1200,
    "height": 800,
    "organization": "acme",
    "link": f"/sourceimages/acme/{HASH}",
    "user_metadata": {"photographer": "Kim", "int:year": 2026, "array:tags": ["harbour", "boat"]},
    "dynamic_metadata": {"subject_area": {"x": 100, "y": 80, "width": 300, "height": 200}},
    "static_metadata": {"exif": {"make": "Example", "orientation": 1}},
    "protected": False,
    "locked": False,
    "opaque": True,
    "animated": False,
}
ADDED_IMAGE = IMAGE | {"deleted": False}
SIGNING_KEY = {"id": "b5bb9d8014a0f9b1", "key": "<signing key>", "created": TIMESTAMP, "accessed": None}
ORGANIZATION_EXAMPLE = {
    "id": ORGANIZATION,
    "name": "acme",
    "display_name": "Acme Inc.",
    "billing_email": "alice@example.org",
    "created": TIMESTAMP,
    "master_organization": "acme",
    "options": {"search_language": "en"},
    "signing_keys": [SIGNING_KEY],
}
KEY_OPTIONS = {"requires_mfa": False, "trusted": False, "allowed_ips": ["192.0.2.0/24"], "expires": EXPIRY}
KEY_EXAMPLE = {"id": KEY, "comment": "web shop", "created": TIMESTAMP, "accessed": LATER_TIMESTAMP} | KEY_OPTIONS
MEMBERSHIP = {
    "user_id": USER,
    "email": "bob@example.org",
    "organization_id": ORGANIZATION,
    "roles": ["write"],
    "active": True,
    "created": TIMESTAMP,
    "last_access": LATER_TIMESTAMP,
    "comment": "the editors",
}
JOB_EXAMPLE = {
    "id": JOB,
    "kind": "copy_all",
    "state": "running",
    "total": 1200,
    "processed": 300,
    "failed": 0,
    "skipped": 1,
    "counts": {"created": 299, "locked": 1},
    "errors": [{"hash": HASH, "message": "Image is locked."}],
    "error": "",
    "params": {"destination": "stage", "overwrite": True},
    "user_id": USER,
    "created": TIMESTAMP,
    "started": TIMESTAMP,
    "finished": None,
}
VERSION = {
    "id": 42,
    "created": "2026-03-05T09:30:00.123456+00:00",
    "kind": "metadata_updated",
    "source": "api",
    "user_id": USER,
    "api_key_id": KEY,
    "job_id": None,
    "before": {"user_metadata": {"photographer": "unknown"}},
}
EVENT = {
    "id": 7,
    "created": "2026-03-05T09:30:00.123456+00:00",
    "action": "image.created",
    "source": "api",
    "user_id": USER,
    "api_key_id": KEY,
    "address": "192.0.2.7",
    "request_id": "0b6f3c5d9e8a4c7db1a2e3f405162738",
    "target": HASH,
    "count": 1,
    "deletion_id": None,
    "job_id": None,
    "details": {"name": "harbour.jpg"},
}
STACK_OPERATION = {"name": "resize", "options": {"width": 200}, "expressions": {"height": "$h"}}
STACK_EXPRESSION = {"expression": "options.dpr >= 2", "overrides": {"options": {"jpg.quality": 60}}}
STACK = {
    "name": "thumb",
    "organization": "acme",
    "created": TIMESTAMP,
    "stack_operations": [STACK_OPERATION],
    "stack_options": {"jpg.quality": 80},
    "stack_expressions": [STACK_EXPRESSION],
    "stack_variables": {"h": 100},
}
DAY = {"timestamp": "2026-03-05T00:00:00+00:00", "unit": "Bytes"}

# By component of the schema.
COMPONENTS: dict[str, Any] = {
    "UploadResult": {"total": 1, "items": [ADDED_IMAGE]},
    "UploadedImage": ADDED_IMAGE,
    "AddedKey": KEY_EXAMPLE | {"accessed": None, "api_key": "<API key>"},
    "Alias": {"organization": "acme", "alias": "logo", "hash": HASH, "created": TIMESTAMP},
    "AliasRequest": {"hash": HASH},
    "AuditPage": {"items": [EVENT], "cursor": CURSOR},
    "CopyResult": {"existing": [], "created": [HASH], "notfound": []},
    "Fields": {"items": [{"name": "user:int:year", "type": "int", "count": 812}]},
    "ImageList": {"total": 1, "items": [IMAGE]},
    "History": {"items": [VERSION]},
    "Job": JOB_EXAMPLE,
    "Jobs": {"items": [JOB_EXAMPLE]},
    "Key": KEY_EXAMPLE,
    "Membership": MEMBERSHIP,
    "Memberships": {"total": 1, "items": [MEMBERSHIP]},
    "NewJobRequest": {"kind": "copy_all", "destination": "stage", "overwrite": True},
    "NewKeyRequest": {"comment": "web shop", "allowed_ips": ["192.0.2.0/24"], "expires": EXPIRY},
    "PatchedKeyChangeRequest": {"allowed_ips": ["192.0.2.0/24"], "expires": None},
    "ChangedKey": {"id": KEY, "comment": "web shop", "totp_state": "none"} | KEY_OPTIONS,
    "NewMembershipRequest": {
        "roles": ["write"],
        "comment": "the editors",
        "api_key": {"comment": "web shop", "expires": EXPIRY},
    },
    "NewMember": MEMBERSHIP | {"api_key": "<API key>"},
    "NewUser": {"id": USER, "email": "alice@example.org", "api_key": "<API key>"},
    "Organization": ORGANIZATION_EXAMPLE,
    "OrganizationChangeRequest": {"billing_email": "alice@example.org", "display_name": "Acme Inc."},
    "Organizations": {"total": 1, "items": [ORGANIZATION_EXAMPLE]},
    "MembersKeys": {
        "total": 1,
        "truncated": False,
        "items": [MEMBERSHIP | {"organization": "acme", "display_name": "Acme Inc.", "api_keys": [KEY_EXAMPLE]}],
    },
    "KeyEffects": {
        "api_keys": [{"id": KEY, "user_id": MEMBERSHIP["user_id"], "created": TIMESTAMP}],
        "memberships": [
            {
                "organization": "acme",
                "user_id": MEMBERSHIP["user_id"],
                "roles_before": [],
                "roles": ["write"],
                "changed": TIMESTAMP,
            }
        ],
        "organizations": [{"name": "stage", "created": TIMESTAMP}],
        "jobs": [{"id": JOB, "organization": "acme", "kind": "copy_all", "state": "succeeded", "created": TIMESTAMP}],
    },
    "OwnMemberships": {
        "total": 1,
        "items": [
            {
                "organization": "acme",
                "organization_id": ORGANIZATION,
                "display_name": "Acme Inc.",
                "roles": ["admin"],
                "active": True,
                "created": TIMESTAMP,
                "last_access": LATER_TIMESTAMP,
                "comment": None,
            }
        ],
    },
    "ImagePage": {
        "total": 812,
        "items": [IMAGE],
        "links": {"next": {"href": f"/sourceimages/acme?limit=1&offset={CURSOR}"}},
        "cursor": CURSOR,
    },
    "RolesRequest": {"roles": ["write"], "comment": "the editors"},
    "Root": {"resources": ["/operations", "/organizations", "/sourceimages"], "environment": "production"},
    "SignedUrl": {
        "signed_url": f"https://acme.example.org/dynamic/resize-width-200/{HASH}.jpg?sig={SIGNATURE}",
        "original_url": f"https://acme.example.org/dynamic/resize-width-200/{HASH}.jpg",
    },
    "SignUpRequest": {"email": "alice@example.org", "organization": "acme"},
    "SignUrlRequest": {"url": f"https://acme.example.org/dynamic/resize-width-200/{HASH}.jpg"},
    "SigningKey": SIGNING_KEY,
    "SourceImage": IMAGE,
    "LinkedStack": STACK | {"link": "/stacks/acme/thumb"},
    "Stack": STACK,
    "StackContentRequest": {
        "operations": [STACK_OPERATION],
        "options": {"jpg.quality": 80},
        "expressions": [STACK_EXPRESSION],
        "variables": {"h": 100},
    },
    "StackPage": {"items": [STACK], "cursor": CURSOR},
    "PurgedRenders": {"status": "ok", "items": [f"/*/{HASH}*"]},
    "Status": {"status": "ok"},
    "Stats": {
        "space_in_bytes": [DAY | {"value": 18_204_112}],
        "number_of_files": [DAY | {"value": 812, "unit": None}],
        "bytes_downloaded": [DAY | {"value": 5_120_400}],
    },
    "Token": {
        "token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9…",
        "payload": {
            "id": USER,
            "exp": 1_772_789_400,
            "expt": 86_400,
            "ips": ["192.0.2.7"],
            "rn": True,
            "key": KEY,
        },
    },
    "SecondFactorRequest": {},
    "Totp": {"state": "active", "confirmed": TIMESTAMP},
    "NewTotp": {"secret": "<secret>", "provisioning_uri": "otpauth://totp/…", "state": "pending"},
    "TotpCodeRequest": {"totp": "123456"},
    "UploadRequest": {
        "filedata": "<content of the file>",
        "meta_user": '{"photographer": "Kim", "int:year": 2026}',
        "options": '{"protected": true}',
    },
    "User": {"user_id": USER, "email": "alice@example.org", "api_keys": [KEY_EXAMPLE]},
}
# By operation ID, for schemas that are not components.
REQUESTS: dict[str, Any] = {
    "source_images_copy_many": [HASH],
    "source_images_rename": "harbour.jpg",
    "source_images_protect": True,
    "source_images_lock": True,
    "source_images_replace_user_metadata": IMAGE["user_metadata"],
    "source_images_change_user_metadata": {"int:year": 2027, "photographer": None},
    "source_images_set_user_metadata_field": "Kim",
    "source_images_set_dynamic_metadata": {"x": 100, "y": 80, "width": 300, "height": 200},
    "organizations_set_options": {"search_language": "en"},
    "organizations_set_option": "en",
}
RESPONSES: dict[str, Any] = {
    "source_images_copy": {},
    "source_images_get_user_metadata": IMAGE["user_metadata"],
    "source_images_get_user_metadata_field": "Kim",
    "account_list_keys": [KEY_EXAMPLE],
    "stacks_list_operations": {
        "noop": {"description": "Does nothing.", "properties": {}, "required": []},
    },
    "stacks_list_options": {
        "properties": {"jpg.quality": {"type": "integer", "default": 76, "description": "JPEG quality, 1 to 100."}},
    },
}
# By status: one of its reasons, and a message.
ERRORS = {
    400: ("invalid", "limit: must be an integer from 0 to 2000."),
    401: ("invalid_token", "This token has expired. Get a new one with your API key."),
    403: ("role_missing", "Your roles in 'acme' do not allow this."),
    404: ("image_not_found", f"Source image '{HASH}' not found in 'acme'."),
    409: ("conflict", "The same images are being changed by other requests. Try again."),
    412: ("precondition_failed", "The file has changed since the version in the condition of the request."),
    413: ("too_large", "The body exceeds the limit of 1,000,000 bytes."),
    416: ("range_not_satisfiable", "The requested range is outside of the file, which has 284631 bytes."),
    423: ("image_locked", f"Source image {HASH[:6]} is locked. It can't be deleted or changed."),
    429: (
        "too_many_requests",
        "More than 12000 requests in 60 seconds (RATE_LIMIT_PER_KEY). Wait 7 seconds.",
    ),
    503: ("unavailable", "The database is unavailable. Try again."),
}


def request_example(operation: str, schema: Schema) -> Any:
    return COMPONENTS[component] if (component := _component(schema)) else REQUESTS[operation]


def response_example(operation: str, status: str, schema: Schema) -> Any:
    component = _component(schema)
    if component == "Error":
        return _error(HTTPStatus(int(status)))
    return COMPONENTS[component] if component else RESPONSES[operation]


def _component(schema: Schema) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _error(status: HTTPStatus) -> dict[str, Any]:
    reason, message = ERRORS[status]
    fields = {"code": int(status), "message": message, "reason": reason}
    authentication = {"invalid_authentication": True} if status is HTTPStatus.UNAUTHORIZED else {}
    return {"error": fields, **fields, **authentication}
