from django.http import HttpResponseBase

from organizations.audit import staff_actor
from organizations.auth.staff import StaffAccess
from organizations.permissions import Permission
from sourceimages.downloads.zip_archive import zip_response
from sourceimages.jobs.bulk_actions.base import BulkAction
from sourceimages.jobs.registry import register
from sourceimages.jobs.selection import Selection
from sourceimages.models.images import in_chunks


@register
class DownloadImages(BulkAction):
    """The one bulk action without a job: the archive is created while it is sent."""

    name, label = "download", "Download as ZIP"
    help_text = "One archive with the original files."
    permission = Permission.IMAGES_READ
    outcomes = ()
    runs_as_job = False

    def response(self, selection: Selection, staff: StaffAccess) -> HttpResponseBase:
        organization, images = selection.organization, selection.images().order_by("id")
        protected = staff.has_permission(Permission.PROTECTED_ORIGINALS_DOWNLOAD, organization)
        actor = staff_actor(staff.user)
        return zip_response(organization, in_chunks(images), protected=protected, actor=actor)
