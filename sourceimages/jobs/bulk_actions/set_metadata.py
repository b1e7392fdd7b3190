from collections.abc import Sequence
from typing import Any

from django import forms

from organizations.audit import Actor
from organizations.permissions import Permission
from rokka.core.errors import DomainError
from sourceimages import metadata
from sourceimages.jobs.bulk_actions.base import BulkAction, BulkActionForm, Params
from sourceimages.jobs.registry import register
from sourceimages.metadata.user import USER_TYPES, parse_form_value
from sourceimages.models import SourceImage
from sourceimages.operations.delete import check_not_locked
from sourceimages.operations.update import set_user_metadata_many
from sourceimages.outcomes import Outcome


class MetadataForm(BulkActionForm):
    """One field of user metadata, to set or to remove."""

    name = forms.CharField(
        label="Field",
        help_text="Lowercase letters, digits and underscores.",
        widget=forms.TextInput(attrs={"pattern": "[a-z0-9_]{1,54}", "autocomplete": "off"}),
        required=False,
    )
    type = forms.ChoiceField(choices=[(name, name) for name in USER_TYPES], initial="str", required=False)
    value = forms.CharField(
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="One array element per line. Dates as 2026-03-05T09:30:00Z, locations as 47.38,8.52.",
    )
    remove = forms.BooleanField(required=False, label="Remove the field")

    def params(self) -> Params:
        """Raises InvalidMetadata."""
        sent: dict[str, Any] = self.cleaned_data
        kind = sent["type"] or "str"
        value = None if sent["remove"] else parse_form_value(kind, sent["value"])
        return {"changes": metadata.user_metadata({f"{kind}:{sent['name']}": value})}


@register
class SetMetadata(BulkAction):
    name, label = "set_metadata", "Edit metadata"
    help_text = "Sets or removes one field of user metadata on every image. Other fields don't change."
    permission = Permission.IMAGES_WRITE
    outcomes = (Outcome.UPDATED, Outcome.UNCHANGED)
    set_based = True
    skips_locked = True
    form_class = MetadataForm
    required_params = frozenset({"changes"})

    def is_applicable(self, image: SourceImage) -> bool:
        return False  # its page has a form for all fields

    def apply(self, images: Sequence[SourceImage], params: Params, actor: Actor) -> list[Outcome | DomainError]:
        after: dict[SourceImage, dict[str, Any]] = {}
        refused: dict[SourceImage, DomainError] = {}
        for image in images:
            try:
                check_not_locked(image)
                after[image] = metadata.apply_changes(image.user_metadata, params["changes"])
            except DomainError as error:
                refused[image] = error
        changed = set_user_metadata_many(after, actor)
        return [refused.get(image) or (Outcome.UPDATED if image in changed else Outcome.UNCHANGED) for image in images]
