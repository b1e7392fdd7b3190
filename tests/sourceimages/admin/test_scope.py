"""Staff of another organization: whatever belongs to acme is to them as if it were not there."""

from uuid import uuid4

import pytest

from organizations.models import Job
from organizations.permissions import Role
from sourceimages.operations import delete_image
from tests.sourceimages.admin.conftest import ACT, PICTURES, TOMBSTONES, chosen, everything, found, text_of
from tests.support import images

pytestmark = [pytest.mark.usefixtures("consistent"), pytest.mark.any_database]

PAGES = {
    "picture": PICTURES + "{picture}/change/",
    "picture in the trash": PICTURES + "{deleted}/change/",
    "history of a picture": PICTURES + "{picture}/history/",
    "removing a picture": PICTURES + "{picture}/delete/",
    "preview": PICTURES + "{picture}/preview/small/",
    "download": PICTURES + "{picture}/download/",
    "list": PICTURES + "?organization={organization}",
    "counts": PICTURES + "counts/?organization={organization}",
    "upload": PICTURES + "upload/?organization={organization}",
    "taking a file": PICTURES + "upload/{organization}/",
    "tombstone": TOMBSTONES + "{tombstone}/change/",
    "job": "/admin/organizations/job/{job}/change/",
    "history of a job": "/admin/organizations/job/{job}/history/",
    "organization": "/admin/organizations/organization/{organization_id}/change/",
}
POSTS = [
    {"do": "name", "name": "taken.png"},
    {"do": "metadata", "version": "", "field": "a", "type": "str", "value": "b"},
    {"do": "alias", "alias": "taken"},
    {"_stop": "yes", "confirmed": "yes"},
    {"_again": "yes", "confirmed": "yes"},
    {"_restore": "yes", "confirmed": "yes"},
    {"expire": "yes", "name": "acme"},
    {"post": "yes"},
]


@pytest.fixture
def theirs(acme, three, alice):
    """What there is in acme, and the same of what is not there."""
    tombstone = delete_image(three[2], actor=alice.actor)
    job = Job.objects.create(organization=acme, kind="copy_all", source="api", params={"destination": "stage"})
    there = {
        "picture": three[0].pk,
        "deleted": three[2].pk,
        "organization": "acme",
        "organization_id": acme.pk,
        "tombstone": tombstone.pk,
        "job": job.pk,
    }
    nowhere = dict.fromkeys(("picture", "deleted"), 10**9)
    nowhere |= dict.fromkeys(("organization_id", "tombstone", "job"), uuid4())
    return there, nowhere | {"organization": "nobody"}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("method", ["get", "post", "put"])
def test_it_is_as_if_it_were_not_there(outsider, theirs, page, method):
    there, nowhere = (PAGES[page].format_map(keys) for keys in theirs)
    before = everything()
    for fields in POSTS if method == "post" else [{}]:
        answer, other = (getattr(outsider, method)(address, fields or None) for address in (there, nowhere))
        assert answer.status_code == other.status_code
        assert answer.status_code in (302, 400, 403, 404, 405)
        assert answer.get("Location", "").replace(there, "") == other.get("Location", "").replace(nowhere, "")
        for secret in ("0.png", "2.png"):
            assert secret not in text_of(answer)
    assert everything() == before


def test_lists_have_nothing_of_it(outsider, theirs, three):
    for address in (PICTURES + "?organization=", PICTURES + "?organization=&state=trash", TOMBSTONES, PICTURES):
        answer = outsider.get(address)
        assert answer.status_code == 200
        text = text_of(answer)
        assert not any(image.hash in text or image.short_hash in text or image.name in text for image in three)
        assert "acme" not in text
    assert str(theirs[0]["job"]) not in text_of(outsider.get("/admin/organizations/job/"))


@pytest.mark.parametrize("kind", ["lock", "protect", "set_metadata", "delete", "restore", "copy"])
def test_their_ids_in_ones_own_organization_are_nothing(outsider, charlie, theirs, three, kind):
    charlie.upload("other", images.png(seed=77))
    rows = three[2:] if kind == "restore" else three[:2]
    before = everything()
    sent = chosen(rows, kind, organization="other", in_trash=kind == "restore", destination="acme")
    question = outsider.post(ACT, sent)
    assert "0 images" in text_of(question)
    assert not any(image.name in text_of(question) for image in three)
    outsider.post(ACT, sent | {"confirmed": "yes", "name": "a", "type": "str", "value": "b"})
    assert everything()[0] == before[0]
    assert outsider.post(ACT, found("", kind, organization="acme", confirmed="yes")).status_code == 404


def test_colleagues_with_a_role_elsewhere_only_are_outsiders(colleague, stage, theirs, three):
    browser = colleague(Role.ADMIN, organization=stage)
    before = everything()
    assert browser.get(PAGES["picture"].format_map(theirs[0])).status_code == 404
    assert browser.post(ACT, chosen(three, "delete", confirmed="yes")).status_code == 404
    assert everything() == before
