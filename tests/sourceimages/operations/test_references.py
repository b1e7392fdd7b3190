"""Aliases follow to the image that replaces theirs."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection

from organizations.models import AuditEvent
from sourceimages.errors import ImageNotFound
from sourceimages.models import ImageVersion
from sourceimages.operations import (
    change_dynamic_metadata,
    delete_image,
    restore_image,
    restore_version,
    set_protected,
    update_in_place,
)
from sourceimages.operations.aliases import set_alias

AREA = {"subject_area": {"x": 1, "y": 1, "width": 1, "height": 1}}
PATH = "/sourceimages/acme"


def named(image, *names, actor):
    for name in names:
        set_alias(image, name, overwrite=False, actor=actor)
    return image


def hashes(organization):
    return dict(organization.aliases.values_list("alias", "hash"))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "options/protected", True),
        ("PUT", "meta/dynamic/subject_area", AREA["subject_area"]),
    ],
)
def test_aliases_follow_to_the_new_hash_if_the_image_is_replaced(acme, alice, image, method, path, body):
    named(image, "logo", "cover", actor=alice.actor)
    other = set_protected(image, True, delete_previous=False, actor=alice.actor).image
    change_dynamic_metadata(other, {"version": {"text": "x"}}, delete_previous=True, actor=alice.actor)
    named(acme.images.active().exclude(pk=image.pk).get(), "other", actor=alice.actor)
    before = hashes(acme)["other"]
    answer = alice.api.generic(method, f"{PATH}/{image.hash}/{path}?deletePrevious=true", to_json(body))
    new = answer["Location"].rsplit("/", 1)[1]
    assert new != image.hash
    assert hashes(acme) == {"logo": new, "cover": new, "other": before}
    assert alice.api.get(f"{PATH}/alias/logo").json()["hash"] == new
    assert alice.api.get(f"{PATH}/{new}").status_code == 200


def to_json(body):
    return "true" if body is True else '{"x": 1, "y": 1, "width": 1, "height": 1}'


def test_a_removed_entry_moves_them_back_to_the_hash_from_before(acme, alice, image):
    named(image, "logo", actor=alice.actor)
    replaced = change_dynamic_metadata(image, AREA, delete_previous=True, actor=alice.actor).image
    assert hashes(acme) == {"logo": replaced.hash}
    change_dynamic_metadata(replaced, {"subject_area": None}, delete_previous=True, actor=alice.actor)
    assert hashes(acme) == {"logo": image.hash}
    assert acme.images.active().get().hash == image.hash


@pytest.mark.parametrize("exists", [False, True])
def test_they_follow_also_to_an_image_that_existed_before(acme, alice, image, exists):
    named(image, "logo", actor=alice.actor)
    if exists:
        set_protected(image, True, delete_previous=False, actor=alice.actor)
        assert hashes(acme) == {"logo": image.hash}
    target = set_protected(image, True, delete_previous=True, actor=alice.actor).image
    assert hashes(acme) == {"logo": target.hash}


def test_they_stay_if_the_image_stays(acme, alice, image):
    named(image, "logo", actor=alice.actor)
    set_protected(image, True, delete_previous=False, actor=alice.actor)
    update_in_place(image, AREA, actor=alice.actor)
    delete_image(image, actor=alice.actor)
    assert hashes(acme) == {"logo": image.hash}
    assert AuditEvent.objects.filter(action__startswith="alias.").count() == 1


def test_aliases_of_another_organization_stay(acme, stage, alice, image):
    alice.api.generic("COPY", f"{PATH}/{image.hash}", headers={"Destination": "stage"})
    copy = named(stage.images.get(), "logo", actor=alice.actor)
    assert copy.hash == image.hash
    set_protected(image, True, delete_previous=True, actor=alice.actor)
    assert hashes(stage) == {"logo": image.hash}


def test_it_is_in_the_audit_log_and_in_the_history_from_where_it_comes_back(acme, alice, image):
    named(image, "logo", actor=alice.actor)
    target = set_protected(image, True, delete_previous=True, actor=alice.actor).image
    event = AuditEvent.objects.get(action="alias.updated")
    assert (event.organization, event.target, event.user) == (acme, "logo", alice.user)
    assert event.details == {"before": image.hash, "after": target.hash}
    version = ImageVersion.objects.get()
    expected = ("alias_moved", image.pk, {"alias": "logo"}, target.pk)
    assert (version.kind, version.image_id, version.before, version.derived_id) == expected
    restored = restore_image(acme, image.hash, actor=alice.actor)
    assert hashes(acme) == {"logo": target.hash}
    restore_version(restored, version.pk, actor=alice.actor)
    assert hashes(acme) == {"logo": image.hash}


@pytest.mark.django_db(transaction=True)
def test_an_alias_that_is_set_meanwhile_follows_or_is_refused(acme, alice, image):
    for round in range(8):
        current = acme.images.active().get()
        start = Barrier(2)

        def protect(current=current, start=start, protected=round % 2 == 0):
            start.wait()
            set_protected(current, protected, delete_previous=True, actor=alice.actor)
            connection.close()

        def name(current=current, start=start, name=f"logo{round}"):
            start.wait()
            try:
                set_alias(current, name, overwrite=False, actor=alice.actor)
            except ImageNotFound:
                return
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(protect), pool.submit(name)]:
                done.result()
        assert set(hashes(acme).values()) <= {acme.images.active().get().hash}
