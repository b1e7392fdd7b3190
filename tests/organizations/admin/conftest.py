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
    """A staff user who is an admin of acme."""
    return helper(acme, Role.ADMIN)


@pytest.fixture
def admin(sam: User) -> Client:
    """Sam's browser."""
    return logged_in(sam)


@pytest.fixture
def queries() -> Callable[[Client, str], int]:
    def count(client: Client, address: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            response: Any = client.get(address)
        assert response.status_code == 200
        return len(captured)

    return count


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Log entries before redaction; requests are logged at debug level, too."""
    captured = structlog.testing.LogCapture()
    debug_logger = structlog.make_filtering_bound_logger("debug")
    requests = structlog.wrap_logger(None, processors=[captured], wrapper_class=debug_logger)
    monkeypatch.setattr(middleware, "log", requests)
    processors = structlog.get_config()["processors"]
    before = processors.copy()
    processors[:] = [captured]
    yield captured
    processors[:] = before
