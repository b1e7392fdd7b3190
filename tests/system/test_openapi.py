"""The OpenAPI document: valid, up to date, and kept by the server for whatever fits it."""

import itertools
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import yaml
from django.urls import URLPattern, URLResolver
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import validate

from rokka.urls import urlpatterns
from tests.conftest import PYTHON, ROOT
from tests.support import images
from tests.system.conftest import Server

pytestmark = pytest.mark.any_database


@pytest.fixture(scope="module")
def document() -> dict:
    return yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())


def operations_of_routes(patterns: list[URLPattern | URLResolver], prefix: str = "/") -> Iterator[tuple[str, str]]:
    """(method, path) of everything behind these routes that is an API, as the document writes them."""
    for pattern in patterns:
        path = prefix + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from operations_of_routes(pattern.url_patterns, path)
        else:
            methods = set(getattr(pattern.callback, "actions", ())) - {
                "head",
                "copy",
            }  # the latter OpenAPI does not know
            yield from ((method, path) for method in methods)


def operations_of(document: dict) -> Iterator[tuple[str, str, dict]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_the_document_is_valid(document):
    validate(document)


def test_the_document_describes_every_route(document):
    routes = set(operations_of_routes(urlpatterns))
    assert {("get", "/"), ("put", "/organizations/{organization}/options/{name}")} <= routes
    assert {(method, path) for method, path, _ in operations_of(document)} == routes


def test_every_operation_has_a_name_of_its_own(document):
    names = [operation["operationId"] for _, _, operation in operations_of(document)]
    assert len(names) == len(set(names))


def test_the_document_knows_keys_and_tokens(document):
    assert document["components"]["securitySchemes"] == {
        "ApiKey": {"type": "apiKey", "in": "header", "name": "Api-Key"},
        "Token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    }


def test_a_key_or_a_token_is_enough(document):
    public = {("post", "/users"), ("get", "/operations"), ("get", "/stackoptions")}
    for method, path, operation in operations_of(document):
        needed = [] if (method, path) in public else [{"ApiKey": []}, {"Token": []}]  # one of the list
        assert operation["security"] == needed, (method, path)


def bodies_of(operation: dict) -> Iterator[tuple[str, str, dict]]:
    """(request or status, media type, media type object) of all that an operation takes and answers."""
    for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
        yield "request", media_type, body
    for status, response in operation["responses"].items():
        for media_type, body in response.get("content", {}).items():
            yield status, media_type, body


def test_every_request_and_every_answer_has_an_example_that_fits(document):
    bodies = [
        (operation["operationId"], where, body)
        for _, _, operation in operations_of(document)
        for where, _, body in bodies_of(operation)
        if body["schema"].get("format") != "binary"
    ]
    assert len(bodies) > 400
    for name, where, body in bodies:
        schema = body["schema"] | {"components": document["components"]}  # to which it refers
        errors = OAS30Validator(schema).iter_errors(body["example"])
        assert [error.message for error in errors] == [], (name, where)


def test_requests_have_one_media_type_that_clients_can_send(document):
    requests_of = [body for _, _, one in operations_of(document) for body in bodies_of(one) if body[0] == "request"]
    found = {media_type for _, media_type, _ in requests_of}
    assert found == {"application/json", "multipart/form-data"}
    for _, _, operation in operations_of(document):
        assert len(operation.get("requestBody", {}).get("content", {"": {}})) == 1


def test_tags_are_in_the_order_in_which_people_need_them(document):
    names = [tag["name"] for tag in document["tags"]]
    assert names[:2] == ["Source images", "Aliases"]
    assert all(tag["description"] for tag in document["tags"])
    in_order = [operation["tags"][0] for _, _, operation in operations_of(document)]
    assert list(dict.fromkeys(in_order)) == names
    assert {operation["operationId"] for _, _, operation in operations_of(document)} >= {
        "source_images_create",
        "source_images_list",
        "source_images_get",
        "source_images_download",
        "source_images_delete",
        "source_images_restore",
        "jobs_cancel",
    }


NO_VERBS = {"A", "An", "The", "My", "Who", "All", "Numbers", "Billing", "Options", "Operations"}


def test_summaries_say_what_to_do(document):
    for _, _, operation in operations_of(document):
        first, *rest = operation["summary"].split()
        assert first not in NO_VERBS, operation["summary"]
        assert first[0].isupper()
        assert not first.endswith(("s", "ing", "?")), operation["summary"]
        assert rest, operation["summary"]


@pytest.fixture
def unlimited(make_server: Callable[..., Server]) -> Server:
    return make_server(RATE_LIMIT_ENABLED="false").start()


def test_many_may_ask_for_the_document_at_once(unlimited, document):
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(requests.get, f"{unlimited.url}/doc/openapi.json", timeout=60) for _ in range(32)]
    answers = [one.result() for one in asked]
    assert {answer.status_code for answer in answers} == {200}
    assert {str(answer.json()["paths"].keys()) for answer in answers} == {str(document["paths"].keys())}


CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]


# Not supported; takes a code of a second factor.
NEVER_DONE = {("get", "/billing/{organization}"), ("delete", "/user/mfa/totp")}


def known_things(server: Server, document: dict) -> str:
    """A configuration that fills paths with what is there; members and keys are not those of the caller.

    What one operation deletes or changes is not what another one looks for.
    """
    session, pictures = server.session(), itertools.count()
    session.put(f"{server.url}/organizations/second", json={"billing_email": "alice@example.org"})

    def picture(name: str) -> str:
        return server.upload(images.png(seed=next(pictures))).json()["items"][0][name]

    def member() -> str:
        address = f"{server.url}/organizations/acme/memberships"
        return session.post(address, json={"roles": ["write"]}).json()["user_id"]

    def stack() -> str:
        name = f"stack-{next(pictures)}"
        session.put(f"{server.url}/stacks/acme/{name}", json=[{"name": "noop"}])
        return name

    values: dict[str, Callable[[], str]] = {
        "{hash}": lambda: picture("hash"),
        "{user_id}": member,
        "{stack}": stack,
        "/signing_keys/{key_id}": lambda: session.post(f"{server.url}/organizations/acme/signing_keys").json()["id"],
        "/apikeys/{key_id}": lambda: session.post(f"{server.url}/user/apikeys", json={}).json()["id"],
    }
    lines = ["[parameters]", '"path.organization" = "acme"', f'"path.binary_hash" = "{picture("binary_hash")}"']
    for method, path, _ in operations_of(document):
        own = {f"path.{part.partition('{')[2][:-1]}": value() for part, value in values.items() if part in path}
        if (method, path) == ("delete", "/sourceimages/{organization}"):
            own["query.binaryHash"] = picture("binary_hash")
        if path.startswith("/jobs"):
            own["path.organization"] = "second"  # some jobs delete everything
        if own:
            lines += ["[[operations]]", f'include-name = "{method.upper()} {path}"', "[operations.parameters]"]
            lines += [f'"{name}" = "{value}"' for name, value in own.items()]
    return "\n".join(lines)


def found_by_path(document: dict) -> set[tuple[str, str]]:
    """(method, path) of every operation that needs no more to succeed than what `known_things` fills in."""
    known = {"organization", "hash", "binary_hash", "user_id", "key_id", "stack"}
    return {
        (method, path)
        for method, path, _ in operations_of(document)
        if method in ("get", "delete") and known.issuperset(re.findall(r"{(\w+)}", path))
    }


def met_with_success(server: Server, document: dict) -> set[tuple[str, str]]:
    """(method, path) of every operation that has done at least once what it is there for."""
    logged = [json.loads(line) for line in server.log.read_text().splitlines() if '"event": "request"' in line]
    succeeded = {f"{line['method'].lower()} {line['path']}" for line in logged if line["status"] < 300}
    like = {
        (method, path): re.compile(re.sub(r"{\w+}", "[^/]+", f"{method} {path}"))
        for method, path, _ in operations_of(document)
    }
    return {operation for operation, pattern in like.items() if any(map(pattern.fullmatch, succeeded))}


@pytest.mark.parametrize(
    ("known", "phases"), [(True, "coverage,fuzzing"), (False, "fuzzing")], ids=["what is there", "anything"]
)
def test_every_answer_fits_the_document(unlimited, document, tmp_path, known, phases):
    config = tmp_path / "schemathesis.toml"
    config.write_text(known_things(unlimited, document) if known else "")
    where = f"{unlimited.url}/doc/openapi.json"
    command = [Path(PYTHON).parent / "schemathesis", "--config-file", config, "run", where]
    command += ["--header", f"Api-Key: {unlimited.api_key}", "--checks", ",".join(CHECKS), "--max-examples", "5"]
    command += ["--phases", phases, "--seed", "1", "--no-color"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    assert "No test cases" not in run.stdout
    assert unlimited.manage("check_consistency", "--verify-checksums").stdout.strip() == "No problems found."
    assert unlimited.session().get(f"{unlimited.url}/organizations/acme/memberships").status_code == 200  # still admin
    if known:
        assert found_by_path(document) - met_with_success(unlimited, document) == NEVER_DONE
