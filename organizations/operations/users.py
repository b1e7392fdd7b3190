"""Operations on users and API keys."""

import re
from dataclasses import dataclass

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from organizations.audit import Actor, record
from organizations.errors import KeyInUse, KeyNotFound, TooManyKeys
from organizations.models import ApiKey, Organization, User
from organizations.operations.last_admin import check_not_last_admin
from organizations.operations.validation import clean_email, validate_comment, validate_text
from rokka.core.database import translate_conflict
from rokka.core.errors import Conflict, InvalidInput, Unauthenticated

MAX_USERNAME_LENGTH, MAX_PASSWORD_LENGTH = 150, 1000
IMPORTABLE = re.compile(r"[0-9A-Za-z]{32}([0-9A-Za-z]{32})?\Z")


@dataclass(frozen=True, slots=True)
class NewUser:
    """A new user with its first API key, which is available only here."""

    user: User
    api_key: str


@transaction.atomic
def create_user(email: str, *, actor: Actor, comment: str = "") -> NewUser:
    """Create a user with an API key. Several users can have the same email. Raises InvalidInput."""
    user = User(email=clean_email(email))
    user.set_unusable_password()
    user.save()
    record(actor, "user.created", target=str(user.pk), target_id=user.pk, email=email)
    return NewUser(user, create_key(user, comment=comment, actor=actor)[1])


@transaction.atomic
def create_key(user: User, *, comment: str, actor: Actor) -> tuple[ApiKey, str]:
    """Create an API key for the user; returns the row and the key. Raises TooManyKeys."""
    User.objects.select_for_update().get(pk=user.pk)  # or concurrent requests could exceed the limit
    if user.api_keys.count() >= ApiKey.MAX_KEYS:
        raise TooManyKeys(f"A user can have at most {ApiKey.MAX_KEYS} API keys. Delete one first.")
    return _insert(user, ApiKey.new_key(user), comment=comment, actor=actor)


@transaction.atomic
def import_key(user: User, key: str, *, comment: str, actor: Actor) -> ApiKey:
    """Add an existing API key from rokka.io (32 or 64 letters and digits). Raises InvalidInput, Conflict."""
    if not IMPORTABLE.match(key):
        raise InvalidInput("Invalid API key. It must have 32 or 64 letters and digits.")
    with translate_conflict(Conflict("This API key already exists."), "api_key_digest_unique"):
        return _insert(user, key, comment=comment, actor=actor)[0]


@transaction.atomic
def delete_key(user: User, key_id: str, *, actor: Actor) -> None:
    """Delete an API key; tokens issued for it become invalid. Raises KeyNotFound, KeyInUse, Unauthenticated."""
    User.objects.select_for_update().get(pk=user.pk)
    keys = {str(key.pk): key for key in user.api_keys.all()}
    if actor.api_key_id is not None and str(actor.api_key_id) not in keys:
        raise Unauthenticated("This API key has just been deleted.")  # by a concurrent request
    if key_id not in keys:
        raise KeyNotFound("API key not found.")
    if key_id == str(actor.api_key_id):
        raise KeyInUse("This is the API key of this request. Use another key to delete it.")
    record(actor, "api_key.deleted", target=str(user.pk), target_id=key_id, comment=keys[key_id].comment)
    keys[key_id].delete()


@transaction.atomic
def create_staff(username: str, password: str, *, email: str, superuser: bool = False, actor: Actor) -> User:
    """Create a staff user for the admin; a superuser has all permissions in all organizations.

    Raises InvalidInput with all problems of the password, and Conflict if the username is taken.
    """
    if not validate_text("username", username, MAX_USERNAME_LENGTH):
        raise InvalidInput("username: required.")
    validate_text("password", password, MAX_PASSWORD_LENGTH)
    user = User(username=username, email=clean_email(email), is_staff=True, is_superuser=superuser)
    try:
        user.clean_fields(exclude=["password"])
        validate_password(password, user)
        user.set_password(password)
    except ValidationError as error:
        raise InvalidInput(" ".join(error.messages)) from error
    taken = Conflict(f"A user named {username!r} already exists. Choose another username.")
    with translate_conflict(taken, "user_username_unique"):
        user.save()
    record(
        actor,
        "user.created",
        target=username[:80],
        target_id=user.pk,
        username=username,
        staff=True,
        superuser=superuser,
    )
    return user


@transaction.atomic
def set_active(user: User, active: bool, *, actor: Actor) -> None:
    """Activate or deactivate a user: its keys, tokens and password. Raises LastAdmin."""
    if not active:
        for organization in Organization.objects.filter(memberships__user=user).order_by("pk"):
            locked = Organization.objects.get_for_update(organization)  # so that roles don't change concurrently
            if membership := locked.memberships.select_related("organization", "user").filter(user=user).first():
                check_not_last_admin(membership)
    if User.objects.filter(pk=user.pk).exclude(is_active=active).update(is_active=active):
        record(actor, "user.activated" if active else "user.deactivated", target=str(user.pk), target_id=user.pk)


def _insert(user: User, key: str, *, comment: str, actor: Actor) -> tuple[ApiKey, str]:
    row = ApiKey.objects.create(user=user, digest=ApiKey.digest_of(key), comment=validate_comment(comment))
    record(actor, "api_key.created", target=str(user.pk), target_id=row.pk, comment=comment)
    return row, key
