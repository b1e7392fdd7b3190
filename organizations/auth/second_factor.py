"""Second factors: time-based one-time passwords (TOTP, RFC 6238), whose secrets are encrypted at rest."""

import base64
from functools import lru_cache
from typing import TYPE_CHECKING
from uuid import UUID

import pyotp
from django.conf import settings
from pyotp.exceptions import OTPVerificationError

from organizations.errors import MfaEnrollmentRequired, MfaRequired
from organizations.models import SecondFactor, User

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

ISSUER = "rokka"  # shown in authenticator apps
STEP_SECONDS = 30
DRIFT_STEPS = 1  # by which the clock of the device may be wrong, either way


def active_factor(user: User) -> SecondFactor | None:
    """The second factor of the user, if a first code has confirmed it."""
    return SecondFactor.objects.filter(user=user).exclude(confirmed=None).first()


def totp_state(user_id: UUID) -> SecondFactor.State:
    factor = SecondFactor.objects.filter(user=user_id).first()
    return factor.state if factor else SecondFactor.State.NONE


def refuse_without_code(user_id: UUID) -> None:
    """Raise the error for a key that requires a code: MfaEnrollmentRequired if the user has no second factor yet."""
    if totp_state(user_id) != SecondFactor.State.ACTIVE:
        raise MfaEnrollmentRequired("This API key requires a second factor. Set it up with POST /user/mfa/totp first.")
    raise MfaRequired("This API key requires a second factor. Get a token with POST /user/apikeys/token and a code.")


def accepted_step(secret: str, code: str, *, after: int) -> int | None:
    """The time step of which this is the code, now, or None. Steps up to `after` are used up."""
    try:
        step = _totp(secret).verify_and_get_timecode(code, valid_window=DRIFT_STEPS)
    except OTPVerificationError:
        return None
    return step if step > after else None


def new_secret() -> str:
    """160 random bits in Base32, as RFC 4226 recommends."""
    return pyotp.random_base32()


def provisioning_uri(secret: str, user: User) -> str:
    """The otpauth:// URI that authenticator apps read from a QR code."""
    return _totp(secret).provisioning_uri(name=str(user) or str(user.pk), issuer_name=ISSUER)


def _totp(secret: str) -> pyotp.TOTP:
    """Six digits, SHA-1: what all authenticator apps support."""
    return pyotp.TOTP(secret, interval=STEP_SECONDS)


def encrypt(secret: str) -> str:
    return _cipher(tuple(settings.TOKEN_SECRETS)).encrypt(secret.encode()).decode()


def decrypt(encrypted: str) -> str | None:
    """The secret, or None if the server no longer has the TOKEN_SECRETS that it was encrypted with."""
    from cryptography.fernet import InvalidToken

    try:
        return _cipher(tuple(settings.TOKEN_SECRETS)).decrypt(encrypted.encode()).decode()
    except InvalidToken:
        return None


@lru_cache(maxsize=4)
def _cipher(secrets: tuple[str, ...]) -> "MultiFernet":
    """The first secret encrypts, all decrypt, as with tokens. Each key is derived with HKDF (RFC 5869)."""
    from cryptography.fernet import Fernet, MultiFernet

    return MultiFernet([Fernet(_derived_key(secret)) for secret in secrets])


def _derived_key(secret: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    derived = HKDF(SHA256(), length=32, salt=None, info=b"rokka second factor").derive(secret.encode())
    return base64.urlsafe_b64encode(derived)
