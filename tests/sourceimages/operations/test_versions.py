"""Replaced values are stored as versions, can be restored, and are deleted after HISTORY_RETENTION_DAYS."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from organizations.audit import COMMAND
from organizations.models import AuditEvent
from sourceimages import task_state
from sourceimages.errors import ImageLocked, VersionNotFound, VersionNotRestorable
from sourceimages.maintenance import purge, versions
from sourceimages.models import ImageVersion, MaintenanceTask, SourceImage, Tombstone
from sourceimages.operations import (
    change_dynamic_metadata,
    change_user_metadata,
    copy_image,
    delete_image,
    rename_image,
    replace_user_metadata,
    restore_version,
    set_locked,
    update_in_place,
)
from sourceimages.operations.aliases import delete_alias, get_alias, set_alias
from tests.support import images

pytestmark = pytest.mark.usefixtures("consistent")

AREA = {"subject_area": {"x": 1, "y": 2, "width": 3, "height": 3}}
KEPT = ("name", "created", "user_metadata", "dynamic_metadata", "protected", "identity", "hash")


@pytest.fixture
def described(image, alice):
    """An image with something in every field that can be replaced."""
    change_user_metadata(image, {"title": "Harbour", "int:year": 1999, "text:note": 'Ü "x" \\'}, actor=alice.actor)
    update_in_place(image, {"version": {"text": "one"}}, actor=alice.actor)
    ImageVersion.objects.all().delete()
    return SourceImage.objects.get(pk=image.pk)


def fresh(image):
    return SourceImage.objects.get(pk=image.pk)


def content(image):
    return {name: getattr(fresh(image), name) for name in KEPT}


def replaced_by_upload(image, alice, stage):
    alice.upload("acme", images.png(), **{"meta_user[0]": '{"title": "Other", "new": "x"}'})


def replaced_by_copy(image, alice, stage):
    alice.upload("stage", images.png(), name="other.png", **{"meta_user[0]": '{"title": "Other"}'})
    copy_image(stage.images.get(), image.organization, overwrite=True, actor=alice.actor)


CHANGES = {
    "renamed": (lambda image, alice, stage: rename_image(image, "other.png", actor=alice.actor), {"name"}),
    "metadata_updated": (
        lambda image, alice, stage: change_user_metadata(image, {"title": "x", "int:year": None}, actor=alice.actor),
        {"user_metadata"},
    ),
    "metadata_updated by PUT": (
        lambda image, alice, stage: replace_user_metadata(image, {"new": "x"}, actor=alice.actor),
        {"user_metadata"},
    ),
    "metadata_updated by upload": (replaced_by_upload, {"user_metadata"}),
    "dynamic_metadata_updated": (
        lambda image, alice, stage: update_in_place(image, {"version": None} | AREA, actor=alice.actor),
        {"dynamic_metadata"},
    ),
    "overwritten": (replaced_by_copy, {"name", "created", "user_metadata", "dynamic_metadata"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_replaced_comes_back_and_can_be_replaced_again(described, alice, stage, change):
    replace, fields = CHANGES[change]
    before = content(described)
    replace(described, alice, stage)
    after = content(described)
    assert after != before
    (version,) = described.organization.versions.filter(image_id=described.pk)
    assert (version.kind, version.user, version.source) == (change.split()[0], alice.user, "api")
    assert (version.hash, version.before.keys(), version.job_id) == (described.hash, fields, None)

    restore_version(described, version.pk, actor=alice.actor)
    assert content(described) == before
    undone = described.organization.versions.latest("pk")
    assert (undone.kind, undone.before.keys()) == ("version_restored", fields)
    restore_version(described, undone.pk, actor=alice.actor)
    assert content(described) == after


def test_what_comes_back_is_found_again(described, alice):
    rename_image(described, "garden.png", actor=alice.actor)
    restore_version(described, ImageVersion.objects.get().pk, actor=alice.actor)
    assert alice.api.get("/sourceimages/acme?q=harbour").json()["total"] == 1
    assert alice.api.get("/sourceimages/acme?q=garden").json()["total"] == 0


def test_only_the_fields_of_the_version_come_back(described, alice):
    rename_image(described, "other.png", actor=alice.actor)
    change_user_metadata(described, {"title": "Later"}, actor=alice.actor)
    restore_version(described, ImageVersion.objects.get(kind="renamed").pk, actor=alice.actor)
    assert (fresh(described).name, fresh(described).user_metadata["title"]) == ("harbour.png", "Later")


def test_what_changes_nothing_has_no_version(described, alice, stage):
    rename_image(described, described.name, actor=alice.actor)
    change_user_metadata(described, {"title": "Harbour"}, actor=alice.actor)
    update_in_place(described, {"version": {"text": "one"}}, actor=alice.actor)
    copy_image(described, stage, overwrite=True, actor=alice.actor)
    copy_image(described, stage, overwrite=True, actor=alice.actor)
    set_alias(described, "logo", overwrite=False, actor=alice.actor)
    set_alias(described, "logo", overwrite=True, actor=alice.actor)
    assert not ImageVersion.objects.exists()


def test_an_area_that_replaces_the_image_is_undone_from_the_trash(described, alice):
    """The image with the new hash is a different one; the previous one is unchanged in the trash."""
    change_dynamic_metadata(described, AREA, delete_previous=True, actor=alice.actor)
    assert (fresh(described).tombstone.reason, ImageVersion.objects.count()) == ("replaced", 0)


def test_a_moved_and_a_deleted_alias_mean_again_what_they_meant(image, alice):
    alice.upload("acme", images.png(seed=1))
    other = image.organization.images.exclude(pk=image.pk).get()
    set_alias(image, "logo", overwrite=False, actor=alice.actor)
    set_alias(other, "logo", overwrite=True, actor=alice.actor)
    moved = ImageVersion.objects.get()
    assert (moved.kind, moved.image_id, moved.before) == ("alias_moved", image.pk, {"alias": "logo"})
    restore_version(image, moved.pk, actor=alice.actor)
    assert get_alias(image.organization, "logo").hash == image.hash

    delete_alias(image.organization, "logo", actor=alice.actor)
    deleted = ImageVersion.objects.latest("pk")
    assert (deleted.kind, deleted.image_id) == ("alias_deleted", image.pk)
    restore_version(image, deleted.pk, actor=alice.actor)
    assert get_alias(image.organization, "logo").hash == image.hash


def test_an_alias_without_an_image_leaves_its_trace_in_the_audit_log(image, alice):
    set_alias(image, "logo", overwrite=False, actor=alice.actor)
    delete_image(image, actor=alice.actor)
    Tombstone.objects.update(expires_at=Now())
    purge.purge_expired()
    delete_alias(image.organization, "logo", actor=alice.actor)
    assert not ImageVersion.objects.exists()
    assert AuditEvent.objects.get(action="alias.deleted").details["before"] == image.hash


# --- What is refused --------------------------------------------------------------------------------------------------


def test_a_locked_image_gets_no_version_back(described, alice):
    rename_image(described, "other.png", actor=alice.actor)
    set_locked(described, True, actor=alice.actor)
    before = content(described)
    with pytest.raises(ImageLocked):
        restore_version(described, ImageVersion.objects.get().pk, actor=alice.actor)
    assert (content(described), ImageVersion.objects.count()) == (before, 1)


def test_a_version_of_another_image_is_not_found(described, alice):
    alice.upload("acme", images.png(seed=1), name="second.png")
    other = described.organization.images.exclude(pk=described.pk).get()
    rename_image(other, "other.png", actor=alice.actor)
    before = content(described)
    with pytest.raises(VersionNotFound):
        restore_version(described, ImageVersion.objects.get().pk, actor=alice.actor)
    assert (content(described), content(other)["name"]) == (before, "other.png")


def test_a_version_without_values_is_refused(described, alice):
    version = ImageVersion.objects.create(
        organization=described.organization, image_id=described.pk, hash=described.hash, kind="created", source="api"
    )
    with pytest.raises(VersionNotRestorable):
        restore_version(described, version.pk, actor=alice.actor)


# --- How long it is kept ----------------------------------------------------------------------------------------------


def aged(image, days):
    rename_image(image, f"{days} days.png", actor=COMMAND)
    version = ImageVersion.objects.latest("pk")
    ImageVersion.objects.filter(pk=version.pk).update(created=Now() - timedelta(days=days))
    return version


def test_only_versions_past_their_time_are_removed(image, settings, monkeypatch):
    monkeypatch.setattr(versions, "BATCH", 1)
    settings.HISTORY_RETENTION_DAYS = 10
    old, older, young = aged(image, 11), aged(image, 30), aged(image, 9)
    assert versions.remove_old_versions() == 2
    assert list(ImageVersion.objects.all()) == [young]
    assert {old.pk, older.pk}.isdisjoint(ImageVersion.objects.values_list("pk", flat=True))


def test_the_clock_of_a_machine_removes_no_version(image, settings, monkeypatch):
    aged(image, 80)
    monkeypatch.setattr("django.utils.timezone.now", lambda: image.created + timedelta(days=1000))
    assert versions.remove_old_versions() == 0
    assert ImageVersion.objects.count() == 1


def test_after_a_leap_of_the_clock_nothing_is_removed_for_a_day(image):
    aged(image, 100)
    assert versions.remove_old_versions() == 1
    aged(image, 101)
    MaintenanceTask.objects.filter(pk=versions.NAME).update(last_run=Now() - timedelta(days=3))
    assert [versions.remove_old_versions(), versions.remove_old_versions()] == [0, 0]
    assert [task.name for task in task_state.held()] == [versions.NAME]
    MaintenanceTask.objects.filter(pk=versions.NAME).update(held_since=Now() - timedelta(days=1))
    assert versions.remove_old_versions() == 1
    assert task_state.held() == []


def test_a_purged_image_takes_its_history_along(described, alice):
    alice.upload("acme", images.png(seed=1))
    other = described.organization.images.exclude(pk=described.pk).get()
    for image in (described, other):
        rename_image(image, "other.png", actor=alice.actor)
    delete_image(described, actor=alice.actor)
    assert ImageVersion.objects.count() == 2
    Tombstone.objects.update(expires_at=Now())
    assert purge.purge_expired() == 1
    assert [version.image_id for version in ImageVersion.objects.all()] == [other.pk]
