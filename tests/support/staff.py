"""Staff users, and helpers for tests of the admin."""

import re
from typing import Any

from django.apps import apps
from django.test import Client

from organizations.models import Membership, Organization, User
from organizations.permissions import Role

ORGANIZATIONS = "/admin/organizations/organization"
USERS = "/admin/organizations/user"
TABS = ("usage", "members", "settings", "keys", "history")
# Repeated here instead of derived from the code, which would always agree with itself.
SEEN = {
    Role.ADMIN: set(TABS),
    Role.ADMIN_READ: {"usage", "members", "settings"},
    Role.WRITE: {"usage", "settings"},
    Role.READ: {"usage", "settings"},
}
NUL, LONG = "a\0b", "x" * 10_000


def superuser(name: str = "root") -> User:
    return User.objects.create_superuser(name, "a long password", email=f"{name}@example.org")


def helper(organization: Organization | None = None, *roles: str, name: str = "sam", active: bool = True) -> User:
    """Create a staff user with these roles in the organization."""
    user = User.objects.create(username=name, email=f"{name}@example.org", is_staff=True)
    if organization is not None:
        Membership.objects.create(organization=organization, user=user, roles=list(roles), active=active)
    return user


def logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def page(organization: Organization, tab: str) -> str:
    return f"{ORGANIZATIONS}/{organization.pk}/{tab}/"


def everything() -> dict[str, list[Any]]:
    """All rows of the accounts app, to assert that nothing changes."""
    models = apps.get_app_config("organizations").get_models()
    return {model.__name__: list(model._default_manager.order_by("pk").values()) for model in models}


def in_database(secret: str) -> bool:
    """Return whether the secret is in any column of any table, including sessions."""
    return any(secret in str(row) for model in apps.get_models() for row in model._default_manager.values())


def carried(client: Client) -> str:
    """The session and the cookies of a client."""
    return f"{dict(client.session.items())} {client.cookies.output()}"


def secret_of(response: Any) -> str:
    match = re.search(r'<code class="secret">([^<]+)</code>', response.content.decode())
    assert match, "no secret is shown"
    return match[1]


def without_tokens(response: Any) -> str:
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", response.content.decode())
