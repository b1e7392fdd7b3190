"""Operations on the second factor (TOTP) of a user."""

from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from organizations.audit import Actor, record
from organizations.auth.second_factor import (
    accepted_step,
    active_factor,
    decrypt,
    encrypt,
    new_secret,
    provisioning_uri,
)
from organizations.errors import TotpActive, TotpInvalid, TotpRateLimited
from organizations.models import ApiKey, SecondFactor, User

MAX_ATTEMPTS = 5  # wrong codes per user in a period. The row counts them, so that they count in all processes
PERIOD = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class NewSecondFactor:
    """A second factor that waits for its first code. The secret is available only here."""

    factor: SecondFactor
    secret: str
    provisioning_uri: str


@transaction.atomic
def set_up_totp(user: User, *, actor: Actor) -> NewSecondFactor:
    """Create a secret, in place of one that was not confirmed. Raises TotpActive."""
    User.objects.select_for_update().get(pk=user.pk)
    if active_factor(user):
        raise TotpActive("You already have a second factor. Remove it with a code first.")
    secret = new_secret()
    SecondFactor.objects.filter(user=user).delete()
    factor = SecondFactor.objects.create(user=user, encrypted_secret=encrypt(secret))
    record(actor, "second_factor.created", target=str(user.pk), target_id=factor.pk)
    return NewSecondFactor(factor, secret, provisioning_uri(secret, user))


def confirm_totp(user: User, code: str, *, actor: Actor) -> SecondFactor:
    """Activate the second factor with its first code. Raises TotpActive, TotpInvalid, TotpRateLimited."""
    if active_factor(user):
        raise TotpActive("Your second factor is already active.")
    factor = _use_code(user, code)
    with transaction.atomic():
        factor.confirmed = timezone.now()
        if not SecondFactor.objects.filter(pk=factor.pk, confirmed=None).update(confirmed=factor.confirmed):
            raise TotpInvalid("Another request has changed your second factor. Use a code of the newest secret.")
        record(actor, "second_factor.confirmed", target=str(user.pk), target_id=factor.pk)
    return factor


def use_totp(user: User, code: str) -> SecondFactor:
    """Accept a code once. Raises TotpInvalid, also without an active second factor, and TotpRateLimited."""
    if not active_factor(user):
        raise TotpInvalid("You have no second factor. Leave out totp.")
    return _use_code(user, code)


def remove_totp(user: User, *, actor: Actor, code: str | None = None) -> None:
    """Remove the second factor, and the requirement of one from all keys of the user.

    A code is needed except by operators. Raises TotpInvalid, TotpRateLimited.
    """
    if code is not None:
        _use_code(user, code)
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        keys = ApiKey.objects.filter(user=user, requires_mfa=True).update(requires_mfa=False)
        for factor in SecondFactor.objects.filter(user=user):
            record(actor, "second_factor.deleted", target=str(user.pk), target_id=factor.pk, keys=keys)
            factor.delete()


def _use_code(user: User, code: str) -> SecondFactor:
    """Return the second factor of which this is an unused code. Raises TotpInvalid, TotpRateLimited.

    Failed attempts are committed before the error is raised: don't call it in a transaction.
    """
    with transaction.atomic():
        factor = SecondFactor.objects.select_for_update().filter(user=user).first()
        if factor is None:
            raise TotpInvalid("You have no second factor. Set it up first.")
        now = timezone.now()
        if factor.attempts_since is None or factor.attempts_since + PERIOD <= now:
            factor.attempts, factor.attempts_since = 0, now
        if factor.attempts >= MAX_ATTEMPTS:
            seconds = int((factor.attempts_since + PERIOD - now).total_seconds()) + 1
            raise TotpRateLimited(f"Too many wrong codes. Try again in {seconds} seconds.", retry_after=seconds)
        secret = decrypt(factor.encrypted_secret)
        step = secret and accepted_step(secret, code, after=factor.last_step)
        if step:
            factor.attempts, factor.last_step = 0, step
            factor.encrypted_secret = encrypt(str(secret))  # with the newest of TOKEN_SECRETS
        else:
            factor.attempts += 1
        factor.save(update_fields=["attempts", "attempts_since", "last_step", "encrypted_secret"])
    if not step:
        raise TotpInvalid("Invalid code. Each code can be used once; wait for the next one.")
    return factor
