"""The cast: Alice is an admin of acme, Bob is a member with the roles a test gives him, Charlie is a stranger.

Tests use the database of DATABASE_URL and store files in a temporary folder.
"""

import gc
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.http import StreamingHttpResponse
from rest_framework.test import APIClient

from organizations import audit_triggers
from organizations.audit import COMMAND, Actor
from organizations.models import AuditEvent, Membership, Organization, User
from organizations.operations import create_key, create_organization_with_admin, set_roles
from organizations.permissions import Role
from organizations.usage import daily_stats
from rokka.core import env
from sourceimages import queue
from sourceimages.maintenance import consistency
from sourceimages.search import indexing
from sourceimages.storage import OWNER_MARK
from sourceimages.storage.s3 import S3Storage
from tests.support import images, skips
from tests.support.rows import insert_images
from tests.support.storage import empty

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable


@dataclass(frozen=True, slots=True)
class Person:
    """A user with an API key."""

    user: User
    key: str

    @property
    def actor(self) -> Actor:
        return Actor(AuditEvent.Source.API, user=self.user)

    @property
    def api(self) -> APIClient:
        return APIClient(headers={"Api-Key": self.key})

    def upload(self, organization: Organization | str, *contents: bytes, name: str = "a.png", **fields: Any) -> Any:
        files = [SimpleUploadedFile(name, content) for content in contents]
        return self.api.post(f"/sourceimages/{organization}", {"filedata": files, **fields}, format="multipart")


@pytest.fixture
def acme(db: None) -> Organization:
    return create_organization_with_admin("acme", email="alice@example.org", actor=COMMAND).organization


@pytest.fixture
def member(acme: Organization) -> Callable[..., Person]:
    """Creates a user with these roles in acme."""

    def make(*roles: str, email: str = "bob@example.org", active: bool = True) -> Person:
        user = User.objects.create(email=email, password="!")
        Membership.objects.create(organization=acme, user=user, roles=list(roles), active=active)
        return Person(user, create_key(user, comment="", actor=COMMAND)[1])

    return make


@pytest.fixture
def alice(member: Callable[..., Person]) -> Person:
    return member(Role.ADMIN, email="alice@example.org")


@pytest.fixture
def stage(acme: Organization, alice: Person) -> Organization:
    """Another organization with Alice as an admin."""
    stage = create_organization_with_admin("stage", email="stage@example.org", actor=COMMAND).organization
    set_roles(stage, alice.user.pk, [Role.ADMIN], comment=None, actor=COMMAND)
    return stage


@pytest.fixture
def charlie(db: None) -> Person:
    new = create_organization_with_admin("other", email="charlie@example.org", actor=COMMAND)
    return Person(new.user, new.api_key)


@pytest.fixture
def image(acme: Organization, alice: Person) -> Any:
    """A PNG of acme, inserted without an upload, which takes longer."""
    return insert_images(acme, 1, actor=alice.actor, name=lambda _: "harbour.png")[0]


@pytest.fixture
def uploaded(acme: Organization, alice: Person) -> Any:
    """A PNG of acme that Alice uploaded, for tests of what the request leaves behind."""
    hash = alice.upload(acme, images.png(), name="harbour.png").json()["items"][0]["hash"]
    return acme.images.get(hash=hash)


@pytest.fixture(autouse=True)
def storage_dir(settings: Any, tmp_path: Path) -> Path:
    """A temporary folder per test for stored files."""
    folder = tmp_path / "files"
    settings.STORAGES = settings.STORAGES | {
        "originals": {"BACKEND": "sourceimages.storage.LocalStorage", "OPTIONS": {"location": str(folder)}}
    }
    return folder


@pytest.fixture(autouse=True)
def fast_settings(settings: Any) -> None:
    """Fast password hashes, and no scan for static files whenever a test client is created."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.WHITENOISE_USE_FINDERS = False


@pytest.fixture(autouse=True)
def clear_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clear caches and download counts of other tests; downloads are written only when a test calls flush()."""
    cache.clear()
    indexing.clear_cache()
    monkeypatch.setattr(daily_stats.downloads, "flush_interval", None)
    daily_stats.downloads.sums.clear()


def files_in(folder: Path) -> list[Path]:
    """Stored and temporary files in a folder, without the owner mark and the lock."""
    return [path for path in folder.rglob("*") if path.is_file() and path.name not in (OWNER_MARK, "trash.lock")]


def consistency_errors(*, verify_checksums: bool = True) -> list[str]:
    """Problems found by check_consistency, including orphaned files. Tests of races and crashes end with it."""
    return [finding.message for finding in consistency.check(verify_checksums=verify_checksums)]


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks run where they are started, whatever queue is configured."""
    monkeypatch.setattr(queue, "INLINE", True)


@pytest.fixture
def consistent(db: None) -> Iterator[None]:
    """Check at the end of the test that database and storage are consistent."""
    yield
    assert consistency_errors() == []


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    tmp_path_factory: pytest.TempPathFactory, django_db_modify_db_settings_parallel_suffix: None
) -> None:
    """Use SQLite in a file, as in production: in memory, it supports neither WAL nor a second process."""
    if connection.vendor == "sqlite":
        name = str(tmp_path_factory.mktemp("database") / "test.sqlite3")
        connection.settings_dict["TEST"]["NAME"] = name


@pytest.fixture(autouse=True, scope="session")
def flushable_audit_log() -> Iterator[None]:
    """Let Django flush the audit log between tests: on SQLite it uses DELETE, which the triggers reject."""
    operations = DatabaseWrapper.ops_class
    execute_sql_flush = operations.execute_sql_flush

    def without_triggers(self: Any, statements: list[str]) -> None:
        with self.connection.cursor() as cursor:
            for statement in audit_triggers.DROP["sqlite"]:
                cursor.execute(statement)
            execute_sql_flush(self, statements)
            for statement in audit_triggers.CREATE["sqlite"]:
                cursor.execute(statement)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations, "execute_sql_flush", without_triggers)
        yield


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder with sample files of all formats, and their metadata according to independent tools."""
    folder = os.environ.get("TEST_CORPUS")
    if not folder:
        pytest.skip("TEST_CORPUS is not set: the folder with images/images.json and hostile/hostile.json")
    return Path(folder)


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    """STORAGE_URL of an S3 server, with a bucket for this process: that of TEST_S3_URL, or one started here.

    If TEST_S3_URL is empty, tests that need S3 are skipped.
    """
    given = os.environ.get("TEST_S3_URL")
    if given == "":
        pytest.skip("TEST_S3_URL is empty: skipping tests that need S3")
    if given:
        server, question_mark, options = given.partition("?")
        yield f"{server}-{worker_id}{question_mark}{options}"
        return
    folder = str(tmp_path_factory.mktemp("s3"))
    script = ROOT / "bin" / "s3-server"
    port = str(random.randrange(10_000, 17_000))  # so that parallel runs use different ports
    started = subprocess.run([script, "start", folder, port], capture_output=True, text=True)
    if started.returncode == 3:
        pytest.skip(f"no S3 server: {started.stderr.strip()}")
    assert started.returncode == 0, started.stderr
    try:
        yield started.stdout.strip()
    finally:
        subprocess.run([script, "stop", folder], check=True)


@pytest.fixture
def empty_bucket(s3_url: str, tmp_path: Path) -> str:
    """STORAGE_URL of an empty bucket."""
    bucket = S3Storage(**env.storage_config(s3_url, temp_dir=tmp_path)["OPTIONS"])
    bucket.client.create_bucket(Bucket=bucket.bucket_name)  # no effect if it exists
    empty(bucket)
    return s3_url


@pytest.fixture(scope="session")
def node() -> str:
    """Path of node. Skips the test if node or the JavaScript client is not installed."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed: skipping tests of the JavaScript client")
    if not (ROOT / "tests" / "clients" / "node_modules" / "rokka").is_dir():
        pytest.skip("the JavaScript client is not installed: npm ci in tests/clients")
    return program


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Close streaming responses after each test, as a server does: an unread stream keeps its query open."""
    responses: list[StreamingHttpResponse] = []
    original = StreamingHttpResponse.__init__

    def recording_init(self: StreamingHttpResponse, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        responses.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StreamingHttpResponse, "__init__", recording_init)
        try:
            yield
        finally:
            for response in responses:
                for close in response._resource_closers:
                    with suppress(Exception):  # as Django does
                        close()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Exclude imported modules and collected tests from garbage collection, which speeds up the run."""
    gc.collect()
    gc.freeze()


# Tests that start processes take longest, so they run first.
WITH_PROCESSES = (ROOT / "tests" / "system", ROOT / "tests" / "browser")


@pytest.hookimpl(trylast=True)  # after pytest-django, which sorts by database access
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not any(item.path.is_relative_to(folder) for folder in WITH_PROCESSES))


def pytest_report_header() -> str:
    """Name the database and Redis of this run."""
    if connection.vendor == "postgresql":
        return f"database: PostgreSQL; Redis: {os.environ.get('REDIS_URL') or 'none, REDIS_URL is not set'}"
    return "database: SQLite; set DATABASE_URL=postgres://… to run the tests on PostgreSQL"


def unexpected_skips(config: pytest.Config) -> list[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return skips.unexpected(reporter) if reporter and os.environ.get("CI") == "true" else []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With CI=true, fail the run on unexpected skips."""
    if unexpected_skips(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name unexpected skips last, where a log is read first."""
    for skip in unexpected_skips(terminalreporter.config):
        terminalreporter.write_line(f"FAILED: CI=true, and this test was skipped: {skip}", red=True)
