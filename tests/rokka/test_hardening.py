"""What production refuses to do without, and what browsers are told."""

import subprocess

import pytest

from organizations.models import User
from rokka.core.logs import looks_secret, redact
from tests.conftest import PYTHON, ROOT
from tests.rokka.test_settings import PRODUCTION

pytestmark = pytest.mark.any_database


def test_djangos_own_list_is_clean_in_production(tmp_path):
    command = [PYTHON, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    long = {"SECRET_KEY": "aB3xZ-" * 10, "TOKEN_SECRETS": "cD4yW-" * 10, "DATA_DIR": str(tmp_path)}
    run = subprocess.run(command, cwd=ROOT, env=PRODUCTION | long, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_browsers_are_told_to_come_back_by_https(client, db, settings):
    settings.SECURE_HSTS_SECONDS = 31_536_000
    assert client.get("/health/live", secure=True).headers["Strict-Transport-Security"] == "max-age=31536000"


@pytest.mark.parametrize("path", ["/admin/login/", "/admin/", "/doc/", "/nothing"])
def test_pages_run_nothing_that_is_not_ours(client, db, path):
    client.force_login(User.objects.create_superuser("staff", "a long password", email="s@example.org"))
    policy = client.get(path).headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe-eval" not in policy


def test_cookies_of_the_back_office_are_kept_from_scripts_and_other_sites(client, db):
    User.objects.create_superuser("staff", "a long password", email="s@example.org")
    response = client.post("/admin/login/?next=/admin/", {"username": "staff", "password": "a long password"})
    session = response.cookies["sessionid"]
    assert (session["httponly"], session["samesite"], session["max-age"]) == (True, "Lax", 12 * 3600)


@pytest.mark.parametrize(
    "secret",
    [
        "0c9f6a0e5a7e4b069a3f2f1f6a5d1f10" + "Zk3vT9qLmX2bRw8nYc5dPs7hJf4gKa1e",
        "Zk3vT9qLmX2bRw8nYc5dPs7hJf4gKa1e",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpZCI6IjBjOWY2YTBlLTVhN2UtNGIwNiJ9.4Rk3vT9qLmX2bRw8nYc5dPs7hJf4gKa1",
        "k-_3vT9qLmX2bRw8nYc5dPs7hJf4gKa1eUu-__x",
    ],
)
def test_keys_and_tokens_are_hidden(secret):
    for text in (secret, f"/sourceimages/{secret}/x", f'{{"a": "{secret}"}}', f"x={secret}&y"):
        hidden = redact(text)
        for part in secret.split("."):
            assert part[-20:] not in hidden


@pytest.mark.parametrize(
    "text",
    [
        "/sourceimages/acme/1ba368b9f226821b611b16759d004487e7b6d577/download",
        "0c9f6a0e-5a7e-4b06-9a3f-2f1f6a5d1f10",
        "0c9f6a0e5a7e4b069a3f2f1f6a5d1f10/1b/1ba368b9f226821b611b16759d004487e7b6d577-0123456789abcdef",
        "test_what_nobody_expected_is_an_error_and_no_failure",
        "CompressedManifestStaticFilesStorage",
        "_start_transaction_under_autocommit",
    ],
)
def test_what_is_no_secret_is_shown(text):
    assert redact(text) == text


def test_signatures_are_hidden():
    assert redact("/thumb/3fa9c1.jpg?v=1&sig=158acd8f7087d35d&x=y") == "/thumb/3fa9c1.jpg?v=1&sig=…&x=y"


def test_a_request_id_is_no_secret(client, db):
    key = "0c9f6a0e5a7e4b069a3f2f1f6a5d1f10" + "Zk3vT9qLmX2bRw8nYc5dPs7hJf4gKa1e"
    assert looks_secret(key)
    assert client.get("/health/live", headers={"X-Request-Id": key}).headers["X-Request-Id"] != key
