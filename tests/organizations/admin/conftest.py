from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from organizations.models import Organization, User
from organizations.permissions import Role
from rokka.core import middleware
from tests.support.staff import helper, logged_in, superuser


@pytest.fixture
def root(db: None) -> User:
    return superuser()


@pytest.fixture
def boss(root: User) -> Client:
    """The browser of a superuser."""
    return logged_in(root)


@pytest.fixture
def sam(acme: Organization) -> User:
    """An admin of acme who works in the back-office."""
    return helper(acme, Role.ADMIN)


@pytest.fixture
def admin(sam: User) -> Client:
    """Sam's browser."""
    return logged_in(sam)


@pytest.fixture
def queries() -> Callable[[Client, str], int]:
    def count(client: Client, address: str) -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            answer: Any = client.get(address)
        assert answer.status_code == 200
        return len(captured)

    return count


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What is written down, before anything is hidden in it; of requests, also what the level of tests leaves out."""
    captured = structlog.testing.LogCapture()
    everything = structlog.make_filtering_bound_logger("debug")
    requests = structlog.wrap_logger(None, processors=[captured], wrapper_class=everything)
    monkeypatch.setattr(middleware, "log", requests)
    processors = structlog.get_config()["processors"]
    before = processors.copy()
    processors[:] = [captured]
    yield captured
    processors[:] = before
