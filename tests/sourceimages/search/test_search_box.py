"""What users type into a search box: words of any script, quotes, hyphens, and whatever else is no query."""

import json
import unicodedata

import pytest
from PIL import ExifTags, Image

from organizations.audit import COMMAND
from rokka.core.errors import InvalidInput
from sourceimages import jobs
from sourceimages.jobs.selection import Selection
from sourceimages.metadata.stemming import forms, tokens
from sourceimages.models import MetadataField, SourceImage
from tests.support import images

pytestmark = [pytest.mark.any_database, pytest.mark.usefixtures("consistent")]

LIST = "/sourceimages/acme"
IMAGES = {
    "sails.png": {"title": "Conan O'Brien, portrait", "text:caption": "Boats in the old harbour"},
    "summer.png": {"text:caption": "Un jour d'été, l'été à Zürich", "array:tags": ["Café", "harbour"]},
    "istanbul.png": {"text:caption": "İstanbul, the harbour is old", "array_text:notes": ["Łódź and Øresund"]},
    "\u6771\u4eac\u90fd\u306e\u5199\u771f.png": {"text:caption": "เที่ยวเชียงใหม่ฤดูหนาว", "note": "서울에서"},
    "numbers.png": {"int:year": 2019, "latlon:place": "47,8", "title": "format: A4 (old)"},
}


@pytest.fixture
def uploaded(acme, alice) -> None:
    for seed, (name, fields) in enumerate(IMAGES.items()):
        metadata = {"meta_user[0]": json.dumps(fields)}
        assert alice.upload(acme, images.png(seed=seed), name=name, **metadata).status_code == 200


def answer(alice, **query) -> dict:
    response = alice.api.get(LIST, query)
    assert response.status_code == 200, response.json()
    return response.json()


def found(alice, **query) -> list[str]:
    return sorted(item["name"].removesuffix(".png") for item in answer(alice, **query)["items"])


TOKYO = "\u6771\u4eac\u90fd\u306e\u5199\u771f"
TYPED = [
    ("O'Brien", ["sails"]),
    ("o\u2019brien", ["sails"]),
    ("obrien", []),
    ("l'été", ["summer"]),
    ("l'ete", ["summer"]),
    ("jour d'été", ["summer"]),
    ("harbour", ["istanbul", "sails", "summer"]),
    ("harbour old", ["istanbul", "sails"]),
    ("harbour -old", ["summer"]),
    ("-harbour", ["numbers", TOKYO]),
    ("-harbour -old", [TOKYO]),
    ('"old harbour"', ["sails"]),
    ('"old harbours"', ["sails"]),
    ('-"old harbour" harbour', ["istanbul", "summer"]),
    ("'old harbour'", ["sails"]),
    ("old harbour", ["istanbul", "sails"]),
    ("harb*", ["istanbul", "sails", "summer"]),
    ("harbour & old", ["istanbul", "sails"]),
    ("harbour - old", ["istanbul", "sails"]),
    ("harbour or old", []),  # no image has the word
    ("(harbour and old)", ["istanbul"]),
    ("(harbour AND old)", ["istanbul", "sails"]),
    ("harbour OR portrait", ["istanbul", "sails", "summer"]),
    ("portrait sails", ["sails"]),  # one in a text, one in the name
    ("png", ["istanbul", "numbers", "sails", "summer", TOKYO]),
    ("cafe", ["summer"]),
    ("CAFÉ", ["summer"]),
    ("cafe\u0301", ["summer"]),
    ("Zurich", ["summer"]),
    ("istanbul", ["istanbul"]),
    ("İSTANBUL", ["istanbul"]),
    ("lodz oresund", ["istanbul"]),
    ("old-harbour", ["sails"]),
    ("2019", []),  # a number is not a text
    ("A4", ["numbers"]),
    ("\u6771\u4eac", [TOKYO]),
    ("\u4eac\u90fd", [TOKYO]),
    ("\u5199\u771f", [TOKYO]),
    ("\u90fd", [TOKYO]),
    ("\u771f", [TOKYO]),
    ("\u4eac\u6771", []),
    ("\u90fd*", [TOKYO]),
    ("เชียงใหม่", [TOKYO]),
    ("ฤดู", [TOKYO]),
    ("เชียงราย", []),
    ("서울", [TOKYO]),
    ("-\u6771\u4eac harbour", ["istanbul", "sails", "summer"]),
]


def test_a_search_box_finds_what_is_typed(uploaded, alice):
    for text, names in TYPED:
        assert found(alice, q=text) == sorted(names), text
        assert "notice" not in answer(alice, q=text), text


NO_QUERIES = [
    ("old (harbour", ["istanbul", "sails"], "at the end: expected"),
    ("old) harbour", ["istanbul", "sails"], "at position 4, ') harbour'"),
    ('"old harbour', ["istanbul", "sails"], "at position 1"),
    ("harbour AND", ["istanbul", "sails", "summer"], "at the end"),
    ("NOT", [], "at the end"),
    ("Format: A4", ["numbers"], "at position 1, 'Format'"),
    ("old nothing: harbour", [], "at position 5, 'nothing': "),
    ("harbour http://old", [], "at position 9, 'http': no image of 'acme' has this field"),
    ("width: old harbour", [], "at position 1, 'width': 'old' is not a number"),
    ("width:old", [], "at position 1, 'width'"),
    ("harbour [old]", ["istanbul", "sails"], "at position 9"),
    ("{-old harbour", ["summer"], "at position 1"),
    ("harbour -(old", ["summer"], "at the end"),
    ('harbour (-"old harbour"', ["istanbul", "summer"], "at the end"),
    ("har* (old", ["istanbul", "sails"], "at the end"),
]


def test_what_is_no_query_is_read_as_words_and_the_answer_says_where_and_why(uploaded, alice):
    for text, names, place in NO_QUERIES:
        assert found(alice, q=text) == sorted(names), text
        notice = answer(alice, q=text)["notice"]
        assert notice.startswith("q: "), text
        assert place in notice, (text, notice)
        assert "searched as words" in notice


def test_a_query_is_a_query_still(uploaded, alice):
    assert found(alice, q="format:png AND NOT harbour") == sorted(["numbers", TOKYO])
    assert found(alice, q="not user:tags:harbour and harbour") == ["istanbul", "sails"]
    assert found(alice, q="year:2019") == found(alice, q="user:int:year:2019") == ["numbers"]
    assert found(alice, q="tags:harbour") == ["summer"]
    assert found(alice, q="user:title:O'Brien") == []
    assert "notice" not in answer(alice, q="user:title:O'Brien")


@pytest.mark.parametrize("text", ["-", "...", "NOT", '""', "&&", "- -", "(", '"'])
def test_without_a_word_nothing_is_found(uploaded, alice, text):
    assert answer(alice, q=text)["total"] == 0
    assert "no word" in answer(alice, q=text)["notice"]


def test_a_long_text_is_looked_for_by_its_first_words(uploaded, alice):
    words = " ".join(["old harbour", *["old"] * 60])
    assert found(alice, q=words) == ["istanbul", "sails"]
    assert "the first 50" in answer(alice, q=words)["notice"]
    for text in ("\u6771\u4eac" * 300, "\u6771\u4eac" * 300 + "(", "x " * 5000):
        assert answer(alice, q=text)["total"] == 0
    excluded = " ".join(["harbour", *["old"] * 50])
    assert answer(alice, q=f'(-"{excluded}"')["total"] == 0


def test_what_is_to_be_done_takes_no_guess(acme, uploaded):
    for text in ("q=harbour (old", "q=...", "q=nothing:old", "q=-nothing:old", "q=width:old", "q=NOT"):
        with pytest.raises(InvalidInput):
            jobs.start_bulk_action("delete", Selection(acme, in_trash=False, search=text), actor=COMMAND)
        Selection(acme, in_trash=False, search=text, for_list=True).images().count()
    assert acme.images.active().count() == len(IMAGES)
    job = jobs.start_bulk_action("delete", Selection(acme, in_trash=False, search="q=-harbour"), actor=COMMAND)
    assert jobs.run(job.pk).counts == {"deleted": 2}


def test_exact_fields_stay_exact(uploaded, alice):
    assert found(alice, **{"user:tags": "Café"}) == ["summer"]
    assert found(alice, **{"user:tags": "cafe"}) == found(alice, **{"user:tags": "café"}) == []
    assert found(alice, name="Summer.png") == []


def test_words_of_one_field_are_folded_likewise(uploaded, alice):
    assert found(alice, **{"user:text:caption": "zurich ete"}) == ["summer"]
    assert found(alice, **{"user:text:caption": "เชียง"}) == [TOKYO]
    assert found(alice, name_text="\u4eac\u90fd") == [TOKYO]
    assert found(alice, name_text="harbour") == []


def test_a_word_is_found_with_and_without_its_accents_in_a_language_that_stems_by_them():
    for written, typed in (("installée", "installer"), ("été", "ete"), ("cafés", "cafe"), ("Créée", "creee")):
        assert tokens(written, "french") & set(forms(typed, "french")), written
    assert tokens("Häuser", "german") & set(forms("haus", "german")) & set(forms("hauser", "german"))


# --- One form of Unicode ----------------------------------------------------------------------------------------------

COMPOSED = "Zo\u00eb \u00e9t\u00e9"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


@pytest.fixture
def zoe(acme, alice) -> SourceImage:
    """Sent in decomposed characters, as macOS writes them."""
    fields = {"title": DECOMPOSED, "array:tags": [DECOMPOSED], "text:caption": DECOMPOSED}
    metadata = {
        "meta_user[0]": json.dumps(fields),
        "meta_dynamic[0]": json.dumps({"version": {"text": DECOMPOSED}, "other": {DECOMPOSED: DECOMPOSED}}),
    }
    sent = alice.upload(acme, images.png(), name=f"{DECOMPOSED}.png", **metadata)
    return acme.images.get(hash=sent.json()["items"][0]["hash"])


def test_texts_are_found_and_answered_in_one_form_whatever_was_sent(zoe, alice):
    for form in (COMPOSED, DECOMPOSED):
        for query in (
            {"user:title": form},
            {"user:title": f"{form[:-1] if form == COMPOSED else form[:-2]}*"},
            {"user:tags": form},
            {"user:title": f"['{form}','{form}']"},
            {"dynamic:str:version:text": form},
            {"name": f"{form}.png"},
            {"q": f'user:title:"{form}"'},
            {"q": form},
            {"user:text:caption": form},
        ):
            assert answer(alice, **query)["total"] == 1, query
    item = answer(alice, facets="user:tags,user:title")
    assert item["facets"]["user:tags"] == item["facets"]["user:title"] == [{"value": COMPOSED, "count": 1}]
    (item,) = item["items"]
    assert item["name"] == f"{COMPOSED}.png"
    assert item["user_metadata"] == {"title": COMPOSED, "array:tags": [COMPOSED], "text:caption": COMPOSED}
    assert item["dynamic_metadata"] == {"version": {"text": COMPOSED}, "other": {COMPOSED: COMPOSED}}


def test_either_form_is_the_same_image(zoe, acme, alice):
    metadata = {"version": {"text": COMPOSED}, "other": {COMPOSED: COMPOSED}}
    alice.upload(acme, images.png(), **{"meta_dynamic[0]": json.dumps(metadata)})
    assert acme.images.get() == zoe


def test_two_keys_that_are_one_are_refused(acme, alice):
    metadata = json.dumps({"other": {COMPOSED: 1, DECOMPOSED: 2}})
    refused = alice.upload(acme, images.png(), **{"meta_dynamic[0]": metadata})
    assert (refused.status_code, "occurs twice" in refused.json()["error"]["message"]) == (400, True)
    assert not acme.images.exists()


def test_what_an_earlier_version_or_a_file_has_in_another_form_is_answered_and_found_in_one(zoe, acme, alice):
    SourceImage.objects.filter(pk=zoe.pk).update(user_metadata={"title": DECOMPOSED})
    file = zoe.file
    file.static_metadata = {"iptc": {"caption": DECOMPOSED, "keywords": [DECOMPOSED]}}
    file.save()
    jobs.run(jobs.start_reindex(acme, actor=COMMAND).pk)
    for form in (COMPOSED, DECOMPOSED):
        assert answer(alice, **{"user:title": form})["total"] == 1
        assert answer(alice, **{"static:array:iptc:keywords": form})["total"] == 1
    (item,) = answer(alice)["items"]
    assert item["user_metadata"] == {"title": COMPOSED}
    assert item["static_metadata"] == {"iptc": {"caption": COMPOSED, "keywords": [COMPOSED]}}
    assert alice.api.get(f"{LIST}/{zoe.hash}/meta/user").json() == {"title": COMPOSED}


def test_words_of_static_metadata_are_found_too(zoe, acme, alice):
    file = zoe.file
    file.static_metadata = {
        "exif": {"make": "Canon", "date_time": "2024:06:01 10:00:00"},
        "iptc": {"keywords": ["Lighthouse"]},
        "color": {"dominant": "red"},
        "damaged": {"missing": "end"},
    }
    file.save()
    jobs.run(jobs.start_reindex(acme, actor=COMMAND).pk)
    assert [answer(alice, q=one)["total"] for one in ("canon", "lighthouses", "2024", "red", "end")] == [1, 1, 0, 0, 0]
    assert answer(alice, **{"static:str:damaged:missing": "end"})["total"] == 1


# --- Fields that no image has -----------------------------------------------------------------------------------------


def test_a_field_that_no_image_has_spoils_nothing(uploaded, alice):
    gallery = "user:array:tags,user:array:autolabels:labels,static:array:exif:keywords,user:text:nothing,nothing"
    facets = answer(alice, facets=gallery)["facets"]
    assert facets == {name: [] for name in gallery.split(",")} | {
        "user:array:tags": [{"value": "Café", "count": 1}, {"value": "harbour", "count": 1}]
    }
    for name in ("user:array:autolabels:labels", "user:autolabels:labels", "user:int:nothing", "nothing", "int:nothing",
                 "static:latlon:xmp:place", "dynamic:date:none:at"):  # fmt: skip
        value = "1,2~3km" if "latlon" in name else "2020" if "date" in name else "5"
        assert found(alice, **{name: value}) == [], name
        assert len(found(alice, **{f"not:{name}": value})) == len(IMAGES), name
        assert found(alice, sort=f"{name} desc,name") == sorted(name.removesuffix(".png") for name in IMAGES), name
    assert len(found(alice, **{"operator": "or", "format": "png", "user:array:autolabels:labels": "x"})) == len(IMAGES)
    assert not MetadataField.objects.filter(name__contains="nothing").exists()


def test_the_keys_of_an_item_filter_and_sort(uploaded, acme, alice):
    image = acme.images.get(name="numbers.png")
    assert found(alice, binary_hash=image.binary_hash) == found(alice, binaryhash=image.binary_hash) == ["numbers"]
    assert found(alice, year="2019") == found(alice, **{"int:year": "[2000,2020]"}) == ["numbers"]
    assert found(alice, title="Conan*") == ["sails"]
    for name in ("year", "int:year", "user:year", "user:int:year", "title", "opaque", "animated desc", "binary_hash"):
        assert len(found(alice, sort=name)) == len(IMAGES), name
    assert answer(alice, sort="year", limit=1)["items"][0]["name"] == "numbers.png"
    assert answer(alice, sort="title desc", limit=1)["items"][0]["name"] == "numbers.png"
    assert answer(alice, facets="year,format")["facets"] == {
        "year": [{"value": 2019, "count": 1}],
        "format": [{"value": "png", "count": 5}],
    }
    walked, page = [], answer(alice, sort="opaque,title", limit=2)
    while page["items"]:
        walked += [item["hash"] for item in page["items"]]
        page = answer(alice, sort="opaque,title", limit=2, offset=page["cursor"])
    assert len(walked) == len(set(walked)) == len(IMAGES)


def test_a_field_of_another_type_still_cannot_be_sorted_by(uploaded, alice):
    for name in ("user:array:tags", "user:text:caption", "user:latlon:place"):
        response = alice.api.get(LIST, {"sort": name})
        assert (response.status_code, "not sortable" in response.json()["error"]["message"]) == (400, True), name
    response = alice.api.get(LIST, {"facets": "user:text:caption"})
    assert (response.status_code, "facets" in response.json()["error"]["message"]) == (400, True)


# --- Dates of files ---------------------------------------------------------------------------------------------------

TAKEN = {  # the time of the camera, and its distance to UTC if it says so
    "may.jpg": ("2024:05:31 23:59:59", None),
    "june.jpg": ("2024:06:01 00:00:00", None),
    "zurich.jpg": ("2024:06:01 01:00:00", "+02:00"),
    "end.jpg": ("2024:06:30 23:59:59", None),
    "july.jpg": ("2024:07:01 00:00:00", None),
    "unknown.jpg": ("0000:00:00 00:00:00", None),
}
FIELD = "static:date:exif:date_time_original"


@pytest.fixture
def taken(acme, alice) -> None:
    for seed, (name, (time, offset)) in enumerate(TAKEN.items()):
        exif = Image.Exif()
        exif.get_ifd(ExifTags.IFD.Exif).update({ExifTags.Base.DateTimeOriginal: time})
        if offset:
            exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.OffsetTimeOriginal] = offset
        content = images.encoded(images.image(seed=seed), "JPEG", exif=exif)
        assert alice.upload(acme, content, name=name).status_code == 200


def test_dates_in_files_are_dates(taken, alice):
    june = ["end.jpg", "june.jpg"]
    assert found(alice, **{FIELD: "[2024-06-01,2024-06-30]"}) == found(alice, **{FIELD: "2024-06"}) == june
    assert found(alice, **{FIELD: "2024-05-31"}) == ["may.jpg", "zurich.jpg"]
    assert found(alice, **{FIELD: "2024-06-01T01:00:00+02:00"}) == ["zurich.jpg"]
    assert found(alice, q=f"{FIELD}:{{2024-06-01,}} OR name:may*") == ["end.jpg", "july.jpg", "may.jpg"]
    assert found(alice, **{f"not:{FIELD}": "2024"}) == ["unknown.jpg"]
    assert found(alice, **{"static:str:exif:date_time_original": "2024:06:01 00:00:00"}) == ["june.jpg"]
    in_order = [item["name"] for item in answer(alice, sort=f"{FIELD} desc")["items"]]
    assert in_order == ["july.jpg", "end.jpg", "june.jpg", "may.jpg", "zurich.jpg", "unknown.jpg"]
    items = {item["name"]: item for item in answer(alice)["items"]}
    assert items["zurich.jpg"]["static_metadata"]["exif"]["date_time_original"] == "2024:06:01 01:00:00"
    facet = answer(alice, facets=FIELD, name="[june,k]")["facets"][FIELD]
    assert facet == [{"value": "2024-06-01T00:00:00Z", "count": 1}]
    fields = {one["name"]: one["count"] for one in alice.api.get(f"{LIST}/fields").json()["items"]}
    assert fields[FIELD] == 5
