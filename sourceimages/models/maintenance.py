"""The state of jobs and of scheduled tasks, and the identity of this instance."""

import uuid

from django.db import models
from django.db.models import CheckConstraint, Q
from django.utils import timezone

from organizations.models import Job


class JobImage(models.Model):
    """An image that a job has to process; or, with a message, one that it skipped or failed for, and why.

    It has no foreign key to the image: the selection stays as it was confirmed, even if the image is deleted. Rows are
    only written in transactions that have locked the row of the job, so the database doesn't check its foreign key.
    """

    pk = models.CompositePrimaryKey("job_id", "image_id")
    job = models.ForeignKey(Job, models.CASCADE, related_name="images", db_index=False, db_constraint=False)
    image_id = models.BigIntegerField()
    message = models.TextField(blank=True, db_default="")

    def __str__(self) -> str:
        return f"{self.image_id} {self.message}".strip()


class MaintenanceTask(models.Model):
    """State of a scheduled task between its runs. `held_*` are set while it waits for an operator."""

    name = models.CharField(max_length=40, primary_key=True)
    last_run = models.DateTimeField(null=True, blank=True)  # by the database's clock
    position = models.TextField(blank=True)  # where the next run starts: a key or an ID
    progress = models.JSONField(default=dict, blank=True)  # counts of the current run and of the last one
    held_since = models.DateTimeField(null=True, blank=True)
    held_reason = models.TextField(blank=True)
    held_details = models.JSONField(default=dict, blank=True)  # for operators: count, bytes, examples, command

    def __str__(self) -> str:
        return self.name


class Instance(models.Model):
    """The identity of this instance, in one row. It must match the owner mark in the storage."""

    only = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    instance_id = models.UUIDField(default=uuid.uuid4, editable=False)
    database = models.TextField()  # name of the database, see sourceimages.ownership.database
    counter = models.BigIntegerField(default=0)  # raised by maintenance; 0 until the storage has a mark
    newest_file = models.BigIntegerField(default=0)  # latest assigned IDs when it was raised
    newest_image = models.BigIntegerField(default=0)
    raised_at = models.DateTimeField(null=True, blank=True)
    accepted = models.PositiveIntegerField(default=0)  # how often an operator accepted a mismatch
    accepted_at = models.DateTimeField(null=True, blank=True)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [CheckConstraint(condition=Q(only=1), name="instance_is_one_row")]

    def __str__(self) -> str:
        return str(self.instance_id)
