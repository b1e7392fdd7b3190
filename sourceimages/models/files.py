"""Files that organizations hold."""

from datetime import datetime

from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint
from django.utils import timezone

from organizations.models import Organization
from rokka.core.fields import BytewiseCharField


class StoredFile(models.Model):
    """Some bytes an organization holds, once. `uploaded_*` say what came in, `size` and `content_hash` what is kept."""

    class Damage(models.TextChoices):
        """What the last check of the stored file against its row found wrong."""

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
    optimize_to = models.CharField(max_length=10, blank=True)  # asked for, not done yet
    colors_pending = models.BooleanField(default=False)  # its dominant colours have not been looked for yet
    optimize_started_at = models.DateTimeField(null=True, blank=True)  # when somebody began with it
    optimized_from = models.JSONField(null=True, blank=True)  # what it was before, for as long as that can come back
    created = models.DateTimeField(default=timezone.now)
    content_since = models.DateTimeField(null=True, blank=True)  # when other content replaced what was first stored
    verified_at = models.DateTimeField(null=True, blank=True)  # when its content was last found to be as it should
    damage = models.CharField(max_length=10, choices=Damage, blank=True, default="", db_default="")
    # When to read it again, because its readers were killed before they could tell everything about it.
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
        """Since when its content is what it is."""
        return self.content_since or self.created

    @property
    def as_uploaded(self) -> bool:
        """Whether what is stored is what was sent, not an optimized version of it."""
        return self.content_hash == self.uploaded_sha256
