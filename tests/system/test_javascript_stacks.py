"""Stacks through rokka.io's own JavaScript client."""

import json
import subprocess
from collections.abc import Callable

import pytest

from tests.conftest import ROOT
from tests.system.conftest import Server

pytestmark = pytest.mark.any_database


@pytest.fixture(scope="module")
def answers(make_module_server: Callable[..., Server], node: str) -> dict:
    server = make_module_server(RATE_LIMIT_ENABLED="false").start()
    run = subprocess.run(
        [node, "stacks.mjs", server.url, server.api_key],
        cwd=ROOT / "tests" / "clients",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_every_call_has_the_status_that_clients_rely_on(answers):
    assert {name: answer["status"] for name, answer in answers.items()} == {
        "created": 201,
        "createdAgain": 409,
        "overwritten": 200,
        "fromOperations": 201,
        "invalid": 400,
        "got": 200,
        "missing": 404,
        "list": 200,
        "firstPage": 200,
        "secondPage": 200,
        "cacheCleared": 200,
        "deleted": 204,
        "deletedAgain": 404,
        "operations": 200,
        "stackOptions": 200,
    }


def test_a_stack_is_stored_as_it_was_sent(answers):
    body = answers["created"]["body"]
    assert body["stack_operations"] == [
        {"name": "resize", "options": {"width": 200, "height": 100, "mode": "fill"}},
        {"name": "rotate", "options": {"angle": 45}},
    ]
    assert body["stack_options"] == {"jpg.quality": 60, "dpr": 2}
    assert body["stack_expressions"] == [
        {"expression": "options.dpr > 1.5", "overrides": {"options": {"jpg.quality": 45}}}
    ]
    assert body["stack_variables"] == {"w": 100, "h": "$w / 2"}


def test_a_list_of_operations_is_a_stack(answers):
    assert answers["got"]["body"]["stack_operations"] == [{"name": "grayscale", "options": {}}]
    assert answers["got"]["body"]["link"] == "/stacks/acme/bare"


def test_a_refusal_has_a_message_that_clients_show(answers):
    assert "Did you mean 'width'?" in answers["invalid"]["body"]["error"]["message"]


def test_stacks_are_listed_in_pages(answers):
    def names(answer: dict) -> list[str]:
        return [item["name"] for item in answer["body"]["items"]]

    assert names(answers["list"]) == ["bare", "thumb"]
    assert "cursor" not in answers["list"]["body"]
    assert names(answers["firstPage"]) == ["bare"]
    assert names(answers["secondPage"]) == ["thumb"]


def test_the_cache_is_cleared(answers):
    assert answers["cacheCleared"]["body"] == {"status": "ok"}
