"""Forms of the admin. They read types; the operations check the rules."""

from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS
from django.http import QueryDict

from organizations.options import OPTIONS
from organizations.permissions import Role
from rokka.core.errors import InvalidInput


def cleaned_data(form_class: type[forms.Form], data: QueryDict) -> dict[str, Any]:
    """Return the cleaned data of a form. Raises InvalidInput with the first error, prefixed with its field."""
    form = form_class(data)
    if form.is_valid():
        cleaned: dict[str, Any] = form.cleaned_data
        return cleaned
    field, errors = next(iter(form.errors.items()))
    raise InvalidInput(f"{errors[0]}" if field == NON_FIELD_ERRORS else f"{field}: {errors[0]}")


class EmptyForm(forms.Form):
    """For actions without data."""


class CreateOrganizationForm(forms.Form):
    name = forms.CharField(required=False)
    email = forms.CharField(required=False)


class AddStaffForm(forms.Form):
    username = forms.CharField(required=False)
    email = forms.CharField(required=False)
    password = forms.CharField(required=False, strip=False)


class CreateKeyForm(forms.Form):
    comment = forms.CharField(required=False, strip=False)


class KeyForm(forms.Form):
    key = forms.CharField()


class MemberForm(forms.Form):
    user = forms.UUIDField()


class RolesForm(forms.Form):
    roles = forms.MultipleChoiceField(choices=[(role.value, role.value) for role in Role])
    comment = forms.CharField(required=False, strip=False)


class AddMemberForm(RolesForm):
    who = forms.CharField()


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
