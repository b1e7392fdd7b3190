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
# Written out once more, as it is promised: what is derived from the code would agree with whatever the code does.
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
    """All rows of accounts: equal before and after whatever changes nothing."""
    models = apps.get_app_config("organizations").get_models()
    return {model.__name__: list(model._default_manager.order_by("pk").values()) for model in models}


def in_database(secret: str) -> bool:
    """Is it in any column of any table, sessions included?"""
    return any(secret in str(row) for model in apps.get_models() for row in model._default_manager.values())


def carried(client: Client) -> str:
    """What a browser and its session take along to the next page."""
    return f"{dict(client.session.items())} {client.cookies.output()}"


def secret_of(answer: Any) -> str:
    found = re.search(r'<code class="secret">([^<]+)</code>', answer.content.decode())
    assert found, "no secret is shown"
    return found[1]


def without_tokens(answer: Any) -> str:
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", answer.content.decode())
