"""Who calls: the Api-Key header, looked up by its sha256 in one query."""

from uuid import UUID

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from organizations.models import ApiKey, User
from rokka.errors import Unauthenticated

HINT = "Send a valid key in the Api-Key header."


def sent_key(request: Request) -> str:
    """What the Api-Key header holds; nothing if there is none."""
    return request.headers.get("Api-Key", "").strip()


class ApiKeyAuthentication(BaseAuthentication):
    """(user, id of the key) behind `Api-Key: <key>`; an unknown key is refused even where none is needed."""

    def authenticate(self, request: Request) -> tuple[User, UUID]:
        sent = sent_key(request)
        if not sent:
            raise Unauthenticated(f"There is no Api-Key in this request. {HINT}")
        key = ApiKey.objects.select_related("user").filter(digest=ApiKey.digest_of(sent)).first()
        if key is None or not key.user.is_active:
            raise Unauthenticated(f"This Api-Key is not valid. {HINT}")
        return key.user, key.pk


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The same, for the OpenAPI document."""

    target_class = ApiKeyAuthentication
    name = "ApiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "Api-Key"}
