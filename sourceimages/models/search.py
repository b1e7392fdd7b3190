"""The search index: metadata fields of an organization, and a row for each value of an image."""

from django.db import models
from django.db.models import UniqueConstraint

from organizations.models import Organization
from rokka.core.fields import BytewiseCharField
from sourceimages.models.images import SourceImage


class MetadataField(models.Model):
    """A field of metadata in an organization, with one of the types that it has there: `user:year`, int."""

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="metadata_fields", db_index=False)
    name = BytewiseCharField(max_length=200)
    type = BytewiseCharField(max_length=10)

    class Meta:
        constraints = [UniqueConstraint(fields=["organization", "name", "type"], name="metadata_field_unique")]

    def __str__(self) -> str:
        return f"{self.name} ({self.type})"


class MetadataIndexEntry(models.Model):
    """A value of a field, and a picture that has it. What is given back are the documents on the picture's row."""

    pk = models.CompositePrimaryKey("field_id", "value", "image_id")
    field = models.ForeignKey(MetadataField, models.DO_NOTHING, related_name="+", db_index=False)
    image = models.ForeignKey(SourceImage, models.CASCADE, related_name="%(class)ss")

    class Meta:
        abstract = True


class MetadataString(MetadataIndexEntry):
    """Texts that are searched whole or by their beginning, and elements of arrays; the first 512 bytes of each."""

    value = BytewiseCharField(max_length=512)


class MetadataToken(MetadataIndexEntry):
    """Stems of words."""

    value = BytewiseCharField(max_length=64)


class MetadataNumber(MetadataIndexEntry):
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
