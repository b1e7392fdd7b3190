"""The endpoints of stacks: bodies, answers, statuses, paging, access."""

import json

import pytest
from rest_framework.test import APIClient

from organizations.models import AuditEvent
from organizations.permissions import Role
from rendering.models import Stack

pytestmark = [pytest.mark.any_database, pytest.mark.django_db]

BODY = {
    "operations": [{"name": "resize", "options": {"width": "200 "}, "expressions": {"height": "$h"}}],
    "options": {"jpg.quality": 60},
    "expressions": [{"expression": "image.width > 3000", "overrides": {"variables": {"h": 150}}}],
    "variables": {"h": 100},
}


def put(person, name: str, body: object = BODY, query: str = "", organization: str = "acme"):
    return person.api.put(f"/stacks/{organization}/{name}{query}", body, format="json")


def names(response) -> list[str]:
    return [item["name"] for item in response.json()["items"]]


def refusal(response) -> tuple[int, str]:
    assert response.json()["error"]["message"]
    return response.status_code, response.json()["error"]["reason"]


# --- Saving and reading -----------------------------------------------------------------------------------------------


def test_a_stack_is_created(acme, alice):
    response = put(alice, "thumb")
    assert response.status_code == 201
    created = response.json()["created"]
    assert response.json() == {
        "name": "thumb",
        "organization": "acme",
        "created": created,
        "stack_operations": [{"name": "resize", "options": {"width": 200}, "expressions": {"height": "$h"}}],
        "stack_options": {"jpg.quality": 60},
        "stack_expressions": [{"expression": "image.width > 3000", "overrides": {"variables": {"h": 150}}}],
        "stack_variables": {"h": 100},
    }
    assert created.endswith("+00:00")
    assert len(created) == len("2024-03-05T09:30:00+00:00")


def test_a_stack_is_returned_with_its_link(alice):
    saved = put(alice, "thumb").json()
    response = alice.api.get("/stacks/acme/thumb")
    assert (response.status_code, response.json()) == (200, saved | {"link": "/stacks/acme/thumb"})


def test_an_empty_stack_has_objects_and_lists(alice):
    parts = {"stack_operations": [], "stack_options": {}, "stack_expressions": [], "stack_variables": {}}
    for body in ({}, [], {"operations": [], "options": [], "expressions": None, "variables": []}):
        response = put(alice, "empty", body, "?overwrite=true")
        assert {name: response.json()[name] for name in parts} == parts


def test_an_operation_always_has_options(alice):
    response = put(alice, "thumb", [{"name": "noop"}])
    assert response.json()["stack_operations"] == [{"name": "noop", "options": {}}]


def test_a_description_is_returned(alice):
    put(alice, "thumb", BODY | {"description": "Thumbnails"})
    assert alice.api.get("/stacks/acme/thumb").json()["description"] == "Thumbnails"


def test_json_is_accepted_as_text(alice):
    response = alice.api.put("/stacks/acme/thumb", json.dumps(BODY), content_type="text/plain;charset=UTF-8")
    assert response.status_code == 201
    assert response.json()["stack_options"] == {"jpg.quality": 60}


def test_an_answer_can_be_sent_back(alice):
    put(alice, "thumb")
    answer = alice.api.get("/stacks/acme/thumb").json()
    response = put(alice, "copy", answer)
    assert response.status_code == 201
    same = {"stack_operations", "stack_options", "stack_expressions", "stack_variables"}
    assert {name: response.json()[name] for name in same} == {name: answer[name] for name in same}


def test_overwriting_takes_a_parameter(alice):
    put(alice, "thumb")
    assert refusal(put(alice, "thumb", [])) == (409, "stack_exists")
    assert refusal(put(alice, "thumb", [], "?overwrite=false")) == (409, "stack_exists")
    assert refusal(put(alice, "thumb", [], "?overwrite=perhaps")) == (400, "invalid")
    assert Stack.objects.get().operations != []
    response = put(alice, "thumb", [], "?overwrite=true")
    assert (response.status_code, response.json()["stack_operations"]) == (200, [])


def test_overwriting_a_missing_stack_creates_it(alice):
    assert put(alice, "thumb", BODY, "?overwrite=1").status_code == 201


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("Thumb", {}, "invalid_stack"),
        ("dynamic", {}, "invalid_stack"),
        ("_iiif", {}, "invalid_stack"),
        ("thumb", "text", "invalid_stack"),
        ("thumb", [{"name": "resise"}], "invalid_operation"),
        ("thumb", [{"name": "resize", "options": {"widht": 200}}], "invalid_operation"),
        ("thumb", [{"name": "primitive"}], "feature_unavailable"),
        ("thumb", {"options": {"jpg.quality": 0}}, "invalid_stack_option"),
        ("thumb", {"expressions": [{"expression": "(", "overrides": {}}]}, "invalid_expression"),
        ("thumb", {"options": {"source_file": True}, "operations": [{"name": "noop"}]}, "invalid_stack"),
    ],
)
def test_an_invalid_stack_is_refused(alice, name, body, reason):
    assert refusal(put(alice, name, body)) == (400, reason)
    assert not Stack.objects.exists()
    assert not AuditEvent.objects.filter(action__startswith="stack.").exists()


def test_a_body_that_is_missing_or_not_json_is_refused(alice):
    assert refusal(alice.api.put("/stacks/acme/thumb")) == (400, "invalid_stack")
    assert refusal(alice.api.put("/stacks/acme/thumb", "{", content_type="application/json")) == (400, "invalid")


def test_a_body_that_is_too_large_is_refused(alice):
    body = json.dumps({"ignored": "x" * 1_000_000})
    assert refusal(alice.api.put("/stacks/acme/thumb", body, content_type="application/json"))[0] == 413


def test_a_stack_is_deleted(alice):
    put(alice, "thumb")
    assert alice.api.delete("/stacks/acme/thumb").status_code == 204
    assert refusal(alice.api.get("/stacks/acme/thumb")) == (404, "stack_not_found")
    assert refusal(alice.api.delete("/stacks/acme/thumb")) == (404, "stack_not_found")


@pytest.mark.parametrize("name", ["missing", "dynamic", "UPPER", "x" * 500])
def test_a_missing_stack_is_not_found(alice, name):
    assert refusal(alice.api.get(f"/stacks/acme/{name}")) == (404, "stack_not_found")
    assert refusal(alice.api.delete(f"/stacks/acme/{name}")) == (404, "stack_not_found")


# --- Lists ------------------------------------------------------------------------------------------------------------


def test_the_list_has_complete_stacks_by_name(alice):
    saved = {name: put(alice, name).json() for name in ("b", "_preview_x", "a-1", "a_1")}
    response = alice.api.get("/stacks/acme")
    assert response.status_code == 200
    assert response.json() == {"items": [saved[name] for name in ("_preview_x", "a-1", "a_1", "b")]}


def test_an_empty_list(alice):
    assert alice.api.get("/stacks/acme").json() == {"items": []}


def test_pages_follow_each_other(alice):
    for name in ("c", "a", "b"):
        put(alice, name)
    first = alice.api.get("/stacks/acme?limit=2")
    assert names(first) == ["a", "b"]
    second = alice.api.get(f"/stacks/acme?limit=2&offset={first.json()['cursor']}")
    assert second.json().keys() == {"items"}
    assert names(second) == ["c"]


def test_a_page_of_exactly_all_stacks_is_the_last(alice):
    put(alice, "a")
    assert alice.api.get("/stacks/acme?limit=1").json().keys() == {"items"}


@pytest.mark.parametrize("query", ["limit=", "offset=", "offset=0", "limit=1000&offset=0"])
def test_empty_parameters_are_defaults(alice, query):
    put(alice, "a")
    assert names(alice.api.get(f"/stacks/acme?{query}")) == ["a"]


def test_a_page_can_be_empty(alice):
    put(alice, "a")
    assert alice.api.get("/stacks/acme?limit=0").json() == {"items": []}


@pytest.mark.parametrize(
    "query",
    [
        *("limit=1001", "limit=-1", "limit=x", "limit=1e2"),
        *("offset=1", "offset=c", "offset=cWzFd", "offset=cWyJhXHUwMDAwIl0", "offset=cWyJcdWQ4MDAiXQ"),
    ],
)
def test_invalid_parameters_are_refused(alice, query):
    assert refusal(alice.api.get(f"/stacks/acme?{query}")) == (400, "invalid")


# --- Access -----------------------------------------------------------------------------------------------------------


def test_readers_can_not_write(alice, member):
    put(alice, "thumb")
    reader = member(Role.READ)
    assert names(reader.api.get("/stacks/acme")) == ["thumb"]
    assert reader.api.get("/stacks/acme/thumb").status_code == 200
    assert refusal(put(reader, "other")) == (403, "role_missing")
    assert refusal(put(reader, "thumb", [], "?overwrite=true")) == (403, "role_missing")
    assert refusal(reader.api.delete("/stacks/acme/thumb")) == (403, "role_missing")
    assert refusal(reader.api.delete("/stacks/acme/thumb/cache")) == (403, "role_missing")
    assert Stack.objects.get().operations != []


def test_a_user_of_another_organization_has_no_access(alice, charlie):
    put(alice, "thumb")
    for name in ("thumb", "missing"):
        assert refusal(charlie.api.get(f"/stacks/acme/{name}")) == (403, "not_a_member")
        assert refusal(put(charlie, name, [], "?overwrite=true")) == (403, "not_a_member")
        assert refusal(charlie.api.delete(f"/stacks/acme/{name}")) == (403, "not_a_member")
    assert refusal(charlie.api.get("/stacks/acme")) == (403, "not_a_member")
    assert names(charlie.api.get("/stacks/other")) == []
    assert Stack.objects.get().operations != []


def test_an_unknown_organization_is_not_found(alice):
    assert refusal(alice.api.get("/stacks/unknown")) == (404, "organization_not_found")
    assert refusal(put(alice, "thumb", organization="unknown")) == (404, "organization_not_found")


def test_credentials_are_required(acme):
    assert refusal(APIClient().get("/stacks/acme")) == (403, "invalid_authentication")


# --- Cache ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["thumb", "*", "%2A", "dynamic"])
def test_the_cache_is_cleared(alice, name):
    put(alice, "thumb")
    response = alice.api.delete(f"/stacks/acme/{name}/cache")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_the_cache_of_a_missing_stack_is_not_found(alice):
    assert refusal(alice.api.delete("/stacks/acme/missing/cache")) == (404, "stack_not_found")


def test_clearing_the_cache_is_limited_per_hour(alice, stage):
    responses = [alice.api.delete("/stacks/acme/*/cache") for _ in range(6)]
    assert [response.status_code for response in responses] == [200] * 5 + [429]
    assert responses[0]["X-RateLimit-Limit"] == "5"
    assert [response["X-RateLimit-Remaining"] for response in responses] == ["4", "3", "2", "1", "0", "0"]
    assert responses[-1].json()["status"] == "too many requests"
    assert int(responses[-1]["Retry-After"]) <= 3600
    assert alice.api.delete("/stacks/stage/*/cache").status_code == 200
