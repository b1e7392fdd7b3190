"""The list of images: filters, search, counts, sorting and paging."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from organizations.permissions import Role
from sourceimages.admin import list_filters
from sourceimages.models import SourceImage
from sourceimages.operations import delete_image, set_locked, set_protected
from sourceimages.search import cost, slots
from tests.sourceimages.admin.conftest import IMAGES_URL, everything, text_of
from tests.support import images
from tests.support.rows import insert_images

pytestmark = [pytest.mark.usefixtures("consistent"), pytest.mark.any_database]

COUNTS = IMAGES_URL + "counts/"


def names(answer):
    assert answer.status_code == 200
    return [image.name for image in answer.context["page"].items]


def listed(browser, **parameters):
    return names(browser.get(IMAGES_URL, {"organization": "acme", **parameters}))


@pytest.fixture
def various(acme, alice):
    """A locked PNG, a protected JPEG, an old SVG, a large PNG and one in the trash."""
    contents = {
        "locked.png": images.png(seed=1),
        "protected.jpg": images.jpeg(seed=2),
        "old.svg": images.svg(),
        "large.png": images.png(400, 200, seed=3),
        "deleted.png": images.png(seed=4),
    }
    found = {}
    for name, content in contents.items():
        assert alice.upload(acme, content, name=name).status_code == 200
        found[name] = acme.images.get(name=name)
    set_locked(found["locked.png"], True, actor=alice.actor)
    set_protected(found["protected.jpg"], True, delete_previous=True, actor=alice.actor)
    SourceImage.objects.filter(name="old.svg").update(created=timezone.now() - timedelta(days=60))
    delete_image(found["deleted.png"], actor=alice.actor)
    return found


# --- Filters and search -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, {"locked.png", "protected.jpg", "old.svg", "large.png"}),
        ({"state": "locked"}, {"locked.png"}),
        ({"state": "protected"}, {"protected.jpg"}),
        ({"state": "trash"}, {"deleted.png", "protected.jpg"}),
        ({"format": "png"}, {"locked.png", "large.png"}),
        ({"format": "svg"}, {"old.svg"}),
        ({"size": "tiny"}, {"locked.png", "protected.jpg", "old.svg"}),
        ({"size": "small"}, {"large.png"}),
        ({"size": "large"}, set()),
        ({"age": "day"}, {"locked.png", "protected.jpg", "large.png"}),
        ({"age": "year"}, {"old.svg"}),
        ({"age": "older"}, set()),
        ({"format": "png", "state": "locked", "size": "tiny", "age": "day"}, {"locked.png"}),
        ({"format": "png", "age": "year"}, set()),
        ({"state": "trash", "format": "png"}, {"deleted.png"}),
    ],
)
def test_filters(staff, various, parameters, expected):
    assert set(listed(staff, **parameters)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("large", {"large.png"}),
        ("lar", {"large.png"}),
        ("  LAR  ", {"large.png"}),
        ("large.png", {"large.png"}),
        ("locked pn", {"locked.png"}),
        ("nothing", set()),
        ("format:png", {"locked.png", "large.png"}),
        ("format:png AND locked:true", {"locked.png"}),
        ("old OR large", {"old.svg", "large.png"}),
    ],
)
def test_searching(staff, various, text, expected):
    assert set(listed(staff, q=text)) == expected


@pytest.mark.parametrize("field", ["hash", "short_hash", "binary_hash"])
def test_a_hash_finds_its_image(staff, various, field):
    image = various["large.png"]
    assert listed(staff, q=getattr(image, field)) == ["large.png"]
    assert names(staff.get(IMAGES_URL, {"organization": "", "q": getattr(image, field)})) == ["large.png"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("user:int:year:[", set()), ('"large', {"large.png"}), ("(large", {"large.png"}), ("large AND", {"large.png"})],
)
def test_an_invalid_query_is_read_as_words_with_a_notice(staff, various, text, expected):
    answer = staff.get(IMAGES_URL, {"organization": "acme", "q": text})
    assert (answer.status_code, set(names(answer))) == (200, expected)
    assert "searched as words" in text_of(answer)
    assert "searched as words" not in text_of(staff.get(IMAGES_URL, {"organization": "acme", "q": "large"}))


def test_days_are_whole_days(staff, various):
    created = various["large.png"].created.date()
    assert "large.png" in listed(staff, q=f"created:{created}")
    assert "large.png" in listed(staff, q=f"created:[{created},{created}]")
    assert "large.png" not in listed(staff, q=f"created:{{{created},}}")


@pytest.mark.parametrize(
    "parameters",
    [
        {"offset": "nonsense"},
        {"offset": "-1"},
        {"offset": "9" * 17},
    ],
)
def test_an_invalid_offset_is_an_error_on_the_page(staff, various, parameters):
    answer = staff.get(IMAGES_URL, {"organization": "acme", **parameters})
    assert answer.status_code == 400
    assert answer.context["problem"]
    assert answer.context["page"].items == []
    assert 'role="alert"' in text_of(answer)


@pytest.mark.parametrize("name", ["state", "size", "age"])
def test_invalid_values_of_filters_are_refused(staff, various, name):
    for organization in ("acme", ""):
        answer = staff.get(IMAGES_URL, {"organization": organization, name: "<b>nothing"})
        assert answer.status_code in (200, 400)
        assert "<b>nothing" not in text_of(answer)
    assert staff.get(IMAGES_URL, {"organization": "acme", name: "nothing"}).status_code == 400


def test_the_trash_shows_when_images_expire(staff, various):
    assert "in the trash, 30 days left" in text_of(staff.get(IMAGES_URL, {"organization": "acme", "state": "trash"}))


def test_the_search_text_is_escaped(staff, acme):
    page = text_of(staff.get(IMAGES_URL, {"organization": "acme", "q": '"><script>alert(1)</script>'}))
    assert "<script>alert" not in page


# --- Organizations ----------------------------------------------------------------------------------------------------


@pytest.fixture
def everywhere(acme, stage, alice, charlie):
    """An image in each of three organizations."""
    for number, (person, name) in enumerate([(alice, "acme"), (alice, "stage"), (charlie, "other")]):
        person.upload(name, images.png(seed=number), name=f"of {name}.png")


def test_superusers_list_all_organizations_or_one(staff, everywhere):
    assert names(staff.get(IMAGES_URL, {"organization": ""})) == ["of other.png", "of stage.png", "of acme.png"]
    assert names(staff.get(IMAGES_URL, {"organization": "stage"})) == ["of stage.png"]
    assert [one.name for one in staff.get(IMAGES_URL).context["organizations"]] == ["acme", "other", "stage"]


def test_the_choice_is_remembered(staff, everywhere):
    assert names(staff.get(IMAGES_URL, {"organization": "stage"})) == ["of stage.png"]
    assert names(staff.get(IMAGES_URL)) == ["of stage.png"]
    staff.get(IMAGES_URL, {"organization": ""})
    assert len(names(staff.get(IMAGES_URL))) == 3


def test_staff_see_their_organizations_only(stage_writer, everywhere):
    assert names(stage_writer.get(IMAGES_URL, {"organization": ""})) == ["of stage.png", "of acme.png"]
    assert names(stage_writer.get(IMAGES_URL, {"organization": "", "q": "of "})) == ["of stage.png", "of acme.png"]
    assert [one.name for one in stage_writer.get(IMAGES_URL).context["organizations"]] == ["acme", "stage"]
    existing = stage_writer.get(IMAGES_URL, {"organization": "other"})
    missing = stage_writer.get(IMAGES_URL, {"organization": "missing"})
    assert (existing.status_code, missing.status_code) == (404, 404)
    assert text_of(existing).replace("other", "missing").count("missing") == text_of(missing).count("missing")


def test_the_only_organization_is_chosen(colleague, everywhere):
    assert names(colleague(Role.READ).get(IMAGES_URL)) == ["of acme.png"]


def test_users_who_lost_access_to_the_remembered_organization_do_not_see_it(stage_writer, stage, everywhere):
    assert names(stage_writer.get(IMAGES_URL, {"organization": "stage"})) == ["of stage.png"]
    stage.memberships.filter(user__username="dora").update(active=False)
    assert names(stage_writer.get(IMAGES_URL)) == ["of acme.png"]
    assert stage_writer.get(COUNTS).json() in ({"total": None, "filters": {}},) or stage_writer.get(
        COUNTS
    ).status_code in (403, 404)


def test_all_organizations_are_searched_by_name_and_have_a_trash(staff, stage, everywhere, alice):
    assert names(staff.get(IMAGES_URL, {"organization": "", "q": "of st"})) == ["of stage.png"]
    delete_image(stage.images.get(), actor=alice.actor)
    assert names(staff.get(IMAGES_URL, {"organization": "", "state": "trash"})) == ["of stage.png"]
    answer = staff.get(IMAGES_URL, {"organization": ""})
    assert len(names(answer)) == 2
    assert answer.context["actions"] == []
    assert 'name="ids"' not in text_of(answer)


def test_staff_without_memberships_see_nothing(client, everywhere, django_user_model):
    client.force_login(django_user_model.objects.create(email="new@example.org", password="!", is_staff=True))
    for address in (IMAGES_URL, IMAGES_URL + "?organization=acme", IMAGES_URL + "?organization="):
        assert client.get(address).status_code == 403


# --- Counts -----------------------------------------------------------------------------------------------------------


def test_counts_match_the_results_of_each_filter(staff, various):
    counted = staff.get(COUNTS, {"organization": "acme"}).json()
    assert counted == {
        "total": 4,
        "filters": {
            "state": {"": 4, "locked": 1, "protected": 1, "trash": 2},
            "format": {"png": 2, "jpg": 1, "svg": 1},
            "size": {"tiny": 3, "small": 1},
            "age": {"day": 3, "year": 1},
        },
    }
    for name in ("format", "size", "age"):
        for value, count in counted["filters"][name].items():
            assert len(listed(staff, **{name: value})) == count


def test_counts_respect_the_other_filters(staff, various):
    counted = staff.get(COUNTS, {"organization": "acme", "format": "png"}).json()
    assert counted["total"] == 2
    assert counted["filters"]["size"] == {"tiny": 1, "small": 1}
    assert counted["filters"]["state"]["locked"] == 1
    trash = staff.get(COUNTS, {"organization": "acme", "state": "trash"}).json()
    assert trash["total"] == 2
    assert trash["filters"]["state"][""] == 4


def test_counts_are_of_one_organization(staff, colleague, outsider, various):
    assert staff.get(COUNTS, {"organization": ""}).json() == {"total": None, "filters": {}}
    assert outsider.get(COUNTS, {"organization": "acme"}).status_code == 404
    assert colleague(Role.UPLOAD).get(COUNTS, {"organization": "acme"}).status_code == 403


def test_counts_of_a_bad_search_are_refused(staff, various):
    assert staff.get(COUNTS, {"organization": "acme", "q": "(" * 21}).status_code == 400


def test_expensive_searches_of_a_user_need_slots(staff, ines, various, monkeypatch):
    monkeypatch.setattr(cost, "HEAVY_ROWS", 0)
    key = f"staff:{ines.pk}"
    with slots.reserved(key), slots.reserved(key):
        refused = staff.get(IMAGES_URL, {"organization": "acme", "q": "*.png"})
        assert refused.status_code == 429
        assert "2 expensive searches are in progress" in text_of(refused)
        assert 'value="*.png"' in refused.content.decode()
        assert staff.get(COUNTS, {"organization": "acme", "q": "*.png"}).status_code == 429
        assert listed(staff)  # without a search
    assert len(listed(staff, q="png")) == 2
    assert staff.get(COUNTS, {"organization": "acme", "q": "png"}).json()["total"] == 2


def test_a_search_that_takes_too_long_keeps_its_text(staff, various, settings):
    settings.SEARCH_TIMEOUT_SECONDS = 0.000001
    answer = staff.get(IMAGES_URL, {"organization": "acme", "q": "png"})
    assert answer.status_code == 503
    assert "SEARCH_TIMEOUT_SECONDS" in text_of(answer)
    assert 'value="png"' in answer.content.decode()


def test_the_total_is_exact_up_to_the_cap(staff, acme, alice, monkeypatch):
    monkeypatch.setattr(list_filters, "COUNT_CAP", 3)
    insert_images(acme, 5, actor=alice.actor)

    def total(**parameters):
        return staff.get(IMAGES_URL, {"organization": "acme", **parameters}).context["total"]

    assert total() == "5"
    assert total(format="png") == "more than 3"
    assert total(format="jpg") == "0"
    assert staff.get(IMAGES_URL, {"organization": ""}).context["total"] == ""


# --- Sorting and paging -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("", ["2.png", "1.png", "0.png"]),
        ("created asc", ["0.png", "1.png", "2.png"]),
        ("name asc", ["0.png", "1.png", "2.png"]),
        ("nonsense", ["2.png", "1.png", "0.png"]),
    ],
)
def test_sorting(staff, three, sort, expected):
    assert listed(staff, sort=sort) == expected


def test_sorting_by_size(staff, various):
    assert listed(staff, sort="size desc")[0] == "large.png"
    assert listed(staff, sort="size asc")[-1] == "large.png"


def test_the_trash_shows_recently_deleted_images_first(staff, three, alice):
    for number in (1, 2, 0):
        delete_image(three[number], actor=alice.actor)
    assert listed(staff, state="trash") == ["0.png", "2.png", "1.png"]
    assert listed(staff, state="trash", sort="") == ["2.png", "1.png", "0.png"]


def all_pages(browser, parameters):
    """Return the names on each page, following the links to the next page."""
    pages, address = [], IMAGES_URL + parameters
    while address:
        answer = browser.get(address)
        pages.append(names(answer))
        address = answer.context["page"].next and IMAGES_URL + answer.context["page"].next
        assert len(pages) < 20
    return pages


@pytest.mark.parametrize("numbered", [10_000, 4, 2, 0])
@pytest.mark.parametrize("parameters", ["?organization=acme", "?organization=acme&sort=name+asc&format=png&view=table"])
def test_every_image_is_on_exactly_one_page(staff, acme, alice, monkeypatch, numbered, parameters):
    monkeypatch.setattr(list_filters, "PER_PAGE", 2)
    monkeypatch.setattr(list_filters, "MAX_OFFSET_PAGING", numbered)
    insert_images(acme, 7, actor=alice.actor)
    expected = [f"{number}.png" for number in range(7)]
    if "sort" not in parameters:
        expected.reverse()
    pages = all_pages(staff, parameters)
    assert [len(page) for page in pages] == [2, 2, 2, 1]
    assert [name for page in pages for name in page] == expected


def test_pages_of_all_organizations(staff, acme, stage, alice, monkeypatch):
    monkeypatch.setattr(list_filters, "PER_PAGE", 2)
    insert_images(acme, 3, actor=alice.actor)
    insert_images(stage, 2, first=3, actor=alice.actor)
    assert all_pages(staff, "?organization=") == [["4.png", "3.png"], ["2.png", "1.png"], ["0.png"]]


def test_offsets_lead_back_a_page_and_cursors_to_the_first_page(staff, acme, alice, monkeypatch):
    monkeypatch.setattr(list_filters, "PER_PAGE", 2)
    monkeypatch.setattr(list_filters, "MAX_OFFSET_PAGING", 3)
    insert_images(acme, 9, actor=alice.actor)
    first = staff.get(IMAGES_URL, {"organization": "acme", "format": "png"}).context["page"]
    assert (first.previous, first.first) == ("", "")
    second = staff.get(IMAGES_URL + first.next).context["page"]
    assert "offset=2" in first.next
    assert names(staff.get(IMAGES_URL + second.previous)) == [image.name for image in first.items]
    third = staff.get(IMAGES_URL + second.next).context["page"]
    fourth = staff.get(IMAGES_URL + third.next).context["page"]
    assert re.search(r"offset=\D", third.next)
    assert names(staff.get(IMAGES_URL + fourth.first)) == [image.name for image in first.items]
    assert "format=png" in fourth.first


def test_filters_start_at_the_first_page(staff, acme, alice, monkeypatch):
    monkeypatch.setattr(list_filters, "PER_PAGE", 2)
    insert_images(acme, 5, actor=alice.actor)
    answer = staff.get(IMAGES_URL, {"organization": "acme", "offset": "2"})
    assert all("offset" not in href for _, href in answer.context["views"])


def test_the_view_is_remembered(staff, three):
    assert 'class="grid"' in text_of(staff.get(IMAGES_URL, {"organization": "acme"}))
    assert "<caption" in text_of(staff.get(IMAGES_URL, {"organization": "acme", "view": "table"}))
    assert "<caption" in text_of(staff.get(IMAGES_URL, {"organization": "acme"}))
    assert staff.get(IMAGES_URL, {"view": "nonsense"}).context["view"] == "table"


def test_viewing_changes_nothing(staff, various):
    before = everything()
    for parameters in ({}, {"state": "trash"}, {"view": "table"}, {"organization": ""}):
        staff.get(IMAGES_URL, {"organization": "acme", **parameters})
        staff.get(COUNTS, {"organization": "acme", **parameters})
    assert everything() == before


# --- Number of queries ------------------------------------------------------------------------------------------------


def test_the_number_of_queries_is_constant(staff, colleague, acme, alice):
    browsers = {"superuser": staff, "colleague": colleague(Role.WRITE)}

    def queries():
        counted = {}
        for who, browser in browsers.items():
            for parameters in ("organization=acme", "organization=acme&view=table", "organization=&view=grid"):
                for more in ("", "&state=trash", "&q=pn"):
                    with CaptureQueriesContext(connection) as captured:
                        assert browser.get(f"{IMAGES_URL}?{parameters}{more}").status_code == 200
                    counted[who, parameters, more] = len(captured)
        return counted

    def more(count, first):
        for image in insert_images(acme, count, first=first, actor=alice.actor)[: count // 2]:
            delete_image(image, actor=alice.actor)

    more(4, 0)
    queries()
    few = queries()
    more(30, 4)
    assert queries() == few
