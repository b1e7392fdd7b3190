"""Users and their keys."""

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
    """A user with the first key, which is shown here and never again."""

    user: User
    api_key: str


@transaction.atomic
def create_user(email: str, *, actor: Actor, comment: str = "") -> NewUser:
    """Make a user for this address, which may have others, with a key."""
    user = User(email=clean_email(email))
    user.set_unusable_password()
    user.save()
    record(actor, "user.created", target=str(user.pk), target_id=user.pk, email=email)
    return NewUser(user, create_key(user, comment=comment, actor=actor)[1])


@transaction.atomic
def create_key(user: User, *, comment: str, actor: Actor) -> tuple[ApiKey, str]:
    """One more key for the user. Raises TooManyKeys."""
    User.objects.select_for_update().get(pk=user.pk)  # two at once must not both be the fifth
    if user.api_keys.count() >= ApiKey.MAX_KEYS:
        raise TooManyKeys(f"There are {ApiKey.MAX_KEYS} keys already, the limit of a user. Delete one first.")
    return _insert(user, ApiKey.new_key(user), comment=comment, actor=actor)


@transaction.atomic
def import_key(user: User, key: str, *, comment: str, actor: Actor) -> ApiKey:
    """Make a key valid that somebody has already, from rokka.io: 32 or 64 letters and digits."""
    if not IMPORTABLE.match(key):
        raise InvalidInput("A key has 32 or 64 letters and digits.")
    with translate_conflict(Conflict("This key is in use already."), "api_key_digest_unique"):
        return _insert(user, key, comment=comment, actor=actor)[0]


@transaction.atomic
def delete_key(user: User, key_id: str, *, actor: Actor) -> None:
    """Take a key, and every token that was made with it, out of use. Raises KeyNotFound, KeyInUse."""
    User.objects.select_for_update().get(pk=user.pk)
    keys = {str(key.pk): key for key in user.api_keys.all()}
    if actor.api_key_id is not None and str(actor.api_key_id) not in keys:
        raise Unauthenticated("This Api-Key was deleted a moment ago.")  # by another of the keys, which stays
    if key_id not in keys:
        raise KeyNotFound("You have no key with this id.")
    if key_id == str(actor.api_key_id):
        raise KeyInUse("This is the key of this very request. Delete it with another one.")
    record(actor, "api_key.deleted", target=str(user.pk), target_id=key_id, comment=keys[key_id].comment)
    keys[key_id].delete()


@transaction.atomic
def create_staff(username: str, password: str, *, email: str, superuser: bool = False, actor: Actor) -> User:
    """Make a person for the back-office; a superuser may do everything everywhere.

    Raises Invalid with everything that is wrong with the password.
    """
    if not validate_text("username", username, MAX_USERNAME_LENGTH):
        raise InvalidInput("username: it is missing.")
    validate_text("password", password, MAX_PASSWORD_LENGTH)
    user = User(username=username, email=clean_email(email), is_staff=True, is_superuser=superuser)
    try:
        user.clean_fields(exclude=["password"])
        validate_password(password, user)
        user.set_password(password)
    except ValidationError as error:
        raise InvalidInput(" ".join(error.messages)) from error
    with translate_conflict(Conflict(f"There is already somebody called {username!r}."), "user_username_unique"):
        user.save()
    record(actor, "staff.created", target=username[:80], target_id=user.pk, username=username, superuser=superuser)
    return user


@transaction.atomic
def set_active(user: User, active: bool, *, actor: Actor) -> None:
    """Let a person act, or not any more: neither by key, token or password. Raises LastAdmin."""
    if not active:
        for organization in Organization.objects.filter(memberships__user=user).order_by("pk"):
            held = Organization.objects.get_for_update(
                organization
            )  # roles may have changed until now, and cannot from here on
            if membership := held.memberships.select_related("organization", "user").filter(user=user).first():
                check_not_last_admin(membership)
    changed = User.objects.filter(pk=user.pk).exclude(is_active=active).update(is_active=active)
    if changed:
        record(actor, "user.activated" if active else "user.deactivated", target=str(user.pk), target_id=user.pk)


def _insert(user: User, key: str, *, comment: str, actor: Actor) -> tuple[ApiKey, str]:
    row = ApiKey.objects.create(user=user, digest=ApiKey.digest_of(key), comment=validate_comment(comment))
    record(actor, "api_key.created", target=str(user.pk), target_id=row.pk, comment=comment)
    return row, key
