"""What is protected stays so: no copy and no look into the trash leads around it."""

import pytest

from organizations.models import Membership
from organizations.permissions import Role
from sourceimages import jobs
from sourceimages.operations import set_protected
from tests.sourceimages.api.test_copy import PROTECTED, copy, copy_many
from tests.support import images

pytestmark = [pytest.mark.usefixtures("consistent"), pytest.mark.any_database]

WITHOUT = [Role.IMAGES_WRITE, Role.IMAGES_READ]  # may copy, but not download what is protected


@pytest.fixture
def secret(acme, alice):
    """A protected image of acme."""
    hash = alice.upload(acme, images.png(seed=9), **PROTECTED).json()["items"][0]["hash"]
    return acme.images.get(hash=hash)


@pytest.fixture
def copier(stage, member):
    """Creates a user with this role in acme, who can write to stage."""

    def make(*roles):
        person = member(*roles)
        Membership.objects.create(
            organization=stage, user=person.user, roles=[Role.IMAGES_WRITE, Role.PROTECTED_DOWNLOAD]
        )
        return person

    return make


# Copies


@pytest.mark.parametrize("method", ["COPY", "POST"])
@pytest.mark.parametrize("role", WITHOUT)
def test_a_protected_image_is_not_copied_by_those_who_may_not_download_it(secret, copier, stage, role, method):
    answer = copy(copier(role), secret, method=method)
    assert (answer.status_code, answer.json()["reason"]) == (403, "protected_original")
    assert (stage.images.count(), stage.files.count()) == (0, 0)


@pytest.mark.parametrize("role", WITHOUT)
def test_of_several_the_protected_ones_stay(image, secret, copier, stage, role):
    answer = copy_many(copier(role), [image.hash, secret.short_hash])
    assert answer.json() == {
        "existing": [],
        "created": [image.hash],
        "notfound": [secret.hash],
        "protected": [secret.hash],
    }
    assert [one.hash for one in stage.images.all()] == [image.hash]
    assert stage.files.count() == 1


@pytest.mark.parametrize("role", WITHOUT)
def test_a_job_copies_only_what_its_creator_can_download(image, secret, copier, stage, role, in_process):
    person = copier(role)
    started = person.api.post("/jobs/acme", {"kind": "copy_all", "destination": "stage"}, format="json")
    job = jobs.run(jobs.get(image.organization, started.json()["id"]).pk)
    assert job.counts == {"created": 1, "not_permitted": 1}
    assert (job.failed, [failure["hash"] for failure in job.errors]) == (1, [secret.hash])
    assert [one.hash for one in stage.images.all()] == [image.hash]


def test_a_job_asks_again_when_rights_were_taken_meanwhile(secret, copier, stage):
    person = copier(Role.READ)
    job = jobs.start_copy_all(secret.organization, stage, overwrite=False, actor=person.actor)
    Membership.objects.filter(user=person.user, organization=secret.organization).update(roles=[Role.IMAGES_READ])
    assert jobs.run(job.pk).counts == {"not_permitted": 1}
    assert not stage.images.exists()


@pytest.mark.parametrize("role", [Role.READ, Role.WRITE, Role.ADMIN_READ])
def test_those_who_may_download_it_may_copy_it(secret, copier, stage, role):
    person = copier(role)
    assert copy(person, secret).status_code == 201
    assert stage.images.get().protected
    assert copy_many(person, [secret.hash]).json() == {"existing": [secret.hash], "created": [], "notfound": []}


def test_a_public_key_carries_nothing_protected_to_a_stranger(secret, member, charlie):
    bob = member(Role.IMAGES_READ)
    roles = {"roles": ["admin"]}
    charlie.api.put(f"/organizations/other/memberships/{bob.user.pk}", roles, format="json")
    assert bob.api.get("/organizations/other").status_code == 200
    assert copy(bob, secret, "other").status_code == 403
    assert copy_many(bob, [secret.hash], "other").status_code == 403
    job = bob.api.post("/jobs/acme", {"kind": "copy_all", "destination": "other"}, format="json")
    assert job.status_code == 403
    assert not Membership.objects.get(user=charlie.user).organization.images.exists()


# The trash


def download(person, hash, *, deleted):
    query = "?deleted=true" if deleted else ""
    return person.api.get(f"/sourceimages/acme/{hash}/download{query}")


@pytest.mark.parametrize(
    ("roles", "status"),
    [
        ([Role.READ], 403),
        ([Role.ADMIN_READ], 403),
        ([Role.IMAGES_READ], 403),
        ([Role.PROTECTED_DOWNLOAD], 403),
        ([Role.IMAGES_WRITE], 200),
        ([Role.WRITE], 200),
    ],
)
def test_the_trash_is_for_those_who_may_write(image, alice, member, roles, status):
    alice.api.delete(f"/sourceimages/acme/{image.hash}")
    assert download(member(*roles), image.hash, deleted=True).status_code == status


@pytest.mark.parametrize("role", [Role.READ, Role.IMAGES_WRITE])
def test_the_unprotected_twin_in_the_trash_is_no_way_around_protection(image, alice, member, role):
    changed = alice.api.put(
        f"/sourceimages/acme/{image.hash}/options/protected?deletePrevious=true", True, format="json"
    )
    assert changed.status_code == 201
    person = member(role)
    assert download(person, image.hash, deleted=True).status_code == 403
    assert download(person, image.hash, deleted=False).status_code == 404
    assert download(alice, image.hash, deleted=True).status_code == 200


def test_a_protected_twin_in_the_trash_counts_too(image, alice, member):
    protected = set_protected(image, True, delete_previous=False, actor=alice.actor).image
    for hash in (image.hash, protected.hash):
        alice.api.delete(f"/sourceimages/acme/{hash}")
    answer = download(member(Role.IMAGES_WRITE), image.hash, deleted=True)
    assert (answer.status_code, answer.json()["reason"]) == (403, "protected_original")


def test_an_unprotected_image_that_is_active_is_what_it_was(image, alice, member):
    set_protected(image, True, delete_previous=False, actor=alice.actor)
    assert download(member(Role.IMAGES_READ), image.hash, deleted=False).status_code == 200
