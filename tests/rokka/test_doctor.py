"""manage.py doctor: what each check finds, and how the command reports it."""

import json
import shutil
import time
from datetime import timedelta
from io import StringIO
from unittest.mock import Mock
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from rendering.cache import CachedRender
from rokka import doctor
from rokka.celery import app
from rokka.core import env
from rokka.core.clock import database_now
from rokka.core.errors import Unavailable
from rokka.doctor import Check, Level, configuration, files, processes, services
from rokka.doctor.findings import error, ok, warning
from sourceimages import ownership, storage
from sourceimages.models import Instance, MaintenanceTask
from tests.conftest import files_in

SECRET = "abcdefghijklmnopqrstuvwxyz0123456789"


def levels(findings) -> list[Level]:
    return [finding.level for finding in findings]


def messages(findings) -> str:
    return "\n".join(finding.message for finding in findings)


@pytest.fixture
def production(settings):
    settings.STANDALONE, settings.ROKKA_MODE = False, "production"
    settings.SECRET_KEY, settings.TOKEN_SECRETS = SECRET, [SECRET[::-1]]
    settings.ALLOWED_HOSTS, settings.TRUSTED_PROXIES = ["images.example.org"], ["10.0.0.0/8"]
    settings.HSTS_SECONDS, settings.SANDBOX, settings.RATE_LIMIT_ENABLED = 3600, "required", True
    return settings


@pytest.fixture
def marked(db, settings):
    """A database and a storage that were used before."""
    ownership.current(fresh=True)


# --- The run ----------------------------------------------------------------------------------------------------------


def test_a_check_that_needs_a_failed_one_is_skipped():
    def fail():
        yield error("down")

    def never():
        raise AssertionError

    checks = [Check("a", fail), Check("b", never, needs="a"), Check("c", never, needs="b")]
    found = list(doctor.run(checks))
    assert levels(finding for _, finding in found) == ["error", "skipped", "skipped"]


@pytest.mark.parametrize("findings", [[warning("slow")], [error("nearly full"), ok("reachable")]])
def test_a_check_that_needs_a_usable_one_runs(findings):
    checks = [Check("a", lambda: iter(findings)), Check("b", lambda: iter([ok("fine")]), needs="a")]
    assert [check.name for check, finding in doctor.run(checks) if finding == ok("fine")] == ["b"]


def test_an_exception_is_one_line_without_credentials():
    def fail():
        yield ok("first")
        raise ConnectionError("no route to\n http://host?key=abcdef123")

    [(_, first), (_, second)] = doctor.run([Check("a", fail)])
    assert first == ok("first")
    assert second == error("ConnectionError: no route to http://host?key=…")


def test_a_check_that_takes_too_long_is_an_error(monkeypatch):
    monkeypatch.setattr(doctor, "TIME_LIMIT", 0.05)
    started = time.monotonic()
    [(_, finding)] = doctor.run([Check("a", lambda: time.sleep(2) or iter(()))])
    assert finding == error("No answer within 0.05 seconds.")
    assert time.monotonic() - started < 1


# --- The command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch):
    """Runs the command with these findings; returns its output."""

    def run(*findings, **options) -> str:
        checks = [Check(f"check {number}", lambda one=one: iter([one])) for number, one in enumerate(findings)]
        monkeypatch.setattr(doctor, "run", lambda: iter([(check, next(check.function())) for check in checks]))
        output = StringIO()
        try:
            call_command("doctor", stdout=output, **options)
        except CommandError as problem:
            output.write(f"failed: {problem}")
        return output.getvalue()

    return run


def test_the_table_has_a_line_per_finding(run):
    lines = run(ok("fine"), warning("slow")).splitlines()
    assert [line.split() for line in lines] == [["ok", "check", "0", "fine"], ["warning", "check", "1", "slow"]]


def test_errors_fail_the_command(run):
    assert run(error("down"), ok("fine"), error("down")).endswith("failed: 2 errors found.")


@pytest.mark.parametrize(
    ("findings", "status"),
    [([ok("")], "ok"), ([ok(""), warning("")], "warning"), ([warning(""), error(""), ok("")], "error")],
)
def test_json_has_the_worst_level_and_all_findings(run, findings, status):
    answer = json.loads(run(*findings, json=True).partition("failed")[0])
    assert answer["status"] == status
    assert [row["level"] for row in answer["findings"]] == [str(finding.level) for finding in findings]


@pytest.mark.any_database
def test_an_installation_without_problems(transactional_db, settings, client):
    settings.REDIS_URL, settings.JOB_RUNNER = "", "inline"
    assert client.get("/health/ready").status_code == 200  # writes the owner mark
    found = [(check.name, finding) for check, finding in doctor.run()]
    assert {name for name, _ in found} == {check.name for check in doctor.CHECKS}
    assert [(name, finding) for name, finding in found if finding.level != "ok" and name != "disks"] == []


# --- Settings ---------------------------------------------------------------------------------------------------------


def test_production_without_weak_settings(production):
    assert levels(configuration.check_settings()) == ["ok"]


@pytest.mark.parametrize(
    ("name", "value", "level"),
    [
        ("SECRET_KEY", "short", "error"),
        ("SECRET_KEY", "ab" * 20, "error"),
        ("TOKEN_SECRETS", [SECRET[::-1], "short"], "error"),
        ("TOKEN_SECRETS", [SECRET], "warning"),
        ("ALLOWED_HOSTS", ["*"], "warning"),
        ("HSTS_SECONDS", 0, "warning"),
        ("TRUSTED_PROXIES", [], "warning"),
        ("RATE_LIMIT_ENABLED", False, "warning"),
        ("SANDBOX", "auto", "warning"),
    ],
)
def test_weak_settings_of_production_are_named(production, name, value, level):
    setattr(production, name, value)
    first, *_ = configuration.check_settings()
    assert first.level == level
    assert name in first.message
    assert "abab" not in first.message


# --- Services ---------------------------------------------------------------------------------------------------------


def test_the_database_names_its_version(db):
    findings = list(services.check_database())
    assert levels(findings)[-1] == "ok"
    assert {"sqlite": "SQLite 3", "postgresql": "PostgreSQL 1"}[connection.vendor] in messages(findings)


def test_a_missing_database_file_is_not_created(db, tmp_path, monkeypatch):
    missing = tmp_path / "missing.sqlite3"
    monkeypatch.setitem(connection.settings_dict, "NAME", str(missing))
    monkeypatch.setattr(connection, "vendor", "sqlite")
    with pytest.raises(Unavailable, match="missing"):
        list(services.check_database())
    assert not missing.exists()


@pytest.mark.parametrize(
    ("size", "threads", "processes", "allowed", "used", "expected"),
    [
        (20, 32, "4", 97, 5, ["ok"]),
        (20, 32, "5", 97, 5, ["warning", "ok"]),
        (60, 64, "2", 97, 5, ["warning", "ok"]),
        (60, 32, "2", 97, 5, ["ok"]),  # no thread needs two
        (20, 32, "2", 97, 90, ["warning", "ok"]),
    ],
)
def test_connections_are_compared_with_pools(settings, monkeypatch, size, threads, processes, allowed, used, expected):
    settings.DATABASE_POOL_SIZE, settings.WEB_THREADS = size, threads
    monkeypatch.setenv("WEB_CONCURRENCY", processes)
    assert levels(services.connection_findings(("17.2", allowed, used))) == expected


def test_pending_migrations_are_an_error(transactional_db):
    MigrationRecorder(connection).record_unapplied("organizations", "0001_initial")
    try:
        found = [finding for _, finding in doctor.run([Check("tables", services.check_tables)])]
    finally:
        MigrationRecorder(connection).record_applied("organizations", "0001_initial")
    assert levels(found) == ["error"]
    assert "organizations.0001_initial" in messages(found)


@pytest.mark.parametrize(
    ("seconds", "level"),
    [(0.5, "ok"), (-0.5, "ok"), (10, "warning"), (-10, "warning"), (301, "error"), (-301, "error")],
)
def test_clocks_are_compared(seconds, level):
    assert services.clock_finding(seconds).level == level


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, ["ok"]),
        ({"maxmemory_policy": "allkeys-lru"}, ["warning", "ok"]),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 10_000}, ["error", "ok"]),
        ({"maxmemory": 1_100}, ["error", "ok"]),
    ],
)
def test_redis_must_not_evict_and_not_be_full(info, expected):
    reported = {"redis_version": "7.4", "used_memory": 1_000, "maxmemory": 0, "maxmemory_policy": "noeviction"} | info
    assert levels(services.redis_findings(reported)) == expected


def test_an_unreachable_redis_is_one_line(settings):
    settings.REDIS_URL = "redis://:secret-of-redis@127.0.0.1:9/0"
    [(_, finding)] = doctor.run([Check("redis", services.check_redis)])
    assert finding.level == "error"
    assert finding.message.startswith("ConnectionError: ")
    assert "secret-of-redis" not in finding.message


@pytest.fixture
def worker_queues(settings, monkeypatch):
    """Sets the queues of workers by their names."""
    settings.JOB_RUNNER = "celery"

    def answer(**workers):
        queues = {worker: [{"name": name} for name in names] for worker, names in workers.items()}
        inspect = type("Inspect", (), {"active_queues": lambda self: queues or None})
        monkeypatch.setattr(app.control, "inspect", lambda timeout: inspect())

    return answer


def test_workers_serve_all_queues_together(worker_queues):
    worker_queues(one=["interactive"], two=["bulk", "maintenance"])
    assert list(services.check_workers()) == [ok("2 workers: one, two")]


def test_a_queue_that_no_worker_serves_is_an_error(worker_queues):
    worker_queues(one=["interactive", "bulk"])
    findings = list(services.check_workers())
    assert levels(findings) == ["error", "ok"]
    assert "maintenance" in findings[0].message


def test_no_worker_is_an_error(worker_queues):
    worker_queues()
    assert levels(services.check_workers()) == ["error"]


def test_scheduled_tasks_that_run_are_fine(marked):
    assert levels(services.check_scheduled_tasks()) == ["ok"]


def test_a_scheduled_task_that_has_missed_runs_is_an_error(marked):
    now = database_now()
    MaintenanceTask.objects.create(name="storage_trash", last_run=now - timedelta(minutes=31))
    MaintenanceTask.objects.create(name="purge", last_run=now - timedelta(minutes=170))
    findings = list(services.check_scheduled_tasks())
    assert levels(findings) == ["error", "ok"]
    assert findings[0].message.startswith(
        "empty_storage_trash last ran 31 minutes ago; it should run every 10 minutes."
    )


def test_a_scheduler_that_has_stopped_is_noticed(marked):
    Instance.objects.update(raised_at=database_now() - timedelta(minutes=16))
    assert "raise_owner_mark last ran 16 minutes ago" in messages(services.check_scheduled_tasks())


def test_a_task_that_has_never_run_is_late_after_a_while(marked):
    Instance.objects.update(created=database_now() - timedelta(hours=4))
    findings = list(services.check_scheduled_tasks())
    assert levels(findings) == ["error", "error", "error", "ok"]
    assert "has never run" in findings[0].message


def test_a_held_task_is_a_warning(marked):
    held = {"held_since": database_now(), "held_reason": "Too many files."}
    MaintenanceTask.objects.create(name="garbage_collection", **held)
    assert warning("garbage_collection waits for an operator: Too many files.") in services.check_scheduled_tasks()


def test_a_new_installation_has_run_no_task(db):
    assert levels(services.check_scheduled_tasks()) == ["warning"]


# --- Files ------------------------------------------------------------------------------------------------------------


def test_the_storage_check_leaves_only_what_was_there(uploaded, storage_dir):
    before = {path: path.read_bytes() for path in files_in(storage_dir)}
    assert levels(files.check_storage()) == ["ok"]
    assert {path: path.read_bytes() for path in files_in(storage_dir)} == before
    assert before


def test_the_storage_folder_of_a_new_installation_is_created_later(db, storage_dir):
    assert levels(files.check_storage()) == ["ok"]
    assert not storage_dir.exists()


def test_a_missing_storage_folder_is_an_error_and_not_created(uploaded, storage_dir):
    shutil.rmtree(storage_dir)
    with pytest.raises(Unavailable, match=f"The folder {storage_dir} is missing. Check that its disk is mounted."):
        list(files.check_storage())
    assert not storage_dir.exists()


def test_a_storage_that_changes_content_is_an_error_and_left_empty(marked, storage_dir, monkeypatch):
    monkeypatch.setattr(storage.LocalStorage, "open", lambda self, key: iter([b"other"]))
    assert levels(files.check_storage()) == ["error"]
    assert files_in(storage_dir) == []


def test_a_storage_that_cannot_be_read_is_left_empty(marked, storage_dir, monkeypatch):
    def fail(self, key):
        raise OSError("broken")

    monkeypatch.setattr(storage.LocalStorage, "open", fail)
    with pytest.raises(OSError, match="broken"):
        list(files.check_storage())
    assert files_in(storage_dir) == []


def test_the_storage_check_leaves_an_s3_bucket_empty(empty_bucket, settings, tmp_path):
    settings.STORAGES = settings.STORAGES | {"originals": env.storage_config(empty_bucket, temp_dir=tmp_path / "tmp")}
    assert levels(files.check_storage()) == ["ok"]
    bucket = storage.originals()
    assert [*bucket.list_objects(), *bucket.list_trash(), *(tmp_path / "tmp").iterdir()] == []


def test_a_new_installation_is_not_marked(db, storage_dir):
    assert levels(files.check_owner()) == ["warning"]
    assert not Instance.objects.exists()
    assert not storage_dir.exists()


def test_database_and_storage_that_belong_together(marked):
    assert levels(files.check_owner()) == ["ok"]


def test_a_storage_of_another_instance_is_an_error(marked):
    Instance.objects.update(instance_id=uuid4())
    findings = list(files.check_owner())
    assert levels(findings) == ["error"]
    assert "another instance" in findings[0].message


@pytest.fixture
def cache_dir(settings, tmp_path):
    folder = tmp_path / "renders"
    backend = {"BACKEND": "rendering.cache.local.LocalRenderCache", "OPTIONS": {"location": str(folder)}}
    settings.STORAGES = settings.STORAGES | {"renders": backend}
    return folder


def test_the_render_cache_check_leaves_no_file(cache_dir):
    assert levels(files.check_render_cache()) == ["ok"]
    assert [path for path in cache_dir.rglob("*") if path.is_file()] == []


def test_a_render_cache_that_forgets_is_an_error(cache_dir, monkeypatch):
    monkeypatch.setattr("rendering.cache.local.LocalRenderCache.find", lambda *_: None)
    assert levels(files.check_render_cache()) == ["error"]
    assert [path for path in cache_dir.rglob("*") if path.is_file()] == []


def test_a_render_cache_that_changes_content_is_an_error(cache_dir, monkeypatch, tmp_path):
    (tmp_path / "other").write_bytes(b"other")
    found = CachedRender("png", 5, (tmp_path / "other").open("rb"))
    monkeypatch.setattr("rendering.cache.local.LocalRenderCache.find", lambda *_: found)
    assert levels(files.check_render_cache()) == ["error"]


@pytest.mark.parametrize(
    ("free", "total", "level"), [(50e9, 100e9, "ok"), (9e9, 100e9, "warning"), (0.9e9, 2e9, "error")]
)
def test_disks_need_free_space(settings, free, total, level):
    settings.MAX_REQUEST_SIZE = 1_000_000_000
    assert files.disk_finding("DATA_DIR", free=int(free), total=int(total)).level == level


def test_all_folders_are_on_a_disk_that_is_named_once(db):
    text = messages(files.check_disks())
    assert all(
        text.count(label) == 1 for label in ("DATA_DIR", "storage", "uploads", "render cache", "temporary files")
    )


# --- Processes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sandbox", "level"), [("required", "error"), ("auto", "warning")])
def test_a_worker_with_a_network_is_reported_and_ended(settings, sandbox, level):
    settings.SANDBOX, worker = sandbox, Mock(sandboxed=False)
    assert processes.sandbox_finding(lambda: worker).level == level
    worker.kill.assert_called_once_with()


def test_a_decoder_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(processes, "UNDECODABLE", {"heic"})
    assert levels(processes.check_decoders()) == ["warning"]
    assert "pillow-heif" in messages(processes.check_decoders())


def test_installed_decoders():
    assert levels(processes.check_decoders()) == ["ok"]
