"""Settings are read from the environment; an invalid value stops the start."""

import os
import subprocess

import pytest

from rokka.core import env
from tests.support import commands

pytestmark = pytest.mark.any_database

PRODUCTION = {
    "ROKKA_MODE": "production",
    "SECRET_KEY": "s" * 32,
    "TOKEN_SECRETS": "t" * 32,
    "ALLOWED_HOSTS": "api.example.org",
    "DATABASE_URL": "postgres://rokka:secret@db/rokka",
    "REDIS_URL": "redis://redis:6379/0",
    "STORAGE_URL": "s3://key:secret@s3.example.org/bucket?region=eu-central-1",
}


def start(**variables: str) -> subprocess.CompletedProcess[str]:
    """Load the settings in a new process and print some of them."""
    script = (
        "from django.conf import settings as s;"
        "print(s.ROKKA_MODE, s.SIGNUP_ENABLED, s.DATABASES['default']['ENGINE'], s.STORAGES['originals']['BACKEND'],"
        " s.CACHES['default']['BACKEND'].rpartition('.')[2], s.JOB_RUNNER, s.ALLOWED_FORMATS[:2])"
    )
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    env = kept | {"DJANGO_SETTINGS_MODULE": "rokka.settings"} | variables
    return commands.python(script, env)


def test_standalone_mode_needs_no_settings(tmp_path):
    run = start(DATA_DIR=str(tmp_path))
    chosen = "standalone True rokka.core.sqlite3 sourceimages.storage.LocalStorage LocMemCache inline ['png', 'jpg']"
    assert run.stdout.strip() == chosen
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600


def test_production_runs_with_its_required_settings():
    run = start(**PRODUCTION)
    chosen = "production False django.db.backends.postgresql sourceimages.storage.S3Storage RedisCache celery"
    assert run.stdout.startswith(chosen)


@pytest.mark.parametrize("name", [name for name in PRODUCTION if name != "ROKKA_MODE"])
def test_production_has_no_defaults(name):
    run = start(**{key: value for key, value in PRODUCTION.items() if key != name})
    assert run.returncode != 0
    assert f"{name} must be set" in run.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROKKA_MODE", "test"),
        ("SECRET_KEY", "short"),
        ("TOKEN_SECRETS", f"{'t' * 32},short"),
        ("TRUSTED_PROXIES", "any"),
        ("SIGNUP_ENABLED", "maybe"),
        ("RATE_LIMIT_ENABLED", "2"),
        ("RATE_LIMIT_PER_KEY", "0"),
        ("RATE_LIMIT_PER_ORGANIZATION", "many"),
        ("RATE_LIMIT_PER_ADDRESS", "-1"),
        ("RATE_LIMIT_AUTH_FAILURES", "1.5"),
        ("RATE_LIMIT_SIGNUPS", "x"),
        ("HSTS_SECONDS", "forever"),
        ("FETCH_ALLOWED_NETWORKS", "10.0.0.0/99"),
        ("LOG_LEVEL", "loud"),
        ("MAX_FILE_SIZE", "150MB"),
        ("MAX_REQUEST_SIZE", "-1"),
        ("MAX_FILES_PER_REQUEST", "0"),
        ("MAX_MEGAPIXELS", "1.5"),
        ("ALLOWED_FORMATS", "png,exe"),
        ("REFUSE_DAMAGED_FILES", "maybe"),
        ("TRASH_RETENTION_DAYS", "a month"),
        ("HISTORY_RETENTION_DAYS", "0"),
        ("ORPHAN_GRACE_SECONDS", "0"),
        ("PROBE_WORKERS", "many"),
        ("SANDBOX", "off"),
        ("DATABASE_URL", "mysql://root@localhost/rokka"),
        ("REDIS_URL", "localhost:6379"),
        ("STORAGE_URL", "ftp://files"),
        ("STORAGE_URL", "file://data/files"),
        ("STORAGE_URL", "s3://host/bucket"),
        ("STORAGE_URL", "s3://key:secret@host/bucket?acl=public"),
    ],
)
def test_an_invalid_value_stops_the_start(tmp_path, name, value):
    run = start(**{"DATA_DIR": str(tmp_path), name: value})
    assert run.returncode != 0
    assert f"ImproperlyConfigured: Invalid {name}=" in run.stderr
    assert (value in run.stderr.splitlines()[-1]) == (name not in env.SECRET_VARIABLES)


def test_formats_and_sign_up_follow_their_variables(tmp_path):
    run = start(DATA_DIR=str(tmp_path), ALLOWED_FORMATS="jpg, webp", SIGNUP_ENABLED="false")
    assert run.stdout.split()[1] == "False"
    assert "['jpg', 'webp']" in run.stdout


@pytest.mark.parametrize(
    ("storage", "database", "names"),
    [
        ("{data}", "", "DATA_DIR"),
        ("{data}/", "", "DATA_DIR"),
        ("{data}/..", "", "DATA_DIR"),
        ("/", "", "DATA_DIR"),
        ("{link}", "", "DATA_DIR"),
        ("{data}/tmp/files", "", "tmp"),
        ("{data}/previews", "", "previews"),
        ("{other}", "sqlite:///{other}/rokka.sqlite3", "database"),
    ],
)
def test_a_storage_folder_with_other_data_stops_the_start(tmp_path, storage, database, names):
    """Garbage collection would delete the database, the secret key and other files there."""
    folders = {"data": tmp_path / "data", "other": tmp_path / "other", "link": tmp_path / "link"}
    folders["data"].mkdir()
    folders["other"].mkdir()
    folders["link"].symlink_to(folders["data"])
    url = f"file://{storage.format(**folders)}"
    run = start(DATA_DIR=str(folders["data"]), STORAGE_URL=url, DATABASE_URL=database.format(**folders))
    assert run.returncode != 0
    message = run.stderr.splitlines()[-1]
    assert message.startswith("django.core.exceptions.ImproperlyConfigured: STORAGE_URL: the folder ")
    assert names in message
    assert "a separate folder" in message


def test_a_storage_folder_inside_the_data_folder_is_valid(tmp_path):
    assert start(DATA_DIR=str(tmp_path), STORAGE_URL=f"file://{tmp_path}/originals").returncode == 0
