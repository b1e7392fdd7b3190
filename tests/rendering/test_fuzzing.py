"""Generated render URLs: every one is answered, none with a server error, and none takes longer than the limits."""

import time
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rendering.catalogue import OPERATIONS, STACK_OPTIONS
from rendering.pool import LIGHT_SECONDS

pytestmark = [pytest.mark.django_db, pytest.mark.any_database, pytest.mark.usefixtures("render_cache")]

WORDS = st.sampled_from(
    [
        *("", "-", "--", "0", "1", "-1", "1.5", "1e9", "99999999999999999999", "true", "auto", "smart", "left_top"),
        *("[image.width*2]", "[1/0]", "[$x]", "['a'~'b']", "[9**9**9]", "__undefined__", "%00", "%2F", "%ff", "ä"),
        *("..", "a b", "dynamic", "o", "v", "options", "variables", "noop", "resize", "width", "0123abcd", "FFFFFF"),
        *("-_a_-", "-https://x/-"),
    ]
)
FORMATS = ["jpg", "png", "webp", "gif", "avif", "svg", "blur", "mp4", "jpeg", "x", ""]
ANSWERS = {200, 400, 404, 422}


def values(definition: dict) -> st.SearchStrategy[str]:
    """Values of an option: mostly in its range, sometimes not."""
    found = [WORDS]
    if "values" in definition:
        found.append(st.sampled_from(definition["values"]))
    if definition["type"] in ("integer", "number"):
        low, high = definition.get("minimum", 0), min(definition.get("maximum", 1000), 1000)
        found.append(st.integers(int(low), int(high)).map(str))
        found.append(st.sampled_from([str(low), str(definition.get("maximum", 1000)), str(low - 1)]))
    if definition["type"] == "boolean":
        found.append(st.sampled_from(["true", "false"]))
    return st.one_of(found)


@st.composite
def operations(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(sorted(OPERATIONS)))
    properties = OPERATIONS[name]["properties"]
    required = list(OPERATIONS[name]["required"]) + OPERATIONS[name].get("oneOf", [])[:1]
    chosen = dict.fromkeys(required + draw(st.lists(st.sampled_from(sorted(properties)), max_size=3)))
    pairs = [f"{option}-{quote(draw(values(properties[option])), safe='[]*/$_.')}" for option in chosen]
    return "-".join([name, *pairs])


@st.composite
def options(draw: st.DrawFn) -> str:
    chosen = draw(st.lists(st.sampled_from(sorted(STACK_OPTIONS["properties"])), min_size=1, max_size=2, unique=True))
    return "o-" + "-".join(f"{name}-{draw(values(STACK_OPTIONS['properties'][name]))}" for name in chosen)


URLS = st.builds(
    lambda operations, options, format: f"/dynamic/{'--'.join(operations)}{options}/HASH.{format}",
    st.lists(operations(), min_size=1, max_size=3),
    st.one_of(st.just(""), options().map(lambda text: f"/{text}")),
    st.sampled_from(FORMATS),
)
GARBAGE = st.builds(
    lambda parts, format, query: f"/{'/'.join(parts)}.{format}?{query}",
    st.lists(st.lists(WORDS, min_size=1, max_size=4).map("-".join), min_size=1, max_size=5),
    st.sampled_from(FORMATS),
    st.sampled_from(
        ["", "v=1", "v=%7B%7D", "v={", "sig=", "sigopts=1", "sigopts=%7B%22until%22:1%7D", "v=%ff", "&&=&"]
    ),
)


def check(get, path: str) -> None:
    started = time.process_time()
    path = "/" + path.lstrip("/")  # the test client takes what follows two slashes for a host
    response = get(quote(path, safe="/%[]()*!'$&=?+,;:@-._~{}"))
    body = response.getvalue()
    assert response.status_code in ANSWERS, (path, response.status_code, body[:300])
    assert time.process_time() - started < 2, path  # of this process; workers have limits of their own
    if response.status_code != 200:
        assert response.json()["error"]["message"], path


@settings(max_examples=150, deadline=LIGHT_SECONDS * 3000, suppress_health_check=list(HealthCheck))
@given(path=URLS)
def test_any_operations_are_rendered_or_refused(get, photo, path):
    check(get, path.replace("HASH", photo.hash))


@settings(max_examples=300, deadline=5000, suppress_health_check=list(HealthCheck))
@given(path=GARBAGE)
def test_any_path_is_answered(get, photo, path):
    check(get, path)
