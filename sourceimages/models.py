"""What is kept: files, the pictures that show them, and what stays behind when a picture is deleted."""

import uuid
from datetime import datetime

from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint
from django.db.models.functions import Now
from django.utils import timezone

from organizations.models import AuditSource, Job, Organization, User
from rokka.fields import BytewiseCharField
from sourceimages.querysets import SourceImageQuerySet, TombstoneQuerySet

LIVING = Q(tombstone__isnull=True)


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
    colours_wanted = models.BooleanField(default=False)  # its dominant colours have not been looked for yet
    optimize_since = models.DateTimeField(null=True, blank=True)  # when somebody began with it
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
            Index(fields=["id"], condition=Q(colours_wanted=True), name="file_without_colours"),
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


class Tombstone(models.Model):
    """One act of deleting, of one picture or of a million. Clearing the pointers to it undoes the whole act."""

    class Reason(models.TextChoices):
        API = "api"
        BINARY_HASH = "binary hash"
        DELETE_ALL = "delete-all"
        REPLACED = "replaced"
        STAFF = "staff"
        UNDO = "undo"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="tombstones", db_index=False)
    deleted_at = models.DateTimeField(default=timezone.now)
    deleted_by = models.ForeignKey(User, models.PROTECT, null=True, blank=True, related_name="+", db_index=False)
    expires_at = models.DateTimeField()
    reason = models.CharField(max_length=20, choices=Reason)
    purge_confirmed = models.BooleanField(default=False, db_default=False)  # a person let it expire before its time

    objects = TombstoneQuerySet.as_manager()

    class Meta:
        indexes = [
            Index(fields=["organization", "-deleted_at", "id"], name="tombstone_newest"),
            Index(fields=["expires_at"], name="tombstone_expiry"),
        ]

    def __str__(self) -> str:
        return f"{self.reason} {self.deleted_at:%Y-%m-%d %H:%M}"


class SourceImage(models.Model):
    """A picture as the API shows it. What lists sort by is copied from the file, so that a list reads one table."""

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="images", db_index=False)
    file = models.ForeignKey(StoredFile, models.PROTECT, related_name="images")
    hash = BytewiseCharField(max_length=40)
    identity = BytewiseCharField(max_length=40)
    short_hash = BytewiseCharField(max_length=40)
    name = BytewiseCharField(max_length=500)
    created = models.DateTimeField(default=timezone.now)
    user_metadata = models.JSONField(default=dict, blank=True)
    dynamic_metadata = models.JSONField(default=dict, blank=True)
    protected = models.BooleanField(default=False)
    locked = models.BooleanField(default=False)
    tombstone = models.ForeignKey(
        Tombstone, models.PROTECT, null=True, blank=True, related_name="images", db_index=False
    )
    binary_hash = BytewiseCharField(max_length=40)
    size = models.BigIntegerField()
    format = BytewiseCharField(max_length=10)
    mimetype = BytewiseCharField(max_length=100)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()

    objects = SourceImageQuerySet.as_manager()

    class Meta:
        constraints = [
            UniqueConstraint(fields=["organization", "hash"], condition=LIVING, name="image_living_hash_unique"),
            CheckConstraint(condition=~Q(locked=True, tombstone__isnull=False), name="image_locked_is_not_deleted"),
        ]
        indexes = [
            Index(fields=["organization", "-created", "hash", "id"], condition=LIVING, name="image_newest"),
            Index(fields=["organization", "identity"], condition=LIVING, name="image_identity"),
            Index(fields=["organization", "short_hash"], condition=LIVING, name="image_short_hash"),
            Index(fields=["organization", "binary_hash"], condition=LIVING, name="image_binary_hash"),
            Index(fields=["organization", "name", "hash", "id"], condition=LIVING, name="image_name"),
            Index(fields=["organization", "size", "hash", "id"], condition=LIVING, name="image_size"),
            Index(fields=["organization", "id"], condition=LIVING, name="image_in_batches"),
            Index(fields=["organization", "hash"], condition=~LIVING, name="image_trash_hash"),
            Index(fields=["tombstone", "id"], condition=~LIVING, name="image_trash"),
        ]

    def __str__(self) -> str:
        return f"{self.short_hash} {self.name}"

    @property
    def deleted(self) -> bool:
        return self.tombstone_id is not None


class ShortHash(models.Model):
    """What a short hash stands for in an organization. Never removed: it must not come to name another picture."""

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="short_hashes", db_index=False)
    short_hash = BytewiseCharField(max_length=40)
    hash = BytewiseCharField(max_length=40)

    class Meta:
        verbose_name_plural = "short hashes"
        constraints = [
            UniqueConstraint(fields=["organization", "short_hash"], name="short_hash_unique"),
            UniqueConstraint(fields=["organization", "hash"], name="short_hash_once_per_hash"),
        ]

    def __str__(self) -> str:
        return self.short_hash


class Alias(models.Model):
    """A name for a picture. It keeps the hash, not the row, so that it outlives a deletion."""

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="aliases", db_index=False)
    alias = BytewiseCharField(max_length=255)
    hash = BytewiseCharField(max_length=40)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "aliases"
        constraints = [UniqueConstraint(fields=["organization", "alias"], name="alias_unique")]
        indexes = [Index(fields=["organization", "hash"], name="alias_hash")]

    def __str__(self) -> str:
        return self.alias


class ImageVersion(models.Model):
    """What a change of an image replaced, or did not take over, kept for HISTORY_DAYS.

    `before` holds complete values by field.

    The image is referred to by value: this row never keeps it from being purged, which removes its versions too.
    """

    class Kind(models.TextChoices):
        RENAMED = "renamed"
        METADATA_CHANGED = "metadata_changed"
        DYNAMIC_METADATA_CHANGED = "dynamic_metadata_changed"
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
            Index(fields=["created"], name="version_oldest"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.hash}"


# --- What is searched -------------------------------------------------------------------------------------------------


class MetadataField(models.Model):
    """A field of metadata in an organization, with one of the types that it has there: `user:year`, int."""

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="metadata_fields", db_index=False)
    name = BytewiseCharField(max_length=200)
    type = BytewiseCharField(max_length=10)

    class Meta:
        constraints = [UniqueConstraint(fields=["organization", "name", "type"], name="metadata_field_unique")]

    def __str__(self) -> str:
        return f"{self.name} ({self.type})"


class IndexRow(models.Model):
    """A value of a field, and a picture that has it. What is given back are the documents on the picture's row."""

    pk = models.CompositePrimaryKey("field_id", "value", "image_id")
    field = models.ForeignKey(MetadataField, models.DO_NOTHING, related_name="+", db_index=False)
    image = models.ForeignKey(SourceImage, models.CASCADE, related_name="%(class)ss")

    class Meta:
        abstract = True


class MetadataString(IndexRow):
    """Texts that are searched whole or by their beginning, and elements of arrays; the first 512 bytes of each."""

    value = BytewiseCharField(max_length=512)


class MetadataToken(IndexRow):
    """Stems of words."""

    value = BytewiseCharField(max_length=64)


class MetadataNumber(IndexRow):
    """Integers, doubles, dates as seconds since 1970, latitudes and longitudes."""

    value = models.FloatField()


class SearchIndex(models.Model):
    """For which version of the code and which language the index of an organization was made; see indexstate."""

    organization = models.OneToOneField(Organization, models.PROTECT, primary_key=True, related_name="search_index")
    made_for = models.CharField(max_length=60, blank=True)  # "" if its rows differ
    building = models.CharField(max_length=60, blank=True)  # what a job is making it for

    class Meta:
        verbose_name_plural = "search indexes"

    def __str__(self) -> str:
        return f"{self.organization} {self.made_for}"


# --- What jobs are about ----------------------------------------------------------------------------------------------


class JobImage(models.Model):
    """An image that a job has yet to deal with; or, with a message, one that it skipped or failed with, and why.

    No foreign key to the image: the row remains what was confirmed, whatever becomes of the image.
    """

    pk = models.CompositePrimaryKey("job_id", "image_id")
    job = models.ForeignKey(Job, models.CASCADE, related_name="images", db_index=False)
    image_id = models.BigIntegerField()
    message = models.TextField(blank=True, db_default="")

    def __str__(self) -> str:
        return f"{self.image_id} {self.message}".strip()


# --- What scheduled tasks remember ------------------------------------------------------------------------------------


class MaintenanceTask(models.Model):
    """State of a scheduled task between its runs. `held_*` say why it waits for an operator, if it does."""

    name = models.CharField(max_length=40, primary_key=True)
    last_run = models.DateTimeField(null=True, blank=True)  # by the database's clock
    position = models.TextField(blank=True)  # where the next run begins, such as a key or an id
    progress = models.JSONField(default=dict, blank=True)  # counts of the round under way, and of the last one
    held_since = models.DateTimeField(null=True, blank=True)
    held_reason = models.TextField(blank=True)
    held_details = models.JSONField(default=dict, blank=True)  # what an operator has to see: count, bytes, examples

    def __str__(self) -> str:
        return self.name


class Instance(models.Model):
    """Which instance this is, in one row. The owner mark in the storage says the same, unless one of them is wrong."""

    only = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    instance_id = models.UUIDField(default=uuid.uuid4, editable=False)
    database = models.TextField()  # which database the instance lives in: sourceimages.ownership.database
    counter = models.BigIntegerField(default=0)  # raised by maintenance; 0: there has been no mark in the storage yet
    newest_file = models.BigIntegerField(default=0)  # ids that had been given out when it was raised
    newest_image = models.BigIntegerField(default=0)
    raised_at = models.DateTimeField(null=True, blank=True)
    accepted = models.PositiveIntegerField(default=0)  # how often an operator said that the two belong together
    accepted_at = models.DateTimeField(null=True, blank=True)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [CheckConstraint(condition=Q(only=1), name="instance_is_one_row")]

    def __str__(self) -> str:
        return str(self.instance_id)
