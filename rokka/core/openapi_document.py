"""The OpenAPI document: tags, operation IDs, security schemes and examples. Imported only to generate it."""

from http import HTTPStatus
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import extend_schema

from rokka.core import openapi_examples

# In the order of the document.
TAGS = [
    {"name": "Source images", "description": "Upload, find, download, change, copy, delete and restore images."},
    {"name": "Aliases", "description": "Give images stable names that can be moved to other images."},
    {"name": "Jobs", "description": "Copy, delete or restore many images in the background, and follow the progress."},
    {"name": "Organizations", "description": "Create organizations, and manage their options and signing keys."},
    {"name": "Memberships", "description": "Manage the members of an organization and their roles."},
    {"name": "Account", "description": "Get the current user, and manage its API keys and tokens."},
    {"name": "Users", "description": "Sign up, if enabled on the server."},
    {"name": "Signed URLs", "description": "Sign URLs without access to the signing key."},
    {"name": "Statistics", "description": "Get storage, image and download statistics."},
    {"name": "Audit log", "description": "List events."},
    {"name": "Stacks", "description": "Manage stacks, and list the operations and options that they can contain."},
    {"name": "Server", "description": "Check credentials."},
]
# Operation IDs, which name the methods of generated clients, are the tag and this name or that of the action.
METHODS = {
    "Jobs destroy": "cancel",
    "Aliases update": "set",
    "Memberships update": "set_roles",
    "retrieve": "get",
    "destroy": "delete",
    "archive": "download_many",
    "copy_one": "copy",
    "destroy_by_binary_hash": "delete_by_binary_hash",
    "binary_hash": "find_by_binary_hash",
    "fields": "list_fields",
    "history": "list_versions",
    "user_metadata": "get_user_metadata",
    "replace_metadata": "replace_user_metadata",
    "change_metadata": "change_user_metadata",
    "clear_metadata": "remove_user_metadata",
    "field": "get_user_metadata_field",
    "set_field": "set_user_metadata_field",
    "remove_field": "remove_user_metadata_field",
    "set_entry": "set_dynamic_metadata",
    "remove_entry": "remove_dynamic_metadata",
    "invalidate_cache": "clear_cache",
    "clear_image": "clear_image_cache",
    "clear_alias": "clear_alias_cache",
    "autolabel": "label",
    "autodescription": "describe",
    "upsert": "create_or_update",
    "keys": "list_keys",
    "totp": "get_totp",
    "admin_keys": "list_keys_of_members",
    "change_key": "update_key",
    "current_key": "get_current_key",
    "token": "create_token",
    "post_token": "create_token_with_post",
    "memberships": "list_memberships",
    "current": "get_current",
    "sub_organizations": "list_sub_organizations",
    "billing": "get_bills",
    "sign_url": "create",
    "operations": "list_operations",
    "stack_options": "list_options",
    "root": "check_credentials",
}


class Schema(AutoSchema):
    """Adds the tag of the viewset, operation IDs such as `source_images_create`, and JSON bodies."""

    view: Any  # an AuthenticatedViewSet

    def get_tags(self) -> list[str]:
        return [self.view.tag]

    def get_operation_id(self) -> str:
        tag, action = self.view.tag, self.view.action
        method = METHODS.get(f"{tag} {action}") or METHODS.get(action, action)
        return f"{tag.lower().replace(' ', '_')}_{method}"

    def map_parsers(self) -> list[str]:
        """The server accepts JSON under any media type; client generators need exactly one."""
        return ["application/json"]


class CredentialsScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """API keys and tokens."""

    target_class = "organizations.api.authentication.CredentialsAuthentication"
    name = ["ApiKey", "Token"]

    def get_security_requirement(self, auto_schema: object) -> list[dict[str, list[Any]]]:
        """Require one of the schemes."""
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: object) -> list[dict[str, str]]:
        return [
            {"type": "apiKey", "in": "header", "name": "Api-Key"},
            {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        ]


def extend_schemas(endpoints: list[Any]) -> list[Any]:
    """Extend the schemas of the actions as `rokka.core.openapi.extend_schema` says."""
    for _, _, method, callback in endpoints:
        action = getattr(callback.cls, callback.actions[method.lower()])
        if hasattr(action, "openapi") and not hasattr(action, "kwargs"):
            extend_schema(**action.openapi)(action)
    return endpoints


def postprocess(result: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Sort paths by tag, mark anonymous operations, and add descriptions and examples."""
    result["tags"] = TAGS
    ranks = {tag["name"]: rank for rank, tag in enumerate(TAGS)}
    order = {path: min(ranks[one["tags"][0]] for one in methods.values()) for path, methods in result["paths"].items()}
    result["paths"] = {path: result["paths"][path] for path in sorted(order, key=lambda path: order[path])}
    for methods in result["paths"].values():
        for operation in methods.values():
            operation.setdefault("security", [])
            name = operation["operationId"]
            for body in (operation.get("requestBody", {}).get("content", {}) or {}).values():
                body["example"] = openapi_examples.request_example(name, body["schema"])
            for status, response in operation["responses"].items():
                response["description"] = response["description"] or HTTPStatus(int(status)).phrase
                for body in response.get("content", {}).values():
                    if body["schema"].get("format") != "binary":
                        body["example"] = openapi_examples.response_example(name, status, body["schema"])
    return result
