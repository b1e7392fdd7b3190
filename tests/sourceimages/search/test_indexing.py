"""What is merely not indexed is neither found by mistake nor taken for missing."""

import json
from threading import Event, Thread

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from organizations.audit import COMMAND
from organizations.models import Job
from organizations.operations import create_organization_with_admin, update_options
from sourceimages import jobs, tasks
from sourceimages.errors import IndexNotReady, InvalidFilter
from sourceimages.jobs import create
from sourceimages.jobs.selection import Selection
from sourceimages.models import MetadataToken, SearchIndex, SourceImage
from sourceimages.operations import change_user_metadata, copy_image, delete_image
from sourceimages.search import index_state
from tests.support import images

pytestmark = pytest.mark.usefixtures("consistent", "in_process")

HOUSES, LAKES = "Die Häuser", "Die Seen"


def uploaded(alice, acme, caption: str, seed: int) -> SourceImage:
    metadata = json.dumps({"text:caption": caption, "int:year": 2000 + seed})
    answer = alice.upload(acme, images.png(seed=seed), name=f"{seed}.png", **{"meta_user[0]": metadata})
    return acme.images.active().get(hash=answer.json()["items"][0]["hash"])


@pytest.fixture
def two(acme, alice) -> list[SourceImage]:
    return [uploaded(alice, acme, caption, seed) for seed, caption in enumerate((HOUSES, LAKES))]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr("sourceimages.jobs.batches.INDEX_BATCH", 1)


def speak(acme, language: str | None) -> None:
    update_options(acme, {"search_language": language}, actor=COMMAND)
    acme.refresh_from_db()


def listed(alice, **query):
    return alice.api.get("/sourceimages/acme", query)


def found(alice, **query) -> list[str]:
    return sorted(item["name"] for item in listed(alice, **query).json()["items"])


METADATA = [
    {"user:text:caption": "Haus"},
    {"not:user:text:caption": "Haus"},
    {"q": "NOT user:int:year:2000"},
    {"q": "harbour"},
    {"sort": "user:int:year"},
    {"facets": "user:title"},
]


@pytest.mark.parametrize("query", METADATA)
def test_metadata_is_not_searched_until_it_is_indexed_in_the_new_language(acme, alice, two, query):
    speak(acme, "german")
    answer = listed(alice, **query)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (409, "index_not_ready")
    assert "0 of 2 images" in answer.json()["error"]["message"]
    jobs.run(jobs.start_reindex(acme, actor=COMMAND).pk)
    assert listed(alice, **query).status_code == 200


def test_columns_are_searched_all_the_time(acme, alice, two):
    speak(acme, "german")
    assert found(alice, format="png") == ["0.png", "1.png"]
    assert found(alice, name="1*", sort="size desc") == ["1.png"]
    assert listed(alice, facets="format").json()["facets"]["format"] == [{"value": "png", "count": 2}]
    assert alice.api.get("/sourceimages/acme/fields").status_code == 409
    jobs.run(jobs.start_reindex(acme, actor=COMMAND).pk)


def test_the_index_is_rebuilt_by_itself(acme, alice, two):
    speak(acme, "german")
    tasks.index_stale()
    job = Job.objects.get(kind="reindex")
    if job.unfinished:  # its transaction has not ended: a test is one
        job = jobs.run(job.pk)
    assert (job.state, job.source, job.counts) == ("succeeded", "system", {"indexed": 2})
    assert found(alice, **{"user:text:caption": "Haus"}) == ["0.png"]
    assert found(alice, **{"not:user:text:caption": "Haus"}) == ["1.png"]
    tasks.index_stale()
    assert Job.objects.count() == 1


def test_it_is_rebuilt_after_an_upgrade_that_indexes_otherwise(acme, alice, two, monkeypatch):
    monkeypatch.setattr(index_state, "VERSION", index_state.VERSION + 1)
    assert listed(alice, q="NOT user:int:year:2000").status_code == 409
    (job,) = jobs.index_stale()
    jobs.run(job.pk)
    assert found(alice, q="NOT user:int:year:2000") == ["1.png"]


def test_a_new_organization_is_searched_at_once(acme, alice):
    assert found(alice, **{"user:text:caption": "Haus"}) == []
    speak(acme, "german")
    assert found(alice, **{"user:text:caption": "Haus"}) == []
    uploaded(alice, acme, HOUSES, 0)
    assert found(alice, **{"user:text:caption": "Haus"}) == ["0.png"]
    assert SearchIndex.objects.get().made_for == index_state.current_version("german")
    assert not list(index_state.stale())


def test_what_comes_while_the_index_is_built_is_found_afterwards(acme, alice, two):
    speak(acme, "german")
    job = jobs.start_reindex(acme, actor=COMMAND)
    jobs.run_one_batch(job.pk)
    uploaded(alice, acme, HOUSES, 2)
    change_user_metadata(two[0], {"text:caption": LAKES}, actor=COMMAND)
    assert jobs.run(job.pk).state == "succeeded"
    assert found(alice, **{"user:text:caption": "Haus"}) == ["2.png"]
    assert found(alice, **{"user:text:caption": "Seen"}) == ["0.png", "1.png"]


def test_a_language_that_changes_while_the_index_is_built_is_not_taken_for_done(acme, alice, two):
    speak(acme, "german")
    job = jobs.start_reindex(acme, actor=COMMAND)
    jobs.run_one_batch(job.pk)
    speak(acme, "french")
    job = jobs.run(job.pk)
    assert (job.state, "language" in job.error) == ("failed", True)
    with pytest.raises(IndexNotReady):
        index_state.check_current(acme)
    (again,) = jobs.index_stale()
    assert again.params["index"] == index_state.current_version("french")
    assert jobs.run(again.pk).state == "succeeded"
    assert index_state.check_current(acme) == "french"


def test_there_and_back_again_with_an_upload_between_is_not_taken_for_current(acme, alice, two):
    speak(acme, "german")
    job = jobs.start_reindex(acme, actor=COMMAND)
    jobs.run_one_batch(job.pk)
    speak(acme, None)
    uploaded(alice, acme, HOUSES, 2)  # its words are English ones
    speak(acme, "german")
    jobs.run(job.pk)
    assert listed(alice, **{"user:text:caption": "Haus"}).status_code == 409
    (again,) = jobs.index_stale()
    jobs.run(again.pk)
    assert found(alice, **{"user:text:caption": "Haus"}) == ["0.png", "2.png"]


def test_there_and_back_again_with_nothing_between_needs_nothing(acme, alice, two):
    speak(acme, "german")
    speak(acme, "english")
    assert found(alice, q="user:text:caption:Seen") == ["1.png"]
    assert jobs.index_stale() == []


@pytest.mark.parametrize("state", ["cancelled", "failed"])
def test_who_stops_it_has_an_hour(acme, two, state):
    speak(acme, "german")
    (job,) = jobs.index_stale()
    jobs.stop(job, Job.State(state), actor=COMMAND)
    assert jobs.index_stale() == []
    Job.objects.update(finished=job.created - create.REINDEX_PAUSE)
    (again,) = jobs.index_stale()
    assert again.pk != job.pk
    jobs.run(again.pk)


def test_what_was_interrupted_goes_on(acme, two):
    speak(acme, "german")
    (job,) = jobs.index_stale()
    jobs.run_one_batch(job.pk)
    jobs.stop(job, Job.State.PAUSED, actor=COMMAND)
    assert [one.pk for one in jobs.index_stale()] == [job.pk]
    assert jobs.run(job.pk).counts == {"indexed": 2}
    assert index_state.check_current(acme) == "german"


def test_the_command_makes_the_index_current(acme, alice, two, capsys):
    speak(acme, "german")
    call_command("rebuild_index", "acme")
    assert capsys.readouterr().out == "acme: 2 images\n"
    assert found(alice, **{"user:text:caption": "Haus"}) == ["0.png"]


def test_copies_of_what_is_not_indexed_yet_are_indexed_where_they_are(acme, alice, stage, two):
    speak(acme, "german")
    speak(stage, "german")
    copy_image(two[0], stage, overwrite=False, actor=COMMAND)
    assert set(
        MetadataToken.objects.filter(image__organization=stage, field__name="user:caption").values_list(
            "value", flat=True
        )
    ) == {"die", "haus"}
    jobs.run(jobs.start_reindex(acme, actor=COMMAND).pk)


def test_the_page_of_images_says_that_it_is_being_built(acme, two, client, django_user_model):
    speak(acme, "german")
    django_user_model.objects.create_superuser("ines", "quiet-harbour-42", email="ines@example.org")
    client.login(username="ines", password="quiet-harbour-42")
    page = client.get("/admin/sourceimages/sourceimage/", {"organization": "acme", "q": "harbour"})
    assert "search index of &#x27;acme&#x27; is being rebuilt" in page.content.decode()
    jobs.run(jobs.start_reindex(acme, actor=COMMAND).pk)


@pytest.mark.django_db(transaction=True)
def test_building_the_index_waits_for_those_who_write_it_in_an_earlier_language(acme, alice, two):
    """An upload that began before the change of the language, and ends after the job has begun."""
    written, begun = Event(), Event()

    def upload_slowly() -> None:
        with transaction.atomic():
            change_user_metadata(two[0], {"text:caption": HOUSES, "title": "slow"}, actor=COMMAND)
            written.set()
            begun.wait(0.5)  # in vain: the job cannot begin
        connection.close()

    def change_and_begin() -> None:
        written.wait(5)
        speak(acme, "german")
        jobs.start_reindex(acme, actor=COMMAND)
        begun.set()
        connection.close()

    threads = [Thread(target=upload_slowly), Thread(target=change_and_begin)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert jobs.run(Job.objects.get().pk).state == "succeeded"
    assert found(alice, **{"user:text:caption": "Haus"}) == ["0.png"]


# --- NOT over unused fields ------------------------------------------------------------------------------------------

NEGATIONS = [
    "not:user:rights=free",
    "q=NOT user:rights:free",
    "q=format:png AND NOT (user:int:year:2000 OR user:rights:free)",
    "not:user:year=2000",  # the field is an int, and this asks for a text
    "not:user:latlon:place=47,8~1km",
    "operator=or&not:user:rights=free&format=gif",
]


@pytest.mark.parametrize("search", NEGATIONS)
def test_a_negation_over_a_field_that_no_image_has_selects_nothing_to_delete(acme, two, search):
    with pytest.raises(InvalidFilter):
        jobs.start_bulk_action("delete", Selection(acme, in_trash=False, search=search), actor=COMMAND)
    assert acme.images.active().count() == 2
    assert not Job.objects.exists()
    assert not acme.tombstones.exists()
    assert Selection(acme, in_trash=False, search=search, for_list=True).images().count() > 0


def test_a_negation_over_a_field_that_some_have_selects_the_others(acme, two):
    for search in ("not:user:int:year=2000", "q=NOT NOT NOT user:int:year:2000"):
        assert Selection(acme, in_trash=False, search=search).images().get().pk == two[1].pk


def test_a_field_of_deleted_images_only_counts_as_unused(acme, two):
    change_user_metadata(two[0], {"rights": "free"}, actor=COMMAND)
    delete_image(two[0], actor=COMMAND)
    with pytest.raises(InvalidFilter):
        Selection(acme, in_trash=False, search="not:user:rights=free").images()
    assert Selection(acme, in_trash=True, search="not:user:rights=fair").images().get().pk == two[0].pk


def test_fields_of_other_organizations_do_not_count(acme, two, charlie):
    other = create_organization_with_admin("third", email="a@example.org", actor=COMMAND).organization
    copy_image(two[0], other, overwrite=False, actor=COMMAND)
    change_user_metadata(other.images.get(), {"rights": "free"}, actor=COMMAND)
    with pytest.raises(InvalidFilter):
        Selection(acme, in_trash=False, search="not:user:rights=free").images()


def test_nothing_is_deleted_by_what_is_merely_not_indexed(acme, two):
    speak(acme, "german")
    with pytest.raises(IndexNotReady):
        jobs.start_bulk_action(
            "delete", Selection(acme, in_trash=False, search="not:user:text:caption=Haus"), actor=COMMAND
        )
    assert acme.images.active().count() == 2
    jobs.run(jobs.start_reindex(acme, actor=COMMAND).pk)
    job = jobs.start_bulk_action(
        "delete", Selection(acme, in_trash=False, search="not:user:text:caption=Haus"), actor=COMMAND
    )
    assert jobs.run(job.pk).counts == {"deleted": 1}
    assert acme.images.active().get().pk == two[0].pk
