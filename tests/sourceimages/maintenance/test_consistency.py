"""check_consistency finds all inconsistencies that database constraints don't prevent."""

import json
import uuid

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from organizations.models import Organization
from organizations.usage import counters
from sourceimages.models import ImageVersion, JobImage, MetadataToken, ShortHash, Tombstone
from tests.conftest import consistency_errors


def test_everything_holds_after_an_upload(image, capsys):
    call_command("check_consistency", verify_checksums=True)
    assert capsys.readouterr().out.strip() == "No problems found."


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"identity": "0" * 40}, "identity is"),
        ({"protected": True}, "identity is"),
        ({"dynamic_metadata": {"version": {"text": "two"}}}, "identity is"),
        ({"short_hash": "000000"}, "is assigned"),
        ({"hash": "0" * 40}, "is not a prefix"),
        ({"size": 5}, "fields differ"),
        ({"format": "jpg"}, "fields differ"),
        ({"width": 1}, "fields differ"),
    ],
)
def test_rows_that_disagree_are_found(image, acme, change, says):
    acme.images.update(**change)
    assert any(says in found for found in consistency_errors())


def test_wrong_counters_are_found(image, acme, capsys):
    counters.add(acme, images=1)
    with pytest.raises(CommandError, match="1 problem found"):
        call_command("check_consistency")
    assert "counters" in capsys.readouterr().out


def test_problems_are_reported_as_json(image, acme, capsys):
    counters.add(acme, images=1)
    with pytest.raises(CommandError):
        call_command("check_consistency", json=True)
    printed = json.loads(capsys.readouterr().out)
    assert (printed["errors"], printed["warnings"], printed["error"]) == (1, 0, "1 problem found.")
    [finding] = printed["findings"]
    assert finding["level"] == "error"
    assert "counters" in finding["message"]


def test_a_missing_short_hash_is_found(image):
    ShortHash.objects.all().delete()
    assert any("None is assigned" in found for found in consistency_errors())


def test_a_tombstone_of_another_organization_is_found(image, acme):
    other = Organization.objects.create(name="other", display_name="other")
    tombstone = Tombstone.objects.create(organization=other, expires_at=timezone.now(), reason="api")
    acme.images.update(tombstone=tombstone)
    assert any("another organization" in found for found in consistency_errors())


@pytest.mark.parametrize("wrong", ["image", "organization", "hash"])
def test_history_of_no_image_or_of_another_one_is_found(image, acme, wrong):
    other = Organization.objects.create(name="other", display_name="other")
    own = {"organization": acme, "image_id": image.pk, "hash": image.hash, "kind": "renamed", "source": "api"}
    ImageVersion.objects.create(**own)
    assert consistency_errors() == []
    changes = {"image": {"image_id": image.pk + 1}, "organization": {"organization": other}, "hash": {"hash": "f" * 40}}
    version = ImageVersion.objects.create(**own | changes[wrong])
    (found,) = consistency_errors()
    assert found.startswith(f"version {version.pk}: ")


def test_short_hashes_of_no_organization_and_images_of_no_job_are_found(acme):
    ShortHash.objects.create(organization_id=uuid.uuid4(), short_hash="abcdef", hash="abcdef" + "0" * 34)
    JobImage.objects.create(job_id=uuid.uuid4(), image_id=1)
    assert consistency_errors() == [
        "sourceimages_shorthash: 1 rows refer to no organization",
        "sourceimages_jobimage: 1 rows refer to no job",
    ]


@pytest.mark.parametrize("reference", ["image", "field"])
def test_index_entries_of_no_image_or_field_are_found(image, reference):
    known = MetadataToken.objects.filter(image=image)[0]
    ids = {"image_id": image.pk, "field_id": known.field_id} | {f"{reference}_id": 10**9}
    MetadataToken.objects.create(value="harbour", **ids)
    assert any(found.endswith(f"entries refer to no {reference}") for found in consistency_errors())
