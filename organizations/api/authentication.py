"""Authentication of API requests, by an API key (looked up by its SHA-256) or a token issued for one."""

from uuid import UUID

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from organizations.auth import tokens
from organizations.auth.credentials import Credentials, resolve_key
from organizations.models import ApiKey, User
from rokka.core.errors import InvalidToken, Unauthenticated

HINT = "Send a valid key in the Api-Key header."


def credentials(request: Request) -> Credentials:
    """Read the credentials of a request; a key takes precedence over a token. Raises Unauthenticated, InvalidToken."""
    if key := request.headers.get("Api-Key", "").strip():
        return Credentials(digest=ApiKey.digest_of(key), address=address_of(request))
    scheme, _, text = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        address = address_of(request)
        return Credentials(token=tokens.verify(text.strip(), address=address), address=address)
    raise Unauthenticated(f"API key missing. {HINT}")


def api_key_for(credentials: Credentials) -> ApiKey:
    """Return the API key, with its user. Raises Unauthenticated, InvalidToken."""
    key = resolve_key(credentials)
    if key is None and credentials.token:
        raise InvalidToken("The API key of this token was deleted. Get a new token with another key.")
    if key is None:
        raise Unauthenticated(f"Invalid API key. {HINT}")
    return key


def address_of(request: Request) -> str:
    """The client's IP address, behind trusted proxies too (TRUSTED_PROXIES); empty if unknown."""
    return request.META.get("REMOTE_ADDR") or ""


class CredentialsAuthentication(BaseAuthentication):
    """Sets (user, key ID) on requests to views outside of AuthenticatedViewSet."""

    def authenticate(self, request: Request) -> tuple[User, UUID]:
        key = api_key_for(credentials(request))
        return key.user, key.pk
