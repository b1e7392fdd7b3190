"""Forms of the admin. They read types; the operations check the rules."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS
from django.http import QueryDict

from organizations.auth.restrictions import Restrictions, parse_allowed_ips, parse_expires
from organizations.models import ApiKey
from organizations.operations import KeyOptions
from organizations.options import OPTIONS
from organizations.permissions import Role
from rokka.core.errors import InvalidInput

LOCAL_TIME = re.compile(r"\d{4,}-\d\d-\d\dT\d\d:\d\d(:\d\d)?\Z")  # what browsers send, without time zone


def cleaned_data(form_class: type[forms.Form], data: QueryDict) -> dict[str, Any]:
    """Return the cleaned data of a form. Raises InvalidInput as `check`."""
    form = form_class(data)
    check(form)
    cleaned: dict[str, Any] = form.cleaned_data
    return cleaned


def check(form: forms.Form) -> None:
    """Raise InvalidInput with the first error of the submitted form, prefixed with the label of its field."""
    if form.is_valid():
        return
    field, errors = next(iter(form.errors.items()))
    raise InvalidInput(f"{errors[0]}" if field == NON_FIELD_ERRORS else f"{form[field].label}: {errors[0]}")


class EmptyForm(forms.Form):
    """For actions without data."""


class CreateOrganizationForm(forms.Form):
    name = forms.CharField(required=False)
    email = forms.CharField(required=False)


class AddStaffForm(forms.Form):
    username = forms.CharField(required=False)
    email = forms.CharField(required=False)
    password = forms.CharField(required=False, strip=False)


class KeyOptionsForm(forms.Form):
    """Restrictions of an API key, as the API parses them."""

    allowed_ips = forms.CharField(
        label="Allowed IP addresses",
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Addresses and IPv4 networks such as 192.0.2.0/24, one per line. Empty: any address.",
    )
    expires = forms.CharField(
        label="Expires (UTC)",
        required=False,
        max_length=40,
        widget=forms.TextInput(attrs={"type": "datetime-local", "step": 1}),
        help_text="Empty: never.",
    )
    requires_mfa = forms.BooleanField(
        label="Requires a second factor",
        required=False,
        help_text="The key can only be exchanged for a token, with a code.",
    )
    trusted = forms.BooleanField(
        label="Trusted",
        required=False,
        help_text="This key is never given to others. It manages the keys, second factor and memberships of the user "
        "even if the other keys are public.",
    )

    def __init__(self, data: QueryDict | None = None, *, key: ApiKey | None = None) -> None:
        super().__init__(data, initial=_initial(key) if key else None)
        self.key = key

    def clean_allowed_ips(self) -> list[str] | None:
        with _as_validation_error("allowed_ips"):
            entries = re.split(r"[\s,]+", self.cleaned_data["allowed_ips"].strip(" ,"))
            return list(parse_allowed_ips([entry for entry in entries if entry])) or None

    def clean_expires(self) -> datetime | None:
        text = self.cleaned_data["expires"]
        if not text:
            return None
        zoned = f"{text}Z" if LOCAL_TIME.match(text) else text
        with _as_validation_error("expires"):
            parsed = parse_expires(zoned, past=True)
            if self.key is None or parsed != self.key.expires:  # a key that has expired can be changed
                parse_expires(zoned)
            return parsed

    def changes(self) -> dict[str, Any]:
        """The options in which the submitted form differs from the key."""
        return {
            name: self.cleaned_data[name] for name in OPTION_NAMES if self.cleaned_data[name] != getattr(self.key, name)
        }

    def key_options(self) -> KeyOptions:
        """The options of a new key."""
        restrictions = Restrictions(
            tuple(self.cleaned_data["allowed_ips"] or ()),
            self.cleaned_data["expires"],
            self.cleaned_data["requires_mfa"],
        )
        return KeyOptions(restrictions, self.cleaned_data["trusted"])


OPTION_NAMES = tuple(KeyOptionsForm.base_fields)


def _initial(key: ApiKey) -> dict[str, Any]:
    return {
        "allowed_ips": "\n".join(key.allowed_ips or ()),
        "expires": key.expires.strftime("%Y-%m-%dT%H:%M:%S") if key.expires else "",
        "requires_mfa": key.requires_mfa,
        "trusted": key.trusted,
    }


@contextmanager
def _as_validation_error(field: str) -> Iterator[None]:
    try:
        yield
    except InvalidInput as error:
        raise forms.ValidationError(error.message.removeprefix(f"{field}: ")) from error


class CreateKeyForm(KeyOptionsForm):
    comment = forms.CharField(required=False, strip=False)


class KeyForm(forms.Form):
    key = forms.CharField()


class MemberForm(forms.Form):
    user = forms.UUIDField()


class RolesForm(forms.Form):
    roles = forms.MultipleChoiceField(choices=[(role.value, role.value) for role in Role])
    comment = forms.CharField(required=False, strip=False)


class AddMemberForm(RolesForm):
    who = forms.CharField(label="User")


class ChangeMemberForm(MemberForm, RolesForm):
    pass


class ProfileForm(forms.Form):
    display_name = forms.CharField()
    billing_email = forms.CharField(required=False)


class OptionsForm(forms.Form):
    """One text per option; empty means not set."""

    def __init__(self, data: QueryDict) -> None:
        super().__init__(data)
        self.fields |= {name: forms.CharField(required=False) for name in OPTIONS}

    def clean(self) -> dict[str, str]:
        return {name: text.replace("\r\n", "\n") for name, text in self.cleaned_data.items()}
