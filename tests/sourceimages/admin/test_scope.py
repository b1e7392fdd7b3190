"""To staff of another organization, everything in acme looks like it does not exist."""

from uuid import uuid4

import pytest

from organizations.models import Job
from organizations.permissions import Role
from sourceimages.operations import delete_image
from tests.sourceimages.admin.conftest import (
    BULK_ACTION_URL,
    IMAGES_URL,
    TOMBSTONES,
    everything,
    search_fields,
    selection_fields,
    text_of,
)
from tests.support import images

pytestmark = [pytest.mark.usefixtures("consistent"), pytest.mark.any_database]

PAGES = {
    "image": IMAGES_URL + "{image}/change/",
    "image in the trash": IMAGES_URL + "{deleted}/change/",
    "history of an image": IMAGES_URL + "{image}/history/",
    "deleting an image": IMAGES_URL + "{image}/delete/",
    "preview": IMAGES_URL + "{image}/preview/small/",
    "download": IMAGES_URL + "{image}/download/",
    "list": IMAGES_URL + "?organization={organization}",
    "counts": IMAGES_URL + "counts/?organization={organization}",
    "upload": IMAGES_URL + "upload/?organization={organization}",
    "uploading a file": IMAGES_URL + "upload/{organization}/",
    "tombstone": TOMBSTONES + "{tombstone}/change/",
    "job": "/admin/organizations/job/{job}/change/",
    "history of a job": "/admin/organizations/job/{job}/history/",
    "organization": "/admin/organizations/organization/{organization_id}/change/",
}
POSTS = [
    {"action": "name", "name": "taken.png"},
    {"action": "metadata", "version": "", "field": "a", "type": "str", "value": "b"},
    {"action": "alias", "alias": "taken"},
    {"_cancel": "yes", "confirmed": "yes"},
    {"_resume": "yes", "confirmed": "yes"},
    {"_restore": "yes", "confirmed": "yes"},
    {"expire": "yes", "name": "acme"},
    {"post": "yes"},
]


@pytest.fixture
def theirs(acme, three, alice):
    """Keys of rows of acme, and of rows that do not exist."""
    tombstone = delete_image(three[2], actor=alice.actor)
    job = Job.objects.create(organization=acme, kind="copy_all", source="api", params={"destination": "stage"})
    existing = {
        "image": three[0].pk,
        "deleted": three[2].pk,
        "organization": "acme",
        "organization_id": acme.pk,
        "tombstone": tombstone.pk,
        "job": job.pk,
    }
    missing = dict.fromkeys(("image", "deleted"), 10**9)
    missing |= dict.fromkeys(("organization_id", "tombstone", "job"), uuid4())
    return existing, missing | {"organization": "missing"}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("method", ["get", "post", "put"])
def test_existing_rows_look_like_missing_ones(outsider, theirs, page, method):
    existing, missing = (PAGES[page].format_map(keys) for keys in theirs)
    before = everything()
    for fields in POSTS if method == "post" else [{}]:
        answer, other = (getattr(outsider, method)(address, fields or None) for address in (existing, missing))
        assert answer.status_code == other.status_code
        assert answer.status_code in (302, 400, 403, 404, 405)
        assert answer.get("Location", "").replace(existing, "") == other.get("Location", "").replace(missing, "")
        for secret in ("0.png", "2.png"):
            assert secret not in text_of(answer)
    assert everything() == before


def test_lists_do_not_contain_it(outsider, theirs, three):
    for address in (IMAGES_URL + "?organization=", IMAGES_URL + "?organization=&state=trash", TOMBSTONES, IMAGES_URL):
        answer = outsider.get(address)
        assert answer.status_code == 200
        text = text_of(answer)
        assert not any(image.hash in text or image.short_hash in text or image.name in text for image in three)
        assert "acme" not in text
    assert str(theirs[0]["job"]) not in text_of(outsider.get("/admin/organizations/job/"))


@pytest.mark.parametrize("kind", ["lock", "protect", "set_metadata", "delete", "restore", "copy"])
def test_ids_of_another_organization_select_nothing(outsider, charlie, theirs, three, kind):
    charlie.upload("other", images.png(seed=77))
    rows = three[2:] if kind == "restore" else three[:2]
    before = everything()
    sent = selection_fields(rows, kind, organization="other", in_trash=kind == "restore", destination="acme")
    question = outsider.post(BULK_ACTION_URL, sent)
    assert "0 images" in text_of(question)
    assert not any(image.name in text_of(question) for image in three)
    outsider.post(BULK_ACTION_URL, sent | {"confirmed": "yes", "name": "a", "type": "str", "value": "b"})
    assert everything()[0] == before[0]
    assert (
        outsider.post(BULK_ACTION_URL, search_fields("", kind, organization="acme", confirmed="yes")).status_code == 404
    )


def test_colleagues_with_a_role_elsewhere_only_are_outsiders(colleague, stage, theirs, three):
    browser = colleague(Role.ADMIN, organization=stage)
    before = everything()
    assert browser.get(PAGES["image"].format_map(theirs[0])).status_code == 404
    assert browser.post(BULK_ACTION_URL, selection_fields(three, "delete", confirmed="yes")).status_code == 404
    assert everything() == before
