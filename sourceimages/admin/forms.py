"""Forms of the page of an image. They read types; the operations check the rules."""

from typing import Any, cast

from django import forms
from django.http import QueryDict

AREAS = {"subject_area": "Subject area", "crop_area": "Crop area"}
AREA_FIELDS = ("x", "y", "width", "height")
SAVE_MODES = {
    "new": "new image",
    "replace": "new image, and trash this one",
    "keep_hash": "this image (keep hash; cached renditions may be stale)",
}
METADATA_COLUMNS = ("field", "type", "value")


class NameForm(forms.Form):
    name = forms.CharField(required=False, strip=False)


class MetadataForm(forms.Form):
    """All fields of user metadata; `rows` are (name, type, text), as many as there are of each input."""

    version = forms.CharField()

    def clean(self) -> dict[str, Any]:
        return {**self.cleaned_data, "rows": metadata_rows_of(cast(QueryDict, self.data))}


class AreaForm(forms.Form):
    area = forms.ChoiceField(choices=list(AREAS.items()))
    save_as = forms.ChoiceField(choices=list(SAVE_MODES.items()), required=False)
    remove = forms.BooleanField(required=False)
    x = forms.CharField(required=False)
    y = forms.CharField(required=False)
    width = forms.CharField(required=False)
    height = forms.CharField(required=False)


class AliasForm(forms.Form):
    alias = forms.CharField(strip=False)


class AddAliasForm(AliasForm):
    overwrite = forms.BooleanField(required=False)


class VersionForm(forms.Form):
    version_id = forms.IntegerField(min_value=1, max_value=2**63 - 1)


def metadata_rows_of(data: QueryDict) -> list[tuple[str, str, str]]:
    """Return name, type and text of each submitted field. Raises ValidationError if the columns differ in length."""
    columns = [[str(text) for text in data.getlist(name)] for name in METADATA_COLUMNS]
    if len({len(column) for column in columns}) > 1:
        raise forms.ValidationError("Invalid request: incomplete form. Reload the page and try again.")
    return [(name.strip(), kind, text) for name, kind, text in zip(*columns, strict=True)]
