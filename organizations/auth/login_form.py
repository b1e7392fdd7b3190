"""Forms of the login to the admin, with a limit on failures."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from organizations.auth.ratelimits import FAILURES
from rokka.core import ratelimits
from rokka.core.addresses import client_key
from rokka.core.errors import DomainError, TooManyRequests


@contextmanager
def failures_limited(request: HttpRequest | None) -> Iterator[None]:
    """Count a ValidationError as a failure of the address. After too many, raise one without running the block."""
    client = client_key(request.META.get("REMOTE_ADDR", "") if request else "")
    try:
        ratelimits.peek(FAILURES, client)
    except TooManyRequests as error:
        message = f"Too many failed attempts from your address. Try again in {error.seconds} seconds."
        raise ValidationError(message, code="throttled") from error
    try:
        yield
    except ValidationError:
        with suppress(TooManyRequests):  # the next attempt is rejected
            ratelimits.hit((FAILURES, client))
        raise


class LoginForm(AdminAuthenticationForm):
    """Django's form, which rejects logins without checking the password after too many failures from an address."""

    def clean(self) -> dict[str, Any]:
        with failures_limited(self.request):
            return super().clean()


class CodeForm(forms.Form):
    """A code of the second factor; `check` accepts it or raises a DomainError. `result` is what it returns."""

    totp = forms.CharField(
        label="Code",
        max_length=20,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "class": "code", "autofocus": True}
        ),
    )
    result: Any = None

    def __init__(self, *args: Any, request: HttpRequest, check: Callable[[str], Any], **options: Any) -> None:
        super().__init__(*args, **options)
        self.request, self.check = request, check

    def clean(self) -> dict[str, Any]:
        if code := "".join(self.cleaned_data.get("totp", "").split()):  # apps show it in two groups of digits
            with failures_limited(self.request):
                try:
                    self.result = self.check(code)
                except DomainError as error:
                    raise ValidationError(error.message, code=error.reason) from error
        return self.cleaned_data
