"""The cast: Alice administrates acme, Bob helps there with whatever role a test gives him, Charlie is a stranger.

Everything runs against the database of DATABASE_URL; bytes go to a fresh folder.
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
from rokka import celery_app
from rokka.core import env
from sourceimages.maintenance import consistency
from sourceimages.search import indexing
from sourceimages.storage import OWNER_MARK, S3Storage
from tests.support import images
from tests.support.storage import empty

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable

# What may be left out even in CI, as a part of the reason; everything else fails a run with CI=true.
# The pass on SQLite and local files shows that rokka needs none of them.
# Snippets in PHP and Go are shown for users of these clients, which nothing else here needs (tests/test_snippets.py).
ALLOWED_SKIPS = (
    *("REDIS_URL is not set", "DATABASE_URL is not set", "TEST_S3_URL is empty"),
    *("PHP is not installed", "the PHP client is not installed"),
    *("Go is not installed", "the Go client is not installed"),
)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a key."""

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
    """Makes somebody with these roles in acme."""

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
    """Another organization that Alice administrates."""
    stage = create_organization_with_admin("stage", email="stage@example.org", actor=COMMAND).organization
    set_roles(stage, alice.user.pk, [Role.ADMIN], comment=None, actor=COMMAND)
    return stage


@pytest.fixture
def charlie(db: None) -> Person:
    new = create_organization_with_admin("other", email="charlie@example.org", actor=COMMAND)
    return Person(new.user, new.api_key)


@pytest.fixture
def image(acme: Organization, alice: Person) -> Any:
    """A PNG of acme."""
    hash = alice.upload(acme, images.png(), name="harbour.png").json()["items"][0]["hash"]
    return acme.images.get(hash=hash)


@pytest.fixture(autouse=True)
def own_files(settings: Any, tmp_path: Path) -> Path:
    """Bytes of this test go to a folder of its own, and so do previews of them."""
    folder = tmp_path / "files"
    settings.CACHES = settings.CACHES | {"previews": settings.CACHES["previews"] | {"LOCATION": tmp_path / "previews"}}
    settings.STORAGES = settings.STORAGES | {
        "originals": {"BACKEND": "sourceimages.storage.LocalStorage", "OPTIONS": {"location": str(folder)}}
    }
    return folder


@pytest.fixture(autouse=True)
def no_waiting(settings: Any) -> None:
    """Passwords are hashed fast, and a client of Django's, which is a new server, looks for no static files."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.WHITENOISE_USE_FINDERS = False


@pytest.fixture(autouse=True)
def fresh_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests counted is forgotten, and downloads are written down only when a test asks for it."""
    cache.clear()
    indexing.clear_cache()
    monkeypatch.setattr(daily_stats.downloads, "flush_interval", None)
    daily_stats.downloads.sums.clear()


def files_in(folder: Path) -> list[Path]:
    """What is stored, or being received, in a folder of local files: all but the owner mark and a lock."""
    return [path for path in folder.rglob("*") if path.is_file() and path.name not in (OWNER_MARK, "trash.lock")]


def contradictions(*, verify_checksums: bool = True) -> list[str]:
    """Everything that must not be, stray bytes included: the last line of every test of a race or a crash."""
    return [finding.message for finding in consistency.check(verify_checksums=verify_checksums)]


@pytest.fixture
def in_process(settings: Any) -> Iterator[None]:
    """Tasks run where they are called, whatever queue there is."""
    settings.CELERY_TASK_ALWAYS_EAGER, before = True, celery_app.conf.task_always_eager
    celery_app.conf.task_always_eager = True
    yield
    celery_app.conf.task_always_eager = before


@pytest.fixture
def consistent(db: None) -> Iterator[None]:
    """In the end, nothing contradicts anything."""
    yield
    assert contradictions() == []


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    tmp_path_factory: pytest.TempPathFactory, django_db_modify_db_settings_parallel_suffix: None
) -> None:
    """SQLite in a file, as it runs for users, not in memory, which knows neither WAL nor a second process."""
    if connection.vendor == "sqlite":
        name = str(tmp_path_factory.mktemp("database") / "test.sqlite3")
        connection.settings_dict["TEST"]["NAME"] = name


@pytest.fixture(autouse=True, scope="session")
def emptied_between_tests() -> Iterator[None]:
    """SQLite empties tables with DELETE, which the audit trail refuses: tests may, between two of them."""
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
    """The folder with real files of all formats, and what independent tools say of them."""
    folder = os.environ.get("TEST_CORPUS")
    if not folder:
        pytest.skip("TEST_CORPUS is not set: it names the folder with images/images.json and hostile/hostile.json")
    return Path(folder)


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    """STORAGE_URL of a real S3 server, with a bucket for this process: TEST_S3_URL's, else one that is started here.

    An empty TEST_S3_URL stands for none: what needs S3 is left out.
    """
    given = os.environ.get("TEST_S3_URL")
    if given == "":
        pytest.skip("TEST_S3_URL is empty: what needs S3 was left out")
    if given:
        server, question_mark, options = given.partition("?")
        yield f"{server}-{worker_id}{question_mark}{options}"
        return
    folder = str(tmp_path_factory.mktemp("s3"))
    script = ROOT / "bin" / "s3-server"
    port = str(random.randrange(10_000, 17_000))  # runs beside each other each have their own
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
    """STORAGE_URL of a bucket with nothing in it."""
    bucket = S3Storage(**env.storage_config(s3_url, temp_dir=tmp_path)["OPTIONS"])
    bucket.client.create_bucket(Bucket=bucket.bucket_name)  # again means nothing
    empty(bucket)
    return s3_url


@pytest.fixture(scope="session")
def node() -> str:
    """The node program, with the JavaScript client installed beside the tests."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed: the JavaScript client was left out")
    if not (ROOT / "tests" / "clients" / "node_modules" / "rokka").is_dir():
        pytest.skip("the JavaScript client is not installed: npm ci in tests/clients")
    return program


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A server closes what it has sent. Here nobody does, and a stream that was not read keeps its query open."""
    made: list[StreamingHttpResponse] = []
    original = StreamingHttpResponse.__init__

    def remembered(self: StreamingHttpResponse, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StreamingHttpResponse, "__init__", remembered)
        try:
            yield
        finally:
            for response in made:
                for close in response._resource_closers:
                    with suppress(Exception):  # as Django does
                        close()


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is imported and collected stays: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


# Tests that start whole processes take longest: begun first, and the short ones fill up the end.
WITH_PROCESSES = (ROOT / "tests" / "outside", ROOT / "tests" / "browser")


@pytest.hookimpl(trylast=True)  # after those who order by kind of database access
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not any(item.path.is_relative_to(folder) for folder in WITH_PROCESSES))


def pytest_report_header() -> str:
    """What this run is about, and how to have the other one."""
    if connection.vendor == "postgresql":
        return f"database: PostgreSQL; Redis: {os.environ.get('REDIS_URL') or 'none, REDIS_URL is not set'}"
    return "database: SQLite; PostgreSQL is left out, DATABASE_URL=postgres://… runs these tests there"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With CI=true nothing is left out in silence."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or os.environ.get("CI") != "true":
        return
    reasons = [str(report.longrepr) for report in reporter.stats.get("skipped", [])]
    unexpected = [reason for reason in reasons if not any(allowed in reason for allowed in ALLOWED_SKIPS)]
    if unexpected:
        reporter.write_line(f"\nCI=true, and {len(unexpected)} tests were left out unexpectedly", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
