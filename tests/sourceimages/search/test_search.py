"""Search: each query is compared with a scan of all images."""

# ruff: noqa: E501 (the table of questions reads better in lines)

import json
import math
import random
import re
from datetime import UTC, date, datetime, timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from organizations.audit import COMMAND
from organizations.usage import counters
from sourceimages import hashes, jobs
from sourceimages.models import MetadataString, SourceImage, StoredFile, Tombstone
from sourceimages.operations import (
    change_user_metadata,
    copy_image,
    delete_image,
    rename_image,
    set_protected,
    update_in_place,
)
from sourceimages.operations.short_hashes import assign_short_hashes
from sourceimages.search import indexing
from tests.support import images

LIST = "/sourceimages/acme"
COUNT = 160
START = datetime(2020, 1, 1, tzinfo=UTC)
ARTISTS = ["kim", "Kim", "kimberly", "jo", "ka", "k" * 600, "J\u00fcrg \U0001f6a2"]
TAGS = ["boat", "lake", "boats", "harbour"]
TEXTS = ["The boats are lying in the harbour", "Running along the lake", "Nothing here", "boat"]
PLACES = ["47.38,8.52", "47.39,8.53", "46.95,7.44", "-33.86,151.2", "0,179.99", "0,-179.99", "89.9,10"]


def document(number):
    """User metadata of the image with this number: some fields are missing from some."""
    chance = random.Random(number)
    fields = {
        "artist": chance.choice(ARTISTS),
        "int:year": chance.randint(1990, 2030),
        "double:rating": chance.choice([0.5, 1, 2.5, -3.25]),
        "date:taken": (START + timedelta(days=chance.randint(0, 900), seconds=chance.randint(0, 9))).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        ),
        "array:tags": chance.sample(TAGS, chance.randint(0, 3)),
        "text:caption": chance.choice(TEXTS),
        "array_text:notes": [chance.choice(TEXTS)],
        "latlon:place": chance.choice(PLACES),
    }
    return {key: value for key, value in fields.items() if chance.random() < 0.8}


def made(organization, count=COUNT):
    """Rows as uploads make them, without bytes."""
    pictures = []
    for number in range(count):
        chance = random.Random(-number)
        binary_hash = hashes.identity(f"{number:040}", {}, protected=False)
        format, mimetype = chance.choice([("png", "image/png"), ("jpg", "image/jpeg"), ("webp", "image/webp")])
        same = {
            "organization": organization, "binary_hash": binary_hash, "size": chance.randint(1, 50) * 1000,
            "format": format, "mimetype": mimetype, "width": chance.randint(1, 40) * 100, "height": 300,
        }  # fmt: skip
        file = StoredFile.objects.create(
            **same, uploaded_size=1, uploaded_sha256="0" * 64, key=f"{organization}/{number}", content_hash="0" * 64,
            opaque=True, animated=False,
            static_metadata={"exif": {"make": chance.choice(["Canon", "Nikon"]), "iso": chance.choice([100, 200])}},
        )  # fmt: skip
        dynamic = {"version": {"text": chance.choice(["one", "two"])}} if number % 3 == 0 else {}
        hash = hashes.identity(binary_hash, dynamic, protected=number % 7 == 0)
        pictures.append(
            SourceImage.objects.create(
                **same, file=file, hash=hash, identity=hash, short_hash=assign_short_hashes(organization, [hash])[hash],
                name=f"{chance.choice(['plan', 'Plan', 'harbour', 'boat_at_the lake'])}-{number:03}.{format}",
                created=START + timedelta(hours=number, milliseconds=number), user_metadata=document(number),
                dynamic_metadata=dynamic, protected=number % 7 == 0, locked=number % 11 == 0,
            )
        )  # fmt: skip
    indexing.add(pictures)
    counters.add(organization, images=count)
    return pictures


@pytest.fixture
def many(acme, alice):
    return made(acme)


def found(person, **query):
    response = person.api.get(LIST, {"limit": 2000, **query})
    assert response.status_code == 200, response.json()
    answer = response.json()
    assert answer["total"] == len(answer["items"])
    return [item["hash"] for item in answer["items"]]


# --- A table of questions ---------------------------------------------------------------------------------------------


def user(image, key):
    return image.user_metadata.get(key)


def seconds(text):
    return datetime.fromisoformat(text)


def distance(one, latitude, longitude):
    """Metres, by the haversine formula."""
    la, lo = map(float, one.split(","))
    a = (
        math.sin(math.radians(la - latitude) / 2) ** 2
        + math.cos(math.radians(la))
        * math.cos(math.radians(latitude))
        * math.sin(math.radians(lo - longitude) / 2) ** 2
    )
    return 2 * 6_371_008.8 * math.asin(math.sqrt(a))


def has(key, test):
    return lambda image: key in image.user_metadata and test(image.user_metadata[key])


def everything(image):
    """What words without a field are looked for in; underscores part words."""
    user = [
        value
        for key, value in image.user_metadata.items()
        if key.partition(":")[0] in ("artist", "text", "array", "array_text")
    ]
    texts = [
        image.name,
        image.file.static_metadata["exif"]["make"],
        *(one if isinstance(one, str) else " | ".join(one) for one in user),
    ]
    return " | ".join(texts).lower().replace("_", " ")


QUESTIONS = [
    ({"format": "png"}, lambda i: i.format == "png"),
    ({"mimetype": "image/*"}, lambda i: True),
    ({"not:format": "png"}, lambda i: i.format != "png"),
    ({"width": "1200"}, lambda i: i.width == 1200),
    ({"size": "[10000,20000]"}, lambda i: 10000 <= i.size <= 20000),
    ({"size": "{10000,20000}"}, lambda i: 10000 < i.size < 20000),
    ({"size": "[10000,20000}"}, lambda i: 10000 <= i.size < 20000),
    ({"size": "{10000,20000]"}, lambda i: 10000 < i.size <= 20000),
    ({"size": "{30000,}"}, lambda i: i.size > 30000),
    ({"size": "{,30000]"}, lambda i: i.size <= 30000),
    ({"size": "[10000 TO 20000]"}, lambda i: 10000 <= i.size <= 20000),
    ({"size": "[,]"}, lambda i: True),
    ({"width": "[999.5,1200.5]"}, lambda i: 1000 <= i.width <= 1200),
    ({"width": "99999999999"}, lambda i: False),
    ({"name": "plan*"}, lambda i: i.name.startswith("plan")),
    ({"name": "Plan-003.*"}, lambda i: i.name.startswith("Plan-003.")),
    ({"name": "plan-003.png"}, lambda i: i.name == "plan-003.png"),
    ({"name_text": "HARBOURS"}, lambda i: i.name.startswith("harbour")),
    ({"name_text": "lake boat"}, lambda i: i.name.startswith("boat_at_the lake")),
    ({"name_text": "harb*"}, lambda i: i.name.startswith("harbour")),
    ({"created": "2020-01-01T05:00:00Z"}, lambda i: i.created.replace(microsecond=0) == START + timedelta(hours=5)),
    ({"created": "2020-01-01t05:00:00z"}, lambda i: i.created.replace(microsecond=0) == START + timedelta(hours=5)),
    ({"created": "['2020-01-02T00:00:00Z',}"}, lambda i: i.created >= START + timedelta(days=1)),
    ({"created": "{2020-01-02T00:00:00Z,}"}, lambda i: i.created >= START + timedelta(days=1, seconds=1)),
    ({"created": "[2020-01-01T01:00:00+01:00 TO 2020-01-01T10:00:00Z]"}, lambda i: i.created < START + timedelta(hours=10, seconds=1)),
    ({"protected": "true"}, lambda i: i.protected),
    ({"locked": "0"}, lambda i: not i.locked),
    ({"user:artist": "kim"}, has("artist", lambda v: v == "kim")),
    ({"user:str:artist": "kim*"}, has("artist", lambda v: v.startswith("kim"))),
    ({"user:str:artist": "[jo,ka]"}, has("artist", lambda v: "jo" <= v <= "ka")),
    ({"user:str:artist": "J\u00fcrg \U0001f6a2"}, has("artist", lambda v: v.startswith("J"))),
    ({"user:artist": "k" * 600}, has("artist", lambda v: v == "k" * 600)),
    ({"user:int:artist": "5"}, lambda i: False),
    ({"not:user:artist": "kim"}, lambda i: user(i, "artist") != "kim"),
    ({"not:user:int:nothing": "5"}, lambda i: True),
    ({"user:int:year": "2000"}, has("int:year", lambda v: v == 2000)),
    ({"user:int:year": "[2000,2010}"}, has("int:year", lambda v: 2000 <= v < 2010)),
    ({"user:double:rating": "-3.25"}, has("double:rating", lambda v: v == -3.25)),
    ({"user:double:rating": "{0.5,}"}, has("double:rating", lambda v: v > 0.5)),
    ({"created": "2020-01-02"}, lambda i: i.created.date() == date(2020, 1, 2)),
    ({"created": "[2020-01-02,2020-01-03]"}, lambda i: i.created.day in (2, 3)),
    ({"created": "{2020-01-02,2020-01-04}"}, lambda i: i.created.day == 3),
    ({"created": "[2020-01-02,2020-01-04}"}, lambda i: i.created.day in (2, 3)),
    ({"created": "{2020-01-02,}"}, lambda i: i.created.day > 2),
    ({"created": "{,2020-01-02]"}, lambda i: i.created.day <= 2),
    ({"created": "2020"}, lambda i: True),
    ({"created": "2019"}, lambda i: False),
    ({"created": "{2020,}"}, lambda i: False),
    ({"created": "[2019-12,2020-01]"}, lambda i: True),
    ({"not:created": "2020-01-02"}, lambda i: i.created.day != 2),
    ({"user:date:taken": "2021"}, has("date:taken", lambda v: v.startswith("2021"))),
    ({"user:date:taken": "2020-06"}, has("date:taken", lambda v: v.startswith("2020-06"))),
    ({"user:date:taken": "{2020-06,2021}"}, has("date:taken", lambda v: "2020-07" <= v < "2021")),
    ({"user:date:taken": "['2020-06' TO '2020-12']"}, has("date:taken", lambda v: "2020-06" <= v < "2021")),
    ({"q": "user:date:taken:2020-06 OR created:{2020-01-05,}"}, lambda i: has("date:taken", lambda v: v.startswith("2020-06"))(i) or i.created.day > 5),
    ({"opaque": "true"}, lambda i: True),
    ({"animated": "true"}, lambda i: False),
    ({"artist": "kim"}, has("artist", lambda v: v == "kim")),
    ({"year": "[2000,2010}"}, has("int:year", lambda v: 2000 <= v < 2010)),
    ({"int:year": "2000"}, has("int:year", lambda v: v == 2000)),
    ({"q": "year:2000 OR artist:kim"}, lambda i: user(i, "int:year") == 2000 or user(i, "artist") == "kim"),
    ({"user:date:taken": "[2020-06-01T00:00:00Z,2021-06-01T00:00:00Z}"}, has("date:taken", lambda v: seconds("2020-06-01T00:00:00Z") <= seconds(v) < seconds("2021-06-01T00:00:00Z"))),
    ({"user:tags": "boat"}, has("array:tags", lambda v: "boat" in v)),
    ({"user:array:tags": "boat*"}, has("array:tags", lambda v: any(t.startswith("boat") for t in v))),
    ({"user:text:caption": "boat"}, has("text:caption", lambda v: "boat" in v)),
    ({"user:text:caption": "lies harbours"}, has("text:caption", lambda v: v == TEXTS[0])),
    ({"user:text:caption": "runn*"}, has("text:caption", lambda v: False)),
    ({"user:text:caption": "run*"}, has("text:caption", lambda v: v == TEXTS[1])),
    ({"user:array_text:notes": "nothing"}, has("array_text:notes", lambda v: v == [TEXTS[2]])),
    ({"user:latlon:place": "47.38,8.52"}, has("latlon:place", lambda v: v == "47.38,8.52")),
    ({"user:latlon:place": "47.38,8.52~10km"}, has("latlon:place", lambda v: distance(v, 47.38, 8.52) <= 10_000)),
    ({"user:latlon:place": "47.38,8.52~500m"}, has("latlon:place", lambda v: distance(v, 47.38, 8.52) <= 500)),
    ({"user:latlon:place": "0,180~10km"}, has("latlon:place", lambda v: distance(v, 0, 180) <= 10_000)),
    ({"user:latlon:place": "90,0~50km"}, has("latlon:place", lambda v: distance(v, 90, 0) <= 50_000)),
    ({"not:user:latlon:place": "47.38,8.52~10km"}, lambda i: not has("latlon:place", lambda v: distance(v, 47.38, 8.52) <= 10_000)(i)),
    ({"dynamic:str:version:text": "two"}, lambda i: i.dynamic_metadata.get("version", {}).get("text") == "two"),
    ({"static:str:exif:make": "Canon"}, lambda i: i.file.static_metadata["exif"]["make"] == "Canon"),
    ({"static:int:exif:iso": "[150,}"}, lambda i: i.file.static_metadata["exif"]["iso"] >= 150),
    ({"format": "png", "user:artist": "kim"}, lambda i: i.format == "png" and user(i, "artist") == "kim"),
    ({"format": "png", "user:artist": "kim", "operator": "or"}, lambda i: i.format == "png" or user(i, "artist") == "kim"),
    ({"q": "(format:png OR format:webp) AND NOT user:str:artist:kim AND width:[1000,}"}, lambda i: i.format in ("png", "webp") and user(i, "artist") != "kim" and i.width >= 1000),
    ({"q": "NOT (format:png OR user:tags:boat)"}, lambda i: not (i.format == "png" or "boat" in (user(i, "array:tags") or []))),
    ({"q": "NOT (format:png AND user:text:caption:boat)"}, lambda i: not (i.format == "png" and "boat" in (user(i, "text:caption") or ""))),
    ({"q": "NOT NOT format:png"}, lambda i: i.format == "png"),
    ({"q": 'name:"boat_at_the lake-"*'}, lambda i: i.name.startswith("boat_at_the lake-")),
    ({"q": "name_text:harbour"}, lambda i: i.name.startswith("harbour")),
    ({"q": "harbour"}, lambda i: "harbour" in everything(i)),
    ({"any_text": "harbours"}, lambda i: "harbour" in everything(i)),
    ({"q": "harb*"}, lambda i: "harbour" in everything(i)),
    ({"q": "-harbour"}, lambda i: "harbour" not in everything(i)),
    ({"q": "Nikon -harbour format:png"}, lambda i: "nikon" in everything(i) and "harbour" not in everything(i) and i.format == "png"),
    ({"q": "lake -(boat OR harbour)"}, lambda i: "lake" in everything(i) and not re.search("boat|harbour", everything(i))),
    ({"q": '"the lake"'}, lambda i: "the lake" in everything(i)),
    ({"q": '-"the lake"'}, lambda i: "the lake" not in everything(i)),
    ({"q": '"lake the"'}, lambda i: False),
    ({"q": "the lake"}, lambda i: {"the", "lake"} <= set(re.findall("[a-z]+", everything(i)))),
    ({"q": "lake format:png"}, lambda i: "lake" in everything(i) and i.format == "png"),
    ({"q": "user:latlon:place:47.38,8.52~10km or user:int:year:1990"}, lambda i: has("latlon:place", lambda v: distance(v, 47.38, 8.52) <= 10_000)(i) or user(i, "int:year") == 1990),
    ({"q": "format:png", "width": "[1000,}", "operator": "or"}, lambda i: i.format == "png" and i.width >= 1000),
]  # fmt: skip


def test_every_question_finds_what_a_look_at_all_of_them_finds(many, alice):
    for query, fits in QUESTIONS:
        wanted = {image.hash for image in many if fits(image)}
        assert set(found(alice, **query)) == wanted, query
        assert alice.api.get(LIST, {"limit": 0, **query}).json()["total"] == len(wanted)
    hit = [sum(map(fits, many)) for _, fits in QUESTIONS]
    assert sum(0 < hits < COUNT for hits in hit) > 50  # or the table asks nothing


@pytest.mark.parametrize("name", ["hash", "short_hash", "binaryhash", "binary_hash"])
def test_hashes_are_fields(many, alice, name):
    image = many[5]
    value = image.binary_hash if name.startswith("binary") else getattr(image, name)
    assert found(alice, **{name: value}) == [image.hash]


BAD = [
    ({"Colour": "red"}, "Invalid field name"),
    ({"user:colour:x:y": "1"}, "Invalid field name"),
    ({"user:int:" + "x" * 55: "1"}, "Invalid field name"),
    ({"width": "wide"}, "not a number"),
    ({"width": "1*"}, "prefixes are only supported for texts"),
    ({"width": "[1,2"}, "not a number"),
    ({"width": "[1;2]"}, "position"),
    ({"width": "[1,2,3]"}, "position 5"),
    ({"created": "yesterday"}, "not a valid date"),
    ({"created": "[2020-01-01,x]"}, "not a valid date"),
    ({"protected": "perhaps"}, "true or false"),
    ({"user:int:year": "nan"}, "not a finite number"),
    ({"user:int:year": "9" * 30}, "64 bits"),
    ({"user:text:caption": "[a,b]"}, "ranges are not supported for words"),
    ({"user:text:caption": "..."}, "no words"),
    ({"user:latlon:place": "x"}, "location"),
    ({"user:latlon:place": "97.38,8.52~10km"}, "latitude"),
    ({"name": "a\0b"}, "NUL"),
    ({"deletedDate": "[,]"}, "trash"),
    ({"operator": "nor"}, "operator"),
    ({"q": "(" * 30 + "a" + ")" * 30}, "nested too deeply"),
    ({"q": " OR ".join(["format:png"] * 51)}, "51 conditions"),
    ({"q": "x" * 10_001}, "10001 characters"),
    ({"created": "2024-13"}, "not a valid date"),
    ({"created": "[2024-02-30,]"}, "not a valid date"),
    ({"created": "9999"}, "not a valid date"),
    ({"user:text:caption": " ".join(f"a{n}" for n in range(201))}, "200 words"),
    ({"facets": "width"}, "facets"),
    ({"facets": ",".join(f"user:str:f{n}" for n in range(11))}, "the limit is 10"),
]


@pytest.mark.parametrize(("query", "says"), BAD)
def test_what_makes_no_sense_is_refused_with_its_place(acme, alice, query, says):
    response = alice.api.get(LIST, {"limit": 0, **query})
    assert response.status_code == 400
    assert says in response.json()["error"]["message"]


# --- Any expression at all --------------------------------------------------------------------------------------------

LEAVES = [(query, fits) for query, fits in QUESTIONS if len(query) == 1 and "q" not in query]


def written(tree):
    match tree:
        case ("leaf", number):
            ((name, value),) = LEAVES[number][0].items()
            name, no = name.removeprefix("not:"), name.startswith("not:")
            quoted = value if value[:1] in "[{" or value.endswith("*") or "~" in value else f'"{value}"'
            if quoted.endswith("*") and " " in quoted:
                quoted = f'"{quoted[:-1]}"*'
            return f"{'NOT ' * no}{name}:{quoted}"
        case ("not", part):
            return f"NOT ({written(part)})"
        case (word, *parts):
            return "(" + f" {word.upper()} ".join(map(written, parts)) + ")"


def holds(tree, image):
    match tree:
        case ("leaf", number):
            return LEAVES[number][1](image)
        case ("not", part):
            return not holds(part, image)
        case ("and", *parts):
            return all(holds(part, image) for part in parts)
        case ("or", *parts):
            return any(holds(part, image) for part in parts)


trees = st.recursive(
    st.tuples(st.just("leaf"), st.integers(0, len(LEAVES) - 1)),
    lambda part: st.one_of(
        st.tuples(st.just("not"), part), st.tuples(st.sampled_from(["and", "or"]), part, part),
    ),
    max_leaves=6,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(trees)
def test_any_expression_finds_what_a_look_at_all_of_them_finds(many, alice, tree):
    assert set(found(alice, q=written(tree))) == {image.hash for image in many if holds(tree, image)}, written(tree)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.text(alphabet="ab:()[]{},*\"' TONRAD~.19_kmuserintx\0\u00fc", max_size=40))
def test_any_text_is_a_question_or_a_refusal(acme, alice, text):
    for query in ({"q": text}, {"width": text}, {"user:artist": text}, {"user:latlon:place": text}, {"created": text}):
        assert alice.api.get(LIST, {"limit": 0, **query}).status_code in (200, 400)


# --- Order and paging -------------------------------------------------------------------------------------------------

ORDERS = ["user:int:year", "user:int:year desc", "user:str:artist", "user:date:taken desc,size", "format,user:int:year",
          "user:double:rating desc,user:str:artist,width desc", "static:int:exif:iso,name", "size desc,user:str:artist desc"]  # fmt: skip


def pages(person, **query):
    answer = person.api.get(LIST, query).json()
    while answer["items"]:
        yield [item["hash"] for item in answer["items"]]
        answer = person.api.get(LIST, {**query, "offset": answer["cursor"]}).json()


def expected(many, order):
    """Sorted term by term from the last one; what has no value comes last in both directions."""
    one = "," not in order and ":" in order  # a field of metadata alone: ids among equals
    down = order.endswith("desc")
    result = sorted(many, key=lambda i: i.pk, reverse=down) if one else sorted(many, key=lambda i: (i.hash, i.pk))
    for term in reversed(order.split(",")):
        name, _, direction = term.partition(" ")
        name = name.replace("user:str:", "user:")

        def value(image, name=name):
            if name.startswith("user:"):
                found = image.user_metadata.get(name[5:])
                return found.encode()[:512] if isinstance(found, str) else found
            if name.startswith("static:"):
                return image.file.static_metadata["exif"]["iso"]
            found = getattr(image, name)
            return found.encode() if isinstance(found, str) else found

        present = [image for image in result if value(image) is not None]
        absent = [image for image in result if value(image) is None]
        result = sorted(present, key=value, reverse=direction == "desc") + absent  # equals stay as they are
    return [image.hash for image in result]


@pytest.mark.parametrize("order", ORDERS)
def test_fields_of_metadata_sort_and_are_paged(many, alice, order):
    wanted = expected(many, order)
    assert found(alice, sort=order) == wanted
    assert [hash for page in pages(alice, limit=7, sort=order) for hash in page] == wanted
    assert [hash for page in pages(alice, limit=50, sort=order) for hash in page] == wanted
    by_number = [
        alice.api.get(LIST, {"limit": 20, "offset": at, "sort": order}).json()["items"] for at in range(0, 160, 20)
    ]
    assert [item["hash"] for page in by_number for item in page] == wanted


@pytest.mark.parametrize("order", ORDERS[:5])
def test_each_is_seen_once_while_others_come_and_go(many, acme, alice, order):
    wanted = expected(many, order)
    seen = []
    for number, page in enumerate(pages(alice, limit=20, sort=order, q="width:[1,}")):
        seen += page
        for image in SourceImage.objects.filter(hash__in=page, locked=False).select_related("organization")[:5]:
            delete_image(image, actor=COMMAND)
        if number < 4:
            alice.upload(acme, images.png(seed=1000 + number), name="new.png")
    assert [hash for hash in seen if hash in wanted] == wanted
    assert len(seen) == len(set(seen))


SORTABLE = [
    "size",
    "width",
    "format",
    "created",
    "name",
    "user:int:year",
    "user:str:artist",
    "user:date:taken",
    "static:int:exif:iso",
]
any_order = st.lists(
    st.tuples(st.sampled_from(SORTABLE), st.sampled_from(["", " desc"])),
    min_size=1,
    max_size=3,
    unique_by=lambda term: term[0],
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=12)
@given(any_order, st.integers(8, 60), st.integers(0, 2**32))
def test_in_any_order_each_is_seen_once_while_others_come_and_go(many, acme, alice, terms, limit, seed):
    """Some are in the trash at first and come back on the way, some that were seen go there."""
    order, chance = ",".join(name + direction for name, direction in terms), random.Random(seed)
    tombstone = Tombstone.objects.create(organization=acme, expires_at=timezone.now() + timedelta(days=1), reason="api")
    unlocked = acme.images.filter(locked=False)
    late = chance.sample(list(unlocked.order_by("id").values_list("hash", flat=True)), 20)
    unlocked.filter(hash__in=late).update(tombstone=tombstone)
    seen = []
    for page in pages(alice, limit=limit, sort=order):
        seen += page
        acme.images.filter(hash__in=late[:5]).update(tombstone=None)
        del late[:5]
        unlocked.filter(hash__in=chance.sample(page, min(3, len(page)))).update(tombstone=tombstone)
    acme.images.update(tombstone=None)
    always = [hash for hash in expected(many, order) if hash in set(seen)]
    assert seen == always
    assert len(seen) >= COUNT - 20


def test_filters_hold_on_every_page(many, alice):
    wanted = {image.hash for image in many if image.format == "png"}
    walked = [hash for page in pages(alice, limit=6, format="png", sort="user:int:year desc") for hash in page]
    assert set(walked) == wanted
    assert len(walked) == len(wanted)


def test_a_cursor_of_another_sort_is_refused(many, alice):
    cursor = alice.api.get(LIST, {"limit": 1, "sort": "user:int:year"}).json()["cursor"]
    for sort in ("user:double:year", "user:int:other", "user:int:year desc", "size"):
        assert alice.api.get(LIST, {"sort": sort, "offset": cursor}).status_code == 400


# --- Facets and fields ------------------------------------------------------------------------------------------------


def counted(values):
    values = list(values)
    pairs = {value: values.count(value) for value in values}
    ordered = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0].encode()))
    return [{"value": value, "count": count} for value, count in ordered]


def test_facets_count_what_was_found(many, alice):
    answer = alice.api.get(
        LIST, {"limit": 0, "facets": "user:array:tags, format,user:str:nothing", "width": "[1000,}"}
    ).json()
    wide = [image for image in many if image.width >= 1000]
    assert answer["facets"] == {
        "user:array:tags": counted(tag for image in wide for tag in user(image, "array:tags") or []),
        "format": counted(image.format for image in wide),
        "user:str:nothing": [],
    }
    assert "facets" not in alice.api.get(LIST).json()


def test_fields_in_use_are_listed_with_their_counts(many, acme, alice):
    items = {item["name"]: item for item in alice.api.get(f"{LIST}/fields").json()["items"]}
    assert items["user:int:year"] == {
        "name": "user:int:year", "type": "int", "count": sum("int:year" in image.user_metadata for image in many),
    }  # fmt: skip
    assert items["user:latlon:place"]["count"] == sum("latlon:place" in image.user_metadata for image in many)
    assert {"name_text", "user:str:artist", "static:str:exif:make", "dynamic:str:version:text"} <= items.keys()
    assert list(items) == sorted(items)


# --- What was answered is found ---------------------------------------------------------------------------------------


@pytest.fixture
def indexed(acme, alice):
    fields = {"title": "Harbour", "int:year": 2019, "array:tags": ["boat"], "text:caption": "two boats"}
    hash = alice.upload(acme, images.png(), name="quay.png", **{"meta_user[0]": json.dumps(fields)}).json()["items"][0][
        "hash"
    ]
    return acme.images.select_related("organization", "file").get(hash=hash)


@pytest.mark.usefixtures("consistent")
def test_the_index_follows_every_change(acme, alice, stage, indexed):
    assert found(alice, q="user:title:Harbour user:int:year:2019 user:tags:boat user:text:caption:boat quay") == [
        indexed.hash
    ]
    change_user_metadata(indexed, {"title": "Quay", "int:year": None}, actor=COMMAND)
    assert found(alice, **{"user:title": "Harbour"}) == found(alice, **{"user:int:year": "2019"}) == []
    assert found(alice, **{"user:title": "Quay"}) == [indexed.hash]
    rename_image(indexed, "pier.png", actor=COMMAND)
    assert found(alice, q="name_text:quay") == found(alice, q="quay -user:title:Quay") == []
    assert found(alice, q="pier") == [indexed.hash]
    update_in_place(indexed, {"version": {"text": "two"}}, actor=COMMAND)
    assert found(alice, **{"dynamic:str:version:text": "two"}) == [indexed.hash]
    derived = set_protected(indexed, True, delete_previous=False, actor=COMMAND).image
    assert set(found(alice, **{"user:title": "Quay"})) == {indexed.hash, derived.hash}
    copy_image(indexed, stage, overwrite=False, actor=COMMAND)
    there = alice.api.get("/sourceimages/stage", {"user:title": "Quay", "q": "pier"}).json()
    assert [item["hash"] for item in there["items"]] == [indexed.hash]
    change_user_metadata(indexed, {"title": "Pier"}, actor=COMMAND)
    copy_image(indexed, stage, overwrite=True, actor=COMMAND)
    assert alice.api.get("/sourceimages/stage", {"user:title": "Pier"}).json()["total"] == 1
    assert alice.api.get("/sourceimages/stage", {"user:title": "Quay"}).json()["total"] == 0


def test_an_upload_again_changes_what_is_found(acme, alice, indexed):
    alice.upload(acme, images.png(), **{"meta_user[0]": json.dumps({"title": "Again"})})
    assert found(alice, **{"user:title": "Again"}) == [indexed.hash]
    assert found(alice, **{"user:title": "Harbour"}) == []


def test_the_trash_is_searched_by_itself(acme, alice, indexed):
    delete_image(indexed, actor=COMMAND)
    assert found(alice, **{"user:title": "Harbour"}) == []
    assert found(alice, deleted="true", **{"user:title": "Harbour"}) == [indexed.hash]
    day = timezone.now() + timedelta(minutes=1)
    assert found(alice, deleted="true", deletedDate=f"[,{day.isoformat()}]") == [indexed.hash]
    assert found(alice, deleted="true", deletedDate=f"{{{day.isoformat()},}}") == []
    Tombstone.objects.update(expires_at=timezone.now())
    from sourceimages.maintenance import purge

    assert purge.purge_expired() == 1
    assert not MetadataString.objects.exists()


def test_texts_that_begin_alike_for_long_are_distinguished(acme, alice):
    hashes = [
        alice.upload(acme, images.png(seed=seed), **{"meta_user[0]": json.dumps({"a": "k" * 600 + end})}).json()[
            "items"
        ][0]["hash"]
        for seed, end in enumerate("xy")
    ]
    assert found(alice, **{"user:a": "k" * 600 + "x"}) == hashes[:1]
    assert found(alice, **{"not:user:a": "k" * 600 + "x"}) == hashes[1:]
    assert len(found(alice, **{"user:a": "k" * 600 + "*"})) == 2


def test_others_are_not_searched(many, charlie):
    assert charlie.api.get("/sourceimages/other", {"format": "png"}).json()["total"] == 0
    assert charlie.api.get("/sourceimages/other/fields").json() == {"items": []}


def test_words_are_those_of_the_language(acme, alice):
    acme.options = {"search_language": "german"}
    acme.save()
    fields = json.dumps({"text:caption": "Die H\u00e4user am See"})
    hash = alice.upload(acme, images.png(), **{"meta_user[0]": fields}).json()["items"][0]["hash"]
    assert found(alice, **{"user:text:caption": "Haus"}) == [hash]
    assert found(alice, **{"user:text:caption": "H\u00c4USER"}) == [hash]


@pytest.mark.usefixtures("consistent")
def test_what_was_there_before_the_index_is_indexed_in_batches(acme, alice, monkeypatch):
    for seed in range(5):
        alice.upload(acme, images.png(seed=seed), **{"meta_user[0]": json.dumps({"title": f"t{seed}"})})
    delete_image(acme.images.first(), actor=COMMAND)
    for table in indexing.TABLES.values():
        table.objects.all().delete()
    assert found(alice, **{"user:title": "t3"}) == []
    monkeypatch.setattr("sourceimages.jobs.batches.INDEX_BATCH", 2)
    job = jobs.start_reindex(acme, actor=COMMAND)
    first = jobs.run_one_batch(job.pk)
    assert (first.processed, first.unfinished) == (2, True)
    assert jobs.run(job.pk).counts == {"indexed": 5}
    MetadataString.objects.all().delete()
    acme.counters.update(images=3, bytes=5)
    call_command("rebuild_index", "acme")
    assert len(found(alice, **{"user:title": "t3"})) == 1
