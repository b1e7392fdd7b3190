from typing import Any
from uuid import UUID

from django import forms

from organizations.audit import Actor
from organizations.models import Job
from organizations.permissions import Permission
from rokka.core.errors import InvalidInput
from sourceimages.errors import InvalidDestination
from sourceimages.jobs.batches import run_copy_batch
from sourceimages.jobs.bulk_actions.base import BulkAction, BulkActionForm, Params
from sourceimages.jobs.registry import register
from sourceimages.jobs.selection import Selection
from sourceimages.models import SourceImage
from sourceimages.operations import copy_image
from sourceimages.outcomes import Outcome


class CopyForm(BulkActionForm):
    destination = forms.ChoiceField(label="To", required=False)
    overwrite = forms.BooleanField(required=False, label="Overwrite existing images at the destination")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        others = self.staff.destinations().exclude(pk=self.organization.pk).order_by("name")
        field = self.fields["destination"]
        field.choices = [("", "Choose an organization"), *((one.name, one.name) for one in others)]  # type: ignore[attr-defined]
        if len(field.choices) == 1:  # type: ignore[attr-defined]
            field.help_text = "You don't have permission to copy to another organization."

    def params(self) -> Params:
        """Raises InvalidInput, and RoleMissing for an organization that the user can't copy to."""
        name = self.cleaned_data["destination"]
        if not name:
            raise InvalidInput("Choose the organization to copy to.")
        return {"destination": self.staff.destination(name), "overwrite": self.cleaned_data["overwrite"]}


@register
class CopyImages(BulkAction):
    name, label = "copy", "Copy to organization"
    help_text = "The copies are independent images with the same hashes. The selected images don't change."
    permission = Permission.IMAGES_COPY_FROM
    outcomes = (Outcome.CREATED, Outcome.OVERWRITTEN, Outcome.SKIPPED_EXISTING, Outcome.LOCKED)
    form_class = CopyForm
    required_params = frozenset({"destination", "overwrite"})

    def job_params(self, selection: Selection, params: Params) -> Params:
        """The destination by its name. Raises InvalidDestination."""
        if params["destination"] == selection.organization:
            raise InvalidDestination("The destination must be another organization.")
        return params | {"destination": params["destination"].name}

    def apply_to_one(self, image: SourceImage, params: Params, actor: Actor) -> tuple[str, SourceImage]:
        copy_image(image, params["destination"], overwrite=params["overwrite"], actor=actor)
        return f"Copied to {params['destination']}", image

    def run_batch(self, job_id: UUID) -> Job:
        return run_copy_batch(job_id)
