"""The search index: metadata fields of organizations, and an entry for each value of an image."""

from django.db import models
from django.db.models import UniqueConstraint

from organizations.models import Organization
from rokka.core.fields import BytewiseCharField
from sourceimages.models.images import SourceImage


class MetadataField(models.Model):
    """A metadata field of an organization, with one of its types, such as `user:year` with int."""

    organization = models.ForeignKey(Organization, models.PROTECT, related_name="metadata_fields", db_index=False)
    name = BytewiseCharField(max_length=200)
    type = BytewiseCharField(max_length=10)

    class Meta:
        constraints = [UniqueConstraint(fields=["organization", "name", "type"], name="metadata_field_unique")]

    def __str__(self) -> str:
        return f"{self.name} ({self.type})"


class MetadataIndexEntry(models.Model):
    """A value of a field, and an image that has it. Only searched: the API returns the metadata of the image's row.

    Entries are written and removed in the transaction that writes or removes their image, and fields are never removed.
    So the database does not check the references of each entry, which takes longer than inserting it;
    `check_consistency` does.
    """

    pk = models.CompositePrimaryKey("field_id", "value", "image_id")
    field = models.ForeignKey(MetadataField, models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False)
    image = models.ForeignKey(SourceImage, models.CASCADE, related_name="%(class)ss", db_constraint=False)

    class Meta:
        abstract = True


class MetadataString(MetadataIndexEntry):
    """Strings and elements of arrays, searched by value or prefix; truncated to 512 bytes."""

    value = BytewiseCharField(max_length=512)


class MetadataToken(MetadataIndexEntry):
    """Stemmed words."""

    value = BytewiseCharField(max_length=64)


class MetadataNumber(MetadataIndexEntry):
    """Integers, doubles, dates as seconds since 1970, latitudes and longitudes."""

    value = models.FloatField()


class SearchIndex(models.Model):
    """The code version and the language that an organization's index was built for; see search.index_state."""

    organization = models.OneToOneField(Organization, models.PROTECT, primary_key=True, related_name="search_index")
    made_for = models.CharField(max_length=60, blank=True)  # "" if its entries were built for different ones
    building = models.CharField(max_length=60, blank=True)  # what a running job builds it for

    class Meta:
        verbose_name_plural = "search indexes"

    def __str__(self) -> str:
        return f"{self.organization} {self.made_for}"
