"""What the databases themselves refuse."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from organizations.models import Organization
from sourceimages.models import Alias, ShortHash, SourceImage, StoredFile, Tombstone


@pytest.fixture
def tombstone(acme):
    return Tombstone.objects.create(organization=acme, expires_at=timezone.now(), reason="api")


def again(row, **changes):
    """The same row once more, with other values in some columns."""
    row.pk = None
    for name, value in changes.items():
        setattr(row, name, value)
    with transaction.atomic():
        row.save(force_insert=True)


def test_a_hash_lives_once_in_an_organization(image):
    with pytest.raises(IntegrityError):
        again(image)


def test_a_hash_may_lie_in_the_trash_many_times(image, tombstone):
    again(image, tombstone=tombstone)
    again(image, tombstone=tombstone)
    assert SourceImage.objects.in_trash().count() == 0  # expired
    assert SourceImage.objects.count() == 3


def test_a_locked_image_cannot_have_a_tombstone(image, tombstone):
    with pytest.raises(IntegrityError), transaction.atomic():
        SourceImage.objects.update(locked=True, tombstone=tombstone)


def test_files_are_stored_once_and_keys_are_never_shared(image):
    with pytest.raises(IntegrityError):
        again(image.file, key="another")
    with pytest.raises(IntegrityError):
        again(StoredFile.objects.get(), binary_hash="0" * 40)


def test_short_hashes_are_unique_both_ways(image, acme):
    for short_hash, hash in ((image.short_hash, "0" * 40), ("000000", image.hash)):
        with pytest.raises(IntegrityError), transaction.atomic():
            ShortHash.objects.create(organization=acme, short_hash=short_hash, hash=hash)


def test_an_alias_names_one_image(image, acme):
    Alias.objects.create(organization=acme, alias="logo", hash=image.hash)
    with pytest.raises(IntegrityError), transaction.atomic():
        Alias.objects.create(organization=acme, alias="logo", hash="0" * 40)


def test_nothing_goes_while_something_refers_to_it(image, acme, tombstone):
    image.tombstone = tombstone
    image.save()
    for row in (acme, image.file, tombstone):
        with pytest.raises(ProtectedError):
            row.delete()


def test_text_is_compared_bytewise(acme):
    for name in ("b", "a-c", "ab", "a"):
        Organization.objects.create(name=f"o{name}", display_name="x")
    names = Organization.objects.filter(name__startswith="o").order_by("name").values_list("name", flat=True)
    assert list(names) == ["oa", "oa-c", "oab", "ob"]


def test_lists_use_their_index(acme):
    """The newest page of an organization must not sort all of its images."""
    if connection.vendor == "postgresql":  # which would rather sort the few rows of a test
        with connection.cursor() as cursor:
            for way in ("seqscan", "bitmapscan", "sort", "incremental_sort"):
                cursor.execute(f"SET LOCAL enable_{way} = off")
    plan = acme.images.active().order_by("-created", "hash", "id")[:100].explain()
    assert "image_created" in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan.replace("Sort Key", "")
