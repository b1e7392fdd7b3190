"""Operations on users and API keys."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from organizations.audit import Actor, record
from organizations.auth.consent import is_public
from organizations.auth.restrictions import KeyLimit, Restrictions, covers, is_allowed, restrictions_of
from organizations.auth.second_factor import totp_state
from organizations.errors import KeyInUse, KeyNotFound, TooManyKeys, WouldLockOut
from organizations.models import ApiKey, AuditSource, Organization, SecondFactor, User
from organizations.operations.last_admin import check_not_last_admin
from organizations.operations.validation import clean_email, validate_comment, validate_text
from rokka.core.clock import rfc3339
from rokka.core.database import translate_conflict
from rokka.core.errors import Conflict, InvalidInput, Unauthenticated

MAX_USERNAME_LENGTH, MAX_PASSWORD_LENGTH = 150, 1000
LEGACY_LENGTH = 32  # characters of the old keys of rokka.io
IMPORTABLE = re.compile(r"[0-9A-Za-z]{32}([0-9A-Za-z]{32})?\Z")


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """Options of a new API key."""

    restrictions: Restrictions = field(default_factory=Restrictions)
    trusted: bool = False


NO_OPTIONS = KeyOptions()
LEGACY_KEY = "Keys with 32 characters can't be restricted. Create a new key."


@dataclass(frozen=True, slots=True)
class NewUser:
    """A new user with its first API key, which is available only here."""

    user: User
    api_key: str


@transaction.atomic
def create_user(email: str, *, actor: Actor, comment: str = "", key_options: KeyOptions = NO_OPTIONS) -> NewUser:
    """Create a user with an API key. Several users can have the same email. Raises InvalidInput."""
    user = User(email=clean_email(email))
    user.set_unusable_password()
    user.save()
    record(actor, "user.created", target=str(user.pk), target_id=user.pk, email=email)
    return NewUser(user, create_key(user, comment=comment, options=key_options, actor=actor)[1])


@transaction.atomic
def create_key(user: User, *, comment: str, options: KeyOptions = NO_OPTIONS, actor: Actor) -> tuple[ApiKey, str]:
    """Create an API key for the user; returns the row and the key. Raises TooManyKeys, InvalidInput."""
    User.objects.select_for_update().get(pk=user.pk)  # or concurrent requests could exceed the limit
    if user.api_keys.count() >= ApiKey.MAX_KEYS:
        raise TooManyKeys(f"A user can have at most {ApiKey.MAX_KEYS} API keys. Delete one first.")
    return _insert(user, ApiKey.new_key(user), comment=comment, options=options, actor=actor)


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
    key = _key_for_update(user, key_id, actor)
    if key.pk == actor.api_key_id:
        raise KeyInUse("This is the API key of this request. Use another key to delete it.")
    record(actor, "api_key.deleted", target=str(user.pk), target_id=key_id, comment=key.comment)
    key.delete()


@transaction.atomic
def update_key(
    user: User,
    key_id: str,
    changes: Mapping[str, Any],
    *,
    limit: KeyLimit | None = None,
    force: bool = False,
    actor: Actor,
) -> ApiKey:
    """Change `allowed_ips` (texts or None), `expires`, `trusted` and `requires_mfa` of an API key; for its tokens too.

    With a `limit`, nothing becomes weaker than that. Unless `force`, the key of the request is not locked out, and
    staff users, whose requests have no key, lock out none. Raises KeyNotFound, InvalidInput, WouldLockOut,
    LessRestricted, Unauthenticated.
    """
    key = _key_for_update(user, key_id, actor)
    if key.is_legacy:
        raise InvalidInput(LEGACY_KEY)
    details_before, before = _details(key), KeyOptions(restrictions_of(key), key.trusted)
    for name, value in changes.items():
        setattr(key, name, (list(value or ()) or None) if name == "allowed_ips" else value)
    if limit is not None:
        restrictions_of(key).check_at_least(limit.restrictions, before.restrictions)
        limit.check_trusted(key.trusted and not before.trusted)
    if changes.keys() & {"requires_mfa", "trusted"}:
        _check_can_set_up_totp(key)
    if not force and (problems := list(_lockouts(key, before, actor))):
        raise WouldLockOut(" ".join(problems), problems=problems)
    if (details := _details(key)) != details_before:
        key.save(update_fields=["allowed_ips", "expires", "trusted", "requires_mfa"])
        record(actor, "api_key.updated", target=str(user.pk), target_id=key_id, before=details_before, after=details)
    return key


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


def _insert(
    user: User, key: str, *, comment: str, options: KeyOptions = NO_OPTIONS, actor: Actor
) -> tuple[ApiKey, str]:
    row = ApiKey(
        user=user,
        digest=ApiKey.digest_of(key),
        comment=validate_comment(comment),
        allowed_ips=list(options.restrictions.allowed_ips) or None,
        expires=options.restrictions.expires,
        trusted=options.trusted,
        requires_mfa=options.restrictions.requires_mfa,
        is_legacy=len(key) == LEGACY_LENGTH,
        from_token=bool(actor.token) or _is_from_token(actor.api_key_id),
    )
    _check_can_set_up_totp(row)
    row.save(force_insert=True)
    details = {name: value for name, value in _details(row).items() if value}
    if row.from_token:
        details["from_token"] = True
    record(actor, "api_key.created", target=str(user.pk), target_id=row.pk, comment=comment, **details)
    return row, key


def _is_from_token(key_id: UUID | None) -> bool:
    return key_id is not None and ApiKey.objects.filter(pk=key_id, from_token=True).exists()


def _key_for_update(user: User, key_id: str, actor: Actor) -> ApiKey:
    """Return a key of the user; concurrent changes of its keys wait. Raises KeyNotFound, Unauthenticated."""
    User.objects.select_for_update().get(pk=user.pk)
    keys = {str(key.pk): key for key in user.api_keys.all()}
    if actor.api_key_id is not None and str(actor.api_key_id) not in keys:
        raise Unauthenticated("This API key has just been deleted.")  # by a concurrent request
    if key_id not in keys:
        raise KeyNotFound("API key not found.")
    return keys[key_id]


def _check_can_set_up_totp(key: ApiKey) -> None:
    """Raise InvalidInput for a key that requires a second factor which its user could never set up."""
    if not key.requires_mfa or key.trusted or not is_public(key.user) or _has_other_trusted_key(key):
        return
    if totp_state(key.user_id) != SecondFactor.State.ACTIVE:
        raise InvalidInput("requires_mfa: of a public user needs trusted, or the second factor could not be set up.")


def _lockouts(key: ApiKey, before: KeyOptions, actor: Actor) -> Iterator[str]:
    """How the change locks out the key of the request or, if the actor is a staff user, any key."""
    is_own = key.pk == actor.api_key_id
    if not is_own and actor.source != AuditSource.STAFF:
        return
    addresses = tuple(key.allowed_ips or ())
    if is_own and not is_allowed(addresses, actor.address or ""):
        yield "allowed_ips: does not include your address."
    elif not is_own and not covers(addresses, before.restrictions.allowed_ips):
        yield "allowed_ips: clients at other addresses can no longer use this key."
    if key.expires != before.restrictions.expires and key.expires is not None and key.expires <= timezone.now():
        yield "expires: must be in the future."
    if key.requires_mfa and not before.restrictions.requires_mfa:
        if totp_state(key.user_id) != SecondFactor.State.ACTIVE:
            yield "requires_mfa: the user has no second factor, and has to set it up first."
        elif not is_own:
            yield "requires_mfa: clients can no longer use this key without a code."
    if before.trusted and not key.trusted and is_public(key.user) and not _has_other_trusted_key(key):
        yield "trusted: this is the last trusted key of a public user."


def _has_other_trusted_key(key: ApiKey) -> bool:
    """Return whether the user has another trusted key that has not expired."""
    others = key.user.api_keys.filter(trusted=True).exclude(pk=key.pk)
    return others.filter(Q(expires=None) | Q(expires__gt=timezone.now())).exists()


def _details(key: ApiKey) -> dict[str, Any]:
    """The options of a key as JSON, for the audit log."""
    expires = key.expires and rfc3339(key.expires)
    return {
        "allowed_ips": key.allowed_ips,
        "expires": expires,
        "trusted": key.trusted,
        "requires_mfa": key.requires_mfa,
    }
