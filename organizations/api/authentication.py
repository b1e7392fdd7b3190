"""Who calls: an API key, looked up by its sha256, or a token that was made with one."""

from uuid import UUID

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from organizations.auth import tokens
from organizations.auth.credentials import Credentials, resolve_key
from organizations.models import ApiKey, User
from rokka.core.errors import InvalidToken, Unauthenticated

HINT = "Send a valid key in the Api-Key header."


def credentials(request: Request) -> Credentials:
    """What the request shows; a key counts before a token. Raises Unauthenticated, InvalidToken."""
    if key := request.headers.get("Api-Key", "").strip():
        return Credentials(digest=ApiKey.digest_of(key))
    scheme, _, text = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return Credentials(token=tokens.verify(text.strip(), address=address_of(request)))
    raise Unauthenticated(f"There is no Api-Key in this request. {HINT}")


def api_key_for(shown: Credentials) -> ApiKey:
    """The key itself, with its user. Raises Unauthenticated, InvalidToken."""
    key = resolve_key(shown)
    if key is None and shown.token:
        raise InvalidToken("The Api-Key that this token was made with is gone.")
    if key is None:
        raise Unauthenticated(f"This Api-Key is not valid. {HINT}")
    return key


def address_of(request: Request) -> str:
    """The address of the client, as far as it is known (TRUSTED_PROXIES)."""
    return request.META.get("REMOTE_ADDR") or ""


class CredentialsAuthentication(BaseAuthentication):
    """(user, id of the key), for views that are no scope's."""

    def authenticate(self, request: Request) -> tuple[User, UUID]:
        key = api_key_for(credentials(request))
        return key.user, key.pk
