"""Settings are read from the environment; an invalid value stops the start."""

import json
import os
import re
import subprocess

import pytest
import yaml

from organizations.models import User
from rokka.core import env
from tests.conftest import PYTHON, ROOT
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


CHOSEN = (
    "print(s.ROKKA_MODE, s.SIGNUP_ENABLED, s.DATABASES['default']['ENGINE'], s.STORAGES['originals']['BACKEND'],"
    " s.CACHES['default']['BACKEND'].rpartition('.')[2], s.JOB_RUNNER, s.ALLOWED_FORMATS[:2])"
)


def start(show: str = CHOSEN, **variables: str) -> subprocess.CompletedProcess[str]:
    """Load the settings as `s` in a new process and run a statement that prints some of them."""
    script = f"from django.conf import settings as s; {show}"
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
    chosen = "production False rokka.core.postgresql sourceimages.storage.s3.S3Storage FailSafeRedisCache celery"
    assert run.stdout.startswith(chosen)


@pytest.mark.parametrize("name", [name for name in PRODUCTION if name != "ROKKA_MODE"])
def test_production_has_no_defaults(name):
    run = start(**{key: value for key, value in PRODUCTION.items() if key != name})
    assert (run.returncode, run.stdout) == (78, "")
    names = f"{name} or {name}_FILE" if name in env.SECRET_VARIABLES else name
    assert run.stderr == f"{names} must be set when ROKKA_MODE is production.\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROKKA_MODE", "test"),
        ("SECRET_KEY", "short"),
        ("TOKEN_SECRETS", f"{'t' * 32},short"),
        ("TRUSTED_PROXIES", "any"),
        ("SIGNUP_ENABLED", "maybe"),
        ("TOKENS_MANAGE_KEYS", "never"),
        ("STAFF_SECOND_FACTOR", "true"),
        ("RATE_LIMIT_ENABLED", "2"),
        ("RATE_LIMIT_PER_KEY", "0"),
        ("RATE_LIMIT_PER_ORGANIZATION", "many"),
        ("RATE_LIMIT_PER_ADDRESS", "-1"),
        ("RATE_LIMIT_AUTH_FAILURES", "1.5"),
        ("RATE_LIMIT_SIGNUPS", "x"),
        ("HSTS_SECONDS", "forever"),
        ("FETCH_ALLOWED_NETWORKS", "10.0.0.0/99"),
        ("LOG_LEVEL", "loud"),
        ("REDIS_PREFIX", "rokka staging"),
        ("DATABASE_POOL_SIZE", "0"),
        ("DATABASE_POOLER", "pgpool"),
        ("REDIS_PREFIX", "r" * 41),
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
        ("RENDER_DOMAIN", "https://images.example.org/"),
        ("RENDER_WORKERS", "0"),
        ("RENDER_CACHE_URL", "redis://localhost"),
        ("RENDER_CACHE_SIZE", "10GB"),
        ("SANDBOX", "off"),
        ("DATABASE_URL", "mysql://root@localhost/rokka"),
        ("REDIS_URL", "localhost:6379"),
        ("STORAGE_URL", "ftp://files"),
        ("STORAGE_URL", "file://data/files"),
        ("STORAGE_URL", "s3://host/bucket"),
        ("STORAGE_URL", "s3://key:secret@host/bucket?acl=public"),
        ("STORAGE_URL", "s3://key:secret@host/bucket/folder"),
        ("STORAGE_URL", "s3://key:secret@host:99999/bucket"),
        ("STORAGE_URL", "s3://key:secret@host:https/bucket"),
        ("RENDER_CACHE_URL", "s3://key:secret@host/bucket/renders"),
        ("DATABASE_URL", "postgres://rokka:secret@db"),
        ("DATABASE_URL", "postgres://rokka:secret@db/"),
        ("DATABASE_URL", "postgres://rokka:secret@db:0/rokka"),
        ("DATABASE_URL", "postgres://rokka:secret@db:5432,other:port/rokka"),
        ("DATABASE_URL", "sqlite://rokka.sqlite3"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:///"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "redis://redis:port/0"),
        ("REDIS_URL", "redis://redis:6379/cache"),
        ("REDIS_URL", "unix://redis.sock"),
        ("ALLOWED_HOSTS", " , "),
        ("ALLOWED_HOSTS", "https://images.example.org"),
        ("ALLOWED_HOSTS", "images.example.org/"),
        ("ALLOWED_HOSTS", "images.example.org:8000"),
        ("ALLOWED_HOSTS", "images.example.org,*.example.org"),
        ("ALLOWED_HOSTS", "[images.example.org]"),
        ("TOKEN_SECRETS", ","),
        ("SECRET_KEY_FALLBACKS", "short"),
        ("TRUSTED_PROXIES", ","),
        ("FETCH_ALLOWED_NETWORKS", ", ,"),
        ("ALLOWED_FORMATS", ","),
        ("RENDER_DOMAIN", "images.example.org/renders"),
        ("RENDER_DOMAIN", "127.0.0.1"),
        ("RENDER_DOMAIN", "127.0.0.1:8000"),
        ("RENDER_DOMAIN", "[::1]"),
        ("RENDER_DOMAIN", "images..example.org"),
        ("RENDER_DOMAIN", "localhost:0"),
        ("RENDER_DOMAIN", "localhost:port"),
        ("RENDER_DOMAIN", "."),
    ],
)
def test_an_invalid_value_stops_the_start(tmp_path, name, value):
    run = start(**{"ROKKA_MODE": "standalone", "DATA_DIR": str(tmp_path), name: value})
    assert (run.returncode, run.stdout) == (78, "")
    (sentence,) = run.stderr.splitlines()
    shown = "…" if name in env.SECRET_VARIABLES else repr(value.strip())
    assert sentence.startswith(f"Invalid {name}={shown}: ")


@pytest.mark.parametrize(
    ("name", "value", "setting", "read"),
    [
        (
            "ALLOWED_HOSTS",
            ".Example.org, 10.0.0.1,[::1],*",
            "ALLOWED_HOSTS",
            "['.Example.org', '10.0.0.1', '[::1]', '*']",
        ),
        ("RENDER_DOMAIN", "Images.example.org", "RENDER_DOMAIN", "images.example.org"),
        ("RENDER_DOMAIN", ".localhost:8000", "RENDER_DOMAIN", "localhost:8000"),
        ("DATABASE_URL", "postgres:///rokka", "DATABASES['default']['NAME']", "rokka"),
        ("DATABASE_URL", "postgres://a:5432,b:5432/rokka", "DATABASES['default']['HOST']", "a,b"),
        ("DATABASE_URL", "postgres://rokka:a#b@db:5432/rokka", "DATABASES['default']['PASSWORD']", "a#b"),
        ("DATABASE_URL", "postgres://[::1]:5432/rokka", "DATABASES['default']['PORT']", "5432"),
        ("REDIS_URL", "redis://redis", "REDIS_URL", "redis://redis"),
        ("REDIS_URL", "unix:///run/redis.sock?db=1", "REDIS_URL", "unix:///run/redis.sock?db=1"),
        ("STORAGE_URL", "s3://k:s@[::1]:8333/images/", "STORAGES['originals']['OPTIONS']['bucket_name']", "images"),
    ],
)
def test_unusual_values_are_valid(tmp_path, name, value, setting, read):
    run = start(f"print(s.{setting})", **{"ROKKA_MODE": "standalone", "DATA_DIR": str(tmp_path), name: value})
    assert (run.stderr, run.stdout) == ("", f"{read}\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATA_DIR", "{file}/data"),
        ("DATA_DIR", "{file}"),
        ("STORAGE_URL", "file://{file}/files"),
        ("RENDER_CACHE_URL", "file://{file}/a/renders"),
        ("DATABASE_URL", "sqlite:///{file}/rokka.sqlite3"),
    ],
)
def test_a_folder_that_can_not_be_created_stops_the_start(tmp_path, name, value):
    file = tmp_path / "file"
    file.touch()
    run = start(**{"DATA_DIR": str(tmp_path / "data"), name: value.format(file=file)})
    assert (run.returncode, run.stdout) == (78, "")
    (sentence,) = run.stderr.splitlines()
    assert sentence.startswith(f"{name}: {file} is not a folder.")


def test_a_missing_storage_folder_is_not_created_by_the_settings(tmp_path):
    folder = tmp_path / "disk" / "files"
    assert start(DATA_DIR=str(tmp_path / "data"), STORAGE_URL=f"file://{folder}").returncode == 0
    assert not folder.parent.exists()


def test_the_folder_of_a_database_is_created(tmp_path):
    url = f"sqlite:///{tmp_path}/new/rokka.sqlite3"
    assert start(DATA_DIR=str(tmp_path / "data"), SECRET_KEY="s" * 32, DATABASE_URL=url).returncode == 0
    assert (tmp_path / "new").is_dir()


@pytest.mark.parametrize(
    "command",
    [
        "manage.py migrate",
        "manage.py help migrate",
        "-m rokka.settings",
        "deploy/create_bucket.py",
        "-m celery -A rokka worker",
        "-m celery -A rokka beat",
    ],
)
def test_every_process_stops_with_the_sentence_alone(tmp_path, command):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": ".", "DATA_DIR": str(tmp_path), "MAX_FILE_SIZE": "150MB"}
    run = subprocess.run(
        [PYTHON, *command.split()], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    sentence = "Invalid MAX_FILE_SIZE='150MB': must be a positive integer.\n"
    assert (run.returncode, run.stdout, run.stderr) == (78, "", sentence)


def test_a_web_process_stops_with_the_sentence_and_no_traceback(tmp_path):
    """granian starts web processes, logs that one has ended, and exits with 1 itself."""
    log = tmp_path / "log"
    arguments = ["--interface", "wsgi", "--port", "0", "--blocking-threads", "1", "rokka.wsgi:application"]
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), "MAX_FILE_SIZE": "150MB"}
    assert commands.start("granian", arguments, environment, log).wait(30) == 1
    assert "Invalid MAX_FILE_SIZE='150MB': must be a positive integer.\n" in log.read_text()
    assert "Traceback" not in log.read_text()


ADDRESSES = {
    "DATABASE_URL": PRODUCTION["DATABASE_URL"],
    "REDIS_URL": PRODUCTION["REDIS_URL"],
    "STORAGE_URL": PRODUCTION["STORAGE_URL"],
    "RENDER_CACHE_URL": PRODUCTION["STORAGE_URL"],
}


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize("in_file", [False, True])
def test_an_address_of_a_server_requires_an_explicit_mode(tmp_path, name, in_file):
    """Standalone mode allows sign-up, so it must not be what a forgotten variable results in."""
    (tmp_path / "address").write_text(ADDRESSES[name])
    address = {f"{name}_FILE": str(tmp_path / "address")} if in_file else {name: ADDRESSES[name]}
    run = start(DATA_DIR=str(tmp_path / "data"), **address)
    assert (run.returncode, run.stdout) == (78, "")
    assert run.stderr.startswith(f"{name} is the address of a server, but ROKKA_MODE is not set. Set ROKKA_MODE=")
    assert not (tmp_path / "data").exists()
    assert start(DATA_DIR=str(tmp_path / "data"), ROKKA_MODE="standalone", **address).stdout.startswith("standalone ")


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
        ("{data}/renders/files", "", "renders"),
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
    assert (run.returncode, run.stdout) == (78, "")
    (message,) = run.stderr.splitlines()
    assert message.startswith("STORAGE_URL: the folder ")
    assert names in message
    assert "a separate folder" in message


def test_a_storage_folder_inside_the_data_folder_is_valid(tmp_path):
    assert start(DATA_DIR=str(tmp_path), STORAGE_URL=f"file://{tmp_path}/originals").returncode == 0


PREFIX = (
    "print(s.REDIS_PREFIX, s.CACHES['default']['KEY_PREFIX'], s.CELERY_BROKER_TRANSPORT_OPTIONS['global_keyprefix'])"
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgres://rokka:secret@other/rokka"),
        ("DATABASE_URL", "postgres://rokka:secret@db:5433/rokka"),
        ("DATABASE_URL", "postgres://rokka:secret@db/staging"),
        ("SECRET_KEY", "n" * 32),
    ],
)
def test_installations_have_different_prefixes_in_redis(name, value):
    first, second = start(PREFIX, **PRODUCTION).stdout, start(PREFIX, **PRODUCTION | {name: value}).stdout
    prefix = first.split()[0]
    assert re.fullmatch(r"rokka-[0-9a-f]{10}", prefix)
    assert first.split() == [prefix, prefix, f"{prefix}:"]
    assert second.split()[0] != prefix


def test_the_prefix_in_redis_outlives_passwords_and_a_rotation_of_the_secret_key():
    rotated = {"SECRET_KEY": "n" * 32, "SECRET_KEY_FALLBACKS": PRODUCTION["SECRET_KEY"]}
    password = {"DATABASE_URL": PRODUCTION["DATABASE_URL"].replace("secret", "other")}
    assert start(PREFIX, **PRODUCTION | rotated | password).stdout == start(PREFIX, **PRODUCTION).stdout
    assert start(PREFIX, **PRODUCTION, REDIS_PREFIX="rokka.staging").stdout.split()[0] == "rokka.staging"


# --- Secrets from files -----------------------------------------------------------------------------------------------

SHOWN = {
    "SECRET_KEY": "s.SECRET_KEY",
    "SECRET_KEY_FALLBACKS": "s.SECRET_KEY_FALLBACKS",
    "TOKEN_SECRETS": "s.TOKEN_SECRETS",
    "DATABASE_URL": "s.DATABASES['default']",
    "REDIS_URL": "s.REDIS_URL",
    "STORAGE_URL": "s.STORAGES['originals']",
    "RENDER_CACHE_URL": "s.STORAGES['renders']",
}
SECRETS = PRODUCTION | {
    "SECRET_KEY_FALLBACKS": f"{'o' * 32},{'p' * 32}",
    "RENDER_CACHE_URL": "s3://key:secret@s3.example.org/renders",
}


@pytest.mark.parametrize("name", sorted(env.SECRET_VARIABLES))
def test_a_secret_can_be_in_a_file(tmp_path, name):
    (tmp_path / "secret").write_text(f"{SECRETS[name]}\n")
    others = {other: value for other, value in SECRETS.items() if other != name} | {"DATA_DIR": str(tmp_path / "data")}
    show = f"print({SHOWN[name]})"
    from_file = start(show, **others, **{f"{name}_FILE": str(tmp_path / "secret")})
    assert from_file.returncode == 0, from_file.stderr
    assert from_file.stdout == start(show, **others, **{name: SECRETS[name]}).stdout
    assert from_file.stdout != start(show, **others | {"ROKKA_MODE": "standalone"}).stdout


@pytest.mark.parametrize(
    ("content", "variables", "sentence"),
    [
        ("s" * 32, {"SECRET_KEY": "s" * 32}, "SECRET_KEY and SECRET_KEY_FILE are both set. Set only one of them."),
        ("short", {}, "Invalid SECRET_KEY_FILE={file}: must have at least 32 characters."),
        (" \n", {}, "Invalid SECRET_KEY_FILE={file}: the file is empty."),
        ("\udcff" * 32, {}, "Invalid SECRET_KEY_FILE={file}: malformed."),
        (None, {}, "Invalid SECRET_KEY_FILE={file}: the file can't be read: No such file or directory."),
        (None, {"SECRET_KEY_FILE": "q" * 32}, "Invalid SECRET_KEY_FILE=…: must be the absolute path of a file."),
        (None, {"SECRET_KEY_FILE": "/"}, "Invalid SECRET_KEY_FILE=/: the file can't be read: Is a directory."),
    ],
)
def test_an_invalid_secret_file_stops_the_start(tmp_path, content, variables, sentence):
    file, data = tmp_path / "secret", tmp_path / "data"
    if content is not None:
        file.write_text(content, errors="surrogateescape")
    run = start(**{"DATA_DIR": str(data), "SECRET_KEY_FILE": str(file)} | variables)
    assert (run.returncode, run.stdout, run.stderr) == (78, "", f"{sentence.format(file=file)}\n")
    assert not data.exists()


def test_standalone_mode_creates_no_key_beside_one_in_a_file(tmp_path):
    (tmp_path / "secret").write_text("s" * 32)
    show = "print(s.SECRET_KEY, s.TOKEN_SECRETS)"
    files = {"SECRET_KEY_FILE": str(tmp_path / "secret"), "SECRET_KEY_FALLBACKS": "o" * 32}
    run = start(show, DATA_DIR=str(tmp_path / "data"), **files)
    assert run.stdout == f"{'s' * 32} {['s' * 32, 'o' * 32]}\n"
    assert not (tmp_path / "data" / "secret_key").exists()


@pytest.mark.parametrize(("rotated", "status"), [(True, 200), (False, 302)])
def test_a_session_outlives_a_rotation_of_the_secret_key(client, db, settings, rotated, status):
    client.force_login(User.objects.create_superuser("staff", "a long password", email="s@example.org"))
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY] if rotated else []
    settings.SECRET_KEY = "n" * 40
    assert client.get("/admin/").status_code == status


def test_nginx_sends_originals_only_if_it_is_trusted(tmp_path):
    show = "print(s.ACCEL_REDIRECT)"
    assert start(show, DATA_DIR=str(tmp_path)).stdout == "False\n"
    sent = start(show, DATA_DIR=str(tmp_path), ACCEL_REDIRECT="true", TRUSTED_PROXIES="10.0.0.0/8")
    assert sent.stdout == "True\n"
    refused = start(show, DATA_DIR=str(tmp_path), ACCEL_REDIRECT="true")
    assert (refused.returncode, refused.stdout) == (78, "")
    assert refused.stderr.startswith("ACCEL_REDIRECT=true requires TRUSTED_PROXIES")


# --- The lists of settings in the code, the documentation and deploy/ -------------------------------------------------

VARIABLES = set(re.findall(r'\benv\(\s*"([A-Z_]+)"', (ROOT / "rokka" / "settings.py").read_text()))
NOT_IN_COMPOSE = {
    "DATA_DIR": "the image sets it to the volume /data",
    "JOB_RUNNER": "the service `worker` runs the jobs",
}
FIXED_IN_COMPOSE = {
    "ROKKA_MODE": "docker-compose.yml is for production",
    "ACCEL_REDIRECT": "the service `nginx` sends originals",
    "TRUSTED_PROXIES": "FRONT_NETWORK, the network of nginx, and OUTER_PROXIES",
    "DATABASE_URL": "the service `postgres`, with POSTGRES_PASSWORD",
    "REDIS_URL": "the service `redis`",
    "STORAGE_URL": "the service `s3`, with S3_ACCESS_KEY and S3_SECRET_KEY",
    "SANDBOX": "the image contains what it requires",
}


def compose() -> dict[str, str]:
    """The environment of the service `web`."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return dict(services["web"]["environment"])


def example() -> dict[str, str]:
    """The variables of deploy/env.example, with those that are commented out."""
    text = (ROOT / "deploy" / "env.example").read_text()
    return dict(re.findall(r"^#?([A-Z0-9_]+)=(.*)$", text, re.MULTILINE))


def test_the_settings_are_found():
    assert {"ROKKA_MODE", "SECRET_KEY", "RENDER_CACHE_SIZE", "JOB_RUNNER"} <= VARIABLES


def test_every_secret_file_is_documented():
    text = (ROOT / "docs" / "reference" / "settings.md").read_text()
    assert {f"{name}_FILE" for name in env.SECRET_VARIABLES} == set(re.findall(r"\b[A-Z_]+_FILE\b", text))


def test_compose_passes_every_setting():
    assert set(compose()) - {"WEB_CONCURRENCY"} == VARIABLES - set(NOT_IN_COMPOSE)


def test_an_operator_can_set_every_setting_in_env():
    passed = {name for name, value in compose().items() if re.fullmatch(rf"\$\{{{name}:[-?][^}}]*\}}", value)}
    assert passed == set(compose()) - set(FIXED_IN_COMPOSE)


def test_the_example_has_every_variable_of_compose():
    text = (ROOT / "docker-compose.yml").read_text()
    assert set(example()) == set(re.findall(r"\$\{([A-Z0-9_]+)", text))


def test_optional_values_of_the_example_are_the_defaults(tmp_path):
    optional = {name: value for name, value in example().items() if name in VARIABLES and name not in PRODUCTION}
    show = f"import json; print(json.dumps({{name: str(getattr(s, name, None)) for name in {sorted(optional)}}}))"
    production = PRODUCTION | {"DATA_DIR": str(tmp_path)}
    defaults = json.loads(start(show, **production).stdout)
    assert json.loads(start(show, **production, **optional).stdout) == defaults
    assert defaults["MAX_FILE_SIZE"] == optional["MAX_FILE_SIZE"]


def test_documented_defaults_are_the_defaults(tmp_path):
    text = (ROOT / "docs" / "reference" / "settings.md").read_text()
    documented = dict(re.findall(r"^\| `([A-Z_]+)` \| `(\d+|true|false)` \|", text, re.MULTILINE))
    names = sorted(documented.keys() & VARIABLES)
    show = f"import json; print(json.dumps({{name: str(getattr(s, name)).lower() for name in {names}}}))"
    assert json.loads(start(show, DATA_DIR=str(tmp_path)).stdout) == {name: documented[name] for name in names}
    assert "MAX_FILE_SIZE" in names
