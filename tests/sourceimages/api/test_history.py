"""The history of an image and undoing jobs, over HTTP."""

from uuid import UUID

import pytest

from organizations.models import Job
from organizations.permissions import Role
from sourceimages import jobs
from sourceimages.jobs.selection import Selection
from sourceimages.models import ImageVersion, SourceImage
from sourceimages.operations import rename_image, set_locked
from tests.support import images

pytestmark = pytest.mark.usefixtures("consistent")


@pytest.fixture(autouse=True)
def nobody_works(monkeypatch):
    """Jobs wait until a test has them done."""
    monkeypatch.setattr("sourceimages.api.jobs.enqueue_job", lambda job_id: None)


def path_of(image, *parts):
    return "/".join(["/sourceimages/acme", image.hash, "history", *map(str, parts)])


def name_of(image):
    return SourceImage.objects.get(pk=image.pk).name


def test_the_history_says_who_changed_what_and_what_was_before(image, alice):
    link = f"/sourceimages/acme/{image.hash}"
    alice.api.put(f"{link}/name", "second.png", format="json")
    alice.api.patch(f"{link}/meta/user", {"title": "x"}, format="json")
    answer = alice.api.get(path_of(image))
    assert answer.status_code == 200
    changed, renamed = answer.json()["items"]
    assert answer.json().keys() == {"items"}
    assert (changed["kind"], changed["before"]) == ("metadata_updated", {"user_metadata": {}})
    assert (renamed["kind"], renamed["before"]) == ("renamed", {"name": "harbour.png"})
    assert renamed.keys() == {"id", "created", "kind", "source", "user_id", "api_key_id", "job_id", "before"}
    assert (renamed["user_id"], renamed["source"], renamed["job_id"]) == (str(alice.user.pk), "api", None)


def test_values_of_an_overwritten_image_have_the_form_of_the_api(image, acme, stage, alice):
    before = alice.api.get(f"/sourceimages/acme/{image.hash}").json()
    alice.upload(stage, images.png(), name="other.png")
    assert alice.api.post(f"/sourceimages/stage/{image.hash}/copy", HTTP_DESTINATION="acme").status_code == 204
    (version,) = alice.api.get(path_of(image)).json()["items"]
    assert version["before"] == {name: before[name] for name in ("name", "created")}


def test_pages_follow_each_other(image, alice):
    for number in range(5):
        rename_image(image, f"{number}.png", actor=alice.actor)
    names, cursor = [], ""
    for _ in range(3):
        page = alice.api.get(path_of(image), {"limit": 2, "cursor": cursor}).json()
        names += [version["before"]["name"] for version in page["items"]]
        cursor = page.get("cursor", "")
    assert names == ["3.png", "2.png", "1.png", "0.png", "harbour.png"]
    assert cursor == ""


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"cursor": "x"}, {"cursor": "cW10"}]
)
def test_a_bad_page_is_refused(image, alice, query):
    answer = alice.api.get(path_of(image), query)
    assert (answer.status_code, answer.json()["reason"]) == (400, "invalid")


def test_a_version_is_restored(image, alice):
    rename_image(image, "second.png", actor=alice.actor)
    answer = alice.api.post(path_of(image, ImageVersion.objects.get().pk, "restore"))
    assert (answer.status_code, answer.json()["name"]) == (200, "harbour.png")
    assert name_of(image) == "harbour.png"


@pytest.mark.parametrize("version", ["0", "x", "-1", "9" * 19, "²"])
def test_a_version_that_does_not_exist_is_not_found(image, alice, version):
    answer = alice.api.post(path_of(image, version, "restore"))
    assert (answer.status_code, answer.json()["reason"]) == (404, "version_not_found")


def test_a_locked_image_refuses(image, alice):
    rename_image(image, "second.png", actor=alice.actor)
    set_locked(image, True, actor=alice.actor)
    answer = alice.api.post(path_of(image, ImageVersion.objects.get().pk, "restore"))
    assert (answer.status_code, answer.json()["reason"], name_of(image)) == (423, "image_locked", "second.png")


def test_a_key_that_may_only_read_restores_no_version_and_undoes_no_job(image, acme, alice, member):
    job = renamed_metadata(acme, alice)
    rename_image(image, "second.png", actor=alice.actor)
    reader, before = member(Role.READ).api, list(acme.images.values())
    assert len(reader.get(path_of(image)).json()["items"]) == 2
    version = ImageVersion.objects.latest("pk").pk
    for path in (path_of(image, version, "restore"), f"/jobs/acme/{job.pk}/undo"):
        answer = reader.post(path)
        assert (answer.status_code, answer.json()["reason"]) == (403, "role_missing")
    assert (list(acme.images.values()), Job.objects.count()) == (before, 1)


def test_the_history_of_a_deleted_image_is_in_the_trash_with_it(image, alice):
    rename_image(image, "second.png", actor=alice.actor)
    alice.api.delete(f"/sourceimages/acme/{image.hash}")
    assert alice.api.get(path_of(image)).status_code == 404
    assert len(alice.api.get(path_of(image), {"deleted": "true"}).json()["items"]) == 1


# --- Undoing jobs -----------------------------------------------------------------------------------------------------


def renamed_metadata(acme, alice):
    chosen = Selection(acme, in_trash=False, ids=tuple(acme.images.values_list("pk", flat=True)))
    return jobs.run(jobs.start_bulk_action("set_metadata", chosen, actor=alice.actor, changes={"title": "All"}).pk)


def test_a_job_is_undone(image, acme, alice):
    job = renamed_metadata(acme, alice)
    answer = alice.api.post(f"/jobs/acme/{job.pk}/undo")
    assert (answer.status_code, answer.json()["kind"]) == (202, "undo")
    assert answer.json()["params"] == {"job": str(job.pk), "undone": "set_metadata"}
    assert alice.api.get(answer["Location"]).json() == answer.json()
    assert jobs.run(UUID(answer.json()["id"])).counts == {"undone": 1}
    assert SourceImage.objects.get(pk=image.pk).user_metadata == {}


def test_a_copy_is_undone_where_it_went_by_those_who_may_write_there(image, acme, stage, alice, member):
    job = jobs.run(jobs.start_copy_all(acme, stage, overwrite=False, actor=alice.actor).pk)
    bob = member(Role.WRITE)  # in acme, but not in stage
    answer = bob.api.post(f"/jobs/acme/{job.pk}/undo")
    assert (answer.status_code, answer.json()["reason"]) == (403, "not_a_member")
    assert stage.images.active().count() == 1

    answer = alice.api.post(f"/jobs/acme/{job.pk}/undo")
    assert answer.status_code == 202
    assert answer["Location"] == f"/jobs/stage/{answer.json()['id']}"
    jobs.run(UUID(answer.json()["id"]))
    assert (stage.images.active().count(), acme.images.active().count()) == (0, 1)


def test_a_job_without_changes_is_not_undone(image, acme, alice):
    job = jobs.run(jobs.start_reindex(acme, actor=alice.actor).pk)
    answer = alice.api.post(f"/jobs/acme/{job.pk}/undo")
    assert (answer.status_code, answer.json()["reason"]) == (409, "job_not_undoable")
