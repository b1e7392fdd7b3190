"""Stored stacks."""

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone

from organizations.models import Organization
from rendering.contents import StackContent
from rokka.core.fields import BytewiseCharField, OrderedJSONField

STACK_NAME = r"^[a-z0-9_-]+$"
MAX_NAME_LENGTH = 80  # as the target of an audit event
PREVIEW_PREFIX = "_preview"
IS_PREVIEW = Q(name__gte=PREVIEW_PREFIX, name__lt="_previex")  # a range, which an index can use


class StackQuerySet(models.QuerySet["Stack"]):
    def previews(self) -> Self:
        return self.filter(IS_PREVIEW)


class Stack(models.Model):
    """A named list of operations, with options, expressions and variables, that render URLs refer to by name.

    The content is valid: rendering.contents has checked it. Variables keep their order, because they can use those
    before them.
    """

    MAX_STACKS = 10_000  # per organization

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="stacks", db_index=False)
    name = BytewiseCharField(max_length=MAX_NAME_LENGTH)
    description = models.TextField(blank=True, default="")
    operations = OrderedJSONField(default=list, blank=True)
    options = OrderedJSONField(default=dict, blank=True)
    expressions = OrderedJSONField(default=list, blank=True)
    variables = OrderedJSONField(default=dict, blank=True)
    protected = models.BooleanField(default=False)  # the option of this name
    cache_epoch = models.PositiveIntegerField(default=0)  # part of the keys of its renders; raised to purge them
    digest = models.CharField(max_length=64)  # of the content: rendering.contents.StackContent.digest
    created = models.DateTimeField(default=timezone.now)
    modified = models.DateTimeField(default=timezone.now)

    objects = StackQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "name"], name="stack_name_unique"),
            models.CheckConstraint(condition=Q(name__regex=STACK_NAME), name="stack_name_valid"),
        ]
        indexes = [models.Index(fields=["modified"], condition=IS_PREVIEW, name="stack_preview")]

    def __str__(self) -> str:
        return self.name

    @property
    def content(self) -> StackContent:
        return StackContent(self.operations, self.options, self.expressions, self.variables, self.description)

    @property
    def is_preview(self) -> bool:
        """Whether it is a preview of the dashboard, which is deleted after some days."""
        return self.name.startswith(PREVIEW_PREFIX)

    def set_content(self, content: StackContent) -> None:
        """Set all fields that the content determines, without saving."""
        self.description = content.description
        self.operations, self.options = content.operations, content.options
        self.expressions, self.variables = content.expressions, content.variables
        self.protected, self.digest = content.protected, content.digest


class RemoteImage(models.Model):
    """The image that was fetched from a URL. It refers to the hash, so that it survives a deletion and a restore.

    If another image replaces the image, it follows to that one (sourceimages/references.py).
    """

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="remote_images", db_index=False)
    digest = BytewiseCharField(max_length=64)  # sha256 of the URL, hex
    url = models.CharField(max_length=2000)
    hash = BytewiseCharField(max_length=40)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "digest"], name="remote_image_unique")]
        indexes = [models.Index(fields=["organization", "hash"], name="remote_image_hash")]

    def __str__(self) -> str:
        return self.url
