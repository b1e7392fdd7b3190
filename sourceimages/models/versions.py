"""Versions of images."""

from django.db import models
from django.db.models import Index, Q
from django.db.models.functions import Now

from organizations.models import AuditSource, Organization, User
from rokka.core.fields import BytewiseCharField


class ImageVersion(models.Model):
    """The values of an image that a change replaced, by field, in `before`; stored for HISTORY_RETENTION_DAYS.

    It has no foreign key to the image, so that the image can be purged, which deletes its versions too.
    """

    class Kind(models.TextChoices):
        RENAMED = "renamed"
        METADATA_UPDATED = "metadata_updated"
        DYNAMIC_METADATA_UPDATED = "dynamic_metadata_updated"
        OVERWRITTEN = "overwritten"  # by a copy
        ALIAS_MOVED = "alias_moved"  # to another image, `derived_id` if that replaced it; `before` has the alias
        ALIAS_DELETED = "alias_deleted"
        REMOTE_IMAGE_MOVED = "remote_image_moved"  # to `derived_id`, which replaced it; `before` has the URL
        VERSION_RESTORED = "version_restored"
        RESTORE_CONFLICT = "restore_conflict"  # not a change: values of the deleted image that were not merged
        # Written by jobs only, so that they can be undone; without values.
        CREATED = "created"
        REPLACED = "replaced"  # by `derived_id`, if the job created that image
        DELETED = "deleted"
        RESTORED = "restored"

    organization = models.ForeignKey(  # always that of the image; `check_consistency` compares them
        Organization, models.PROTECT, related_name="versions", db_index=False, db_constraint=False
    )
    image_id = models.BigIntegerField()
    hash = BytewiseCharField(max_length=40)
    created = models.DateTimeField(db_default=Now())
    kind = models.CharField(max_length=30, choices=Kind)
    before = models.JSONField(default=dict, blank=True)
    derived_id = models.BigIntegerField(null=True, blank=True)
    # The actor, as in the audit log.
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
