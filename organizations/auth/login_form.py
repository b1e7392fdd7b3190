"""Login form of the admin."""

from contextlib import suppress
from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError

from organizations.auth.ratelimits import FAILURES
from rokka.core import ratelimits
from rokka.core.errors import TooManyRequests


class LoginForm(AdminAuthenticationForm):
    """Django's form, which rejects logins without checking the password after too many failures from an address."""

    def clean(self) -> dict[str, Any]:
        address = self.request.META.get("REMOTE_ADDR", "") if self.request else ""
        try:
            ratelimits.peek(FAILURES, address)
        except TooManyRequests as error:
            message = f"Too many failed attempts from your address. Try again in {error.seconds} seconds."
            raise ValidationError(message, code="throttled") from error
        try:
            return super().clean()
        except ValidationError:
            _count_failure(address)
            raise


def _count_failure(address: str) -> None:
    with suppress(TooManyRequests):  # the next attempt is rejected
        ratelimits.hit((FAILURES, address))
