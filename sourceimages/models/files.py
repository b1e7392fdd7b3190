"""Stored files."""

from datetime import datetime

from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint
from django.utils import timezone

from organizations.models import Organization
from rokka.core.fields import BytewiseCharField


class StoredFile(models.Model):
    """A file that an organization stores once, however many images refer to it.

    `uploaded_*` describe the uploaded file, the other fields the stored one, which may be optimized.
    """

    class Damage(models.TextChoices):
        """What the last verification found wrong."""

        MISSING = "missing"
        CORRUPT = "corrupt"

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="files", db_index=False)
    binary_hash = BytewiseCharField(max_length=40)  # sha1, hex
    uploaded_size = models.BigIntegerField()
    uploaded_sha256 = BytewiseCharField(max_length=64)
    key = BytewiseCharField(max_length=200)
    size = models.BigIntegerField()
    content_hash = BytewiseCharField(max_length=64)  # sha256, hex
    format = BytewiseCharField(max_length=10)
    mimetype = BytewiseCharField(max_length=100)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    opaque = models.BooleanField()
    animated = models.BooleanField()
    static_metadata = models.JSONField(default=dict, blank=True)
    optimize_to = models.CharField(max_length=10, blank=True)  # requested format, until it is optimized or skipped
    colors_pending = models.BooleanField(default=False)  # dominant colors have not been extracted yet
    optimize_started_at = models.DateTimeField(null=True, blank=True)  # lease of the worker that optimizes it
    optimized_from = models.JSONField(null=True, blank=True)  # the original, while it can be restored
    created = models.DateTimeField(default=timezone.now)
    content_since = models.DateTimeField(null=True, blank=True)  # when the content last changed, if ever
    verified_at = models.DateTimeField(null=True, blank=True)  # when the content was last found intact
    damage = models.CharField(max_length=10, choices=Damage, blank=True, default="", db_default="")
    # When to read it again, because the probe workers were killed before they had read everything.
    read_again_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            UniqueConstraint(fields=["organization", "binary_hash"], name="file_binary_hash_unique"),
            UniqueConstraint(fields=["key"], name="file_key_unique"),
            CheckConstraint(condition=Q(size__gte=0, uploaded_size__gte=0), name="file_sizes_not_negative"),
        ]
        indexes = [
            Index(fields=["id"], condition=~Q(optimize_to=""), name="file_to_optimize"),
            Index(fields=["id"], condition=Q(colors_pending=True), name="file_without_colors"),
            Index(fields=["id"], condition=~Q(damage=""), name="file_damaged"),
            Index(fields=["read_again_at"], condition=Q(read_again_at__isnull=False), name="file_to_read_again"),
        ]

    def __str__(self) -> str:
        return self.key

    @property
    def modified(self) -> datetime:
        """When the content last changed."""
        return self.content_since or self.created

    @property
    def as_uploaded(self) -> bool:
        """Whether the stored file is the uploaded one, not an optimized version."""
        return self.content_hash == self.uploaded_sha256
