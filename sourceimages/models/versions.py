"""What images were before they were changed."""

from django.db import models
from django.db.models import Index, Q
from django.db.models.functions import Now

from organizations.models import AuditSource, Organization, User
from rokka.core.fields import BytewiseCharField


class ImageVersion(models.Model):
    """What a change of an image replaced, or did not take over, kept for HISTORY_RETENTION_DAYS.

    `before` holds complete values by field.

    The image is referred to by value: this row never keeps it from being purged, which removes its versions too.
    """

    class Kind(models.TextChoices):
        RENAMED = "renamed"
        METADATA_UPDATED = "metadata_updated"
        DYNAMIC_METADATA_UPDATED = "dynamic_metadata_updated"
        OVERWRITTEN = "overwritten"  # by a copy
        ALIAS_MOVED = "alias_moved"  # to another image; `before` names the alias
        ALIAS_DELETED = "alias_deleted"
        VERSION_RESTORED = "version_restored"
        RESTORE_CONFLICT = "restore_conflict"  # no change: values of a copy in the trash that the image did not take
        # Written for jobs only, so that undoing one finds what it did; they hold no values.
        CREATED = "created"
        REPLACED = "replaced"  # by `derived_id`, if the job made that
        DELETED = "deleted"
        RESTORED = "restored"

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="versions", db_index=False)
    image_id = models.BigIntegerField()
    hash = BytewiseCharField(max_length=40)
    created = models.DateTimeField(db_default=Now())
    kind = models.CharField(max_length=30, choices=Kind)
    before = models.JSONField(default=dict, blank=True)
    derived_id = models.BigIntegerField(null=True, blank=True)
    # Who changed it, as in the audit log.
    source = models.CharField(max_length=10, choices=AuditSource)
    user = models.ForeignKey(User, models.PROTECT, null=True, blank=True, related_name="+", db_index=False)
    api_key_id = models.UUIDField(null=True, blank=True)
    job_id = models.UUIDField(null=True, blank=True)

    class Meta:
        indexes = [
            Index(fields=["image_id", "id"], name="version_of_image"),
            Index(fields=["job_id", "image_id"], condition=Q(job_id__isnull=False), name="version_of_job"),
            Index(fields=["created"], name="version_created"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.hash}"
