"""Concurrent changes of stacks."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection

from organizations.models import AuditEvent
from rendering.contents import StackContent
from rendering.errors import InvalidStack, StackExists, StackNotFound
from rendering.models import Stack
from rendering.operations import delete_stack, save_stack
from rokka.core.errors import DomainError

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 5


def at_once(*calls: Callable[[], object]) -> list[type | None]:
    """Run the calls in threads that start together; return the type of the error of each."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], object]) -> type | None:
        try:
            barrier.wait()
            call()
        except DomainError as error:
            return type(error)
        finally:
            connection.close()
        return None

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.fixture
def save(acme, alice):
    def call(name: str, *, overwrite: bool = False, **content: object) -> Callable[[], object]:
        return lambda: save_stack(acme, name, StackContent(**content), overwrite=overwrite, actor=alice.actor)

    return call


def test_of_two_that_create_a_stack_one_is_told_that_it_exists(acme, save):
    for number in range(ROUNDS):
        name = f"s{number}"
        results = at_once(save(name, variables={"v": 1}), save(name, variables={"v": 2}))
        assert sorted(results, key=str) == sorted([None, StackExists], key=str)
        assert acme.stacks.filter(name=name).count() == 1
    assert AuditEvent.objects.filter(action="stack.created").count() == ROUNDS


def test_two_that_overwrite_a_stack_both_succeed(acme, save):
    for number in range(ROUNDS):
        name = f"s{number}"
        results = at_once(
            save(name, overwrite=True, variables={"v": 1}), save(name, overwrite=True, variables={"v": 2})
        )
        assert results == [None, None]
        actions = AuditEvent.objects.filter(target=name).order_by("id").values_list("action", flat=True)
        assert list(actions) == ["stack.created", "stack.overwritten"]


def test_two_stacks_can_not_become_the_basestacks_of_each_other(acme, save):
    for number in range(ROUNDS):
        a, b = f"a{number}", f"b{number}"
        results = at_once(save(a, options={"basestack": b}), save(b, options={"basestack": a}))
        assert sorted(results, key=str) == sorted([None, InvalidStack], key=str)
        assert acme.stacks.filter(name__in=[a, b]).count() == 1


def test_the_limit_holds_for_stacks_that_are_created_at_once(acme, save, monkeypatch):
    monkeypatch.setattr(Stack, "MAX_STACKS", 2)
    results = at_once(*(save(f"s{number}") for number in range(4)))
    assert results.count(InvalidStack) == 2
    assert acme.stacks.count() == 2


def test_a_stack_is_deleted_once(acme, alice, save):
    for _ in range(ROUNDS):
        save("thumb")()
        delete = lambda: delete_stack(acme, "thumb", actor=alice.actor)  # noqa: E731
        assert sorted(at_once(delete, delete), key=str) == sorted([None, StackNotFound], key=str)
    assert AuditEvent.objects.filter(action="stack.deleted").count() == ROUNDS
