"""Security settings of production, security headers and redacted logs."""

import subprocess

import pytest

from organizations.models import User, new_signing_key
from rokka.core.logs import redact, redact_processor
from tests.conftest import PYTHON, ROOT
from tests.rokka.test_settings import PRODUCTION

pytestmark = pytest.mark.any_database


def test_djangos_own_list_is_clean_in_production(tmp_path):
    command = [PYTHON, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    long = {"SECRET_KEY": "aB3xZ-" * 10, "TOKEN_SECRETS": "cD4yW-" * 10, "DATA_DIR": str(tmp_path)}
    run = subprocess.run(command, cwd=ROOT, env=PRODUCTION | long, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_browsers_get_an_hsts_header(client, db, settings):
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


def test_only_the_documentation_shows_images_in_data_urls(client, db):
    """Swagger UI has the icons of its buttons in its style sheet."""
    policies = {path: client.get(path).headers["Content-Security-Policy"] for path in ("/admin/login/", "/doc/")}
    assert "data:" not in policies["/admin/login/"]
    assert policies["/doc/"].endswith("; img-src 'self' data:")


def test_cookies_of_the_admin_are_hidden_from_scripts_and_other_sites(client, db):
    User.objects.create_superuser("staff", "a long password", email="s@example.org")
    response = client.post("/admin/login/?next=/admin/", {"username": "staff", "password": "a long password"})
    session = response.cookies["sessionid"]
    assert (session["httponly"], session["samesite"], session["max-age"]) == (True, "Lax", 12 * 3600)


API_KEY = "0c9f6a0e5a7e4b069a3f2f1f6a5d1f10" + "Zk3vT9qLmX2bRw8nYc5dPs7hJf4gKa1e"
CREDENTIALS = [
    API_KEY,
    "Zk3vT9qLmX2bRw8nYc5dPs7hJf4gKa1e",  # an imported API key
    "Zk3vT9qLmX2bRw8nYc5dPs7hJf4gKa1e" * 2,
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpZCI6IjBjOWY2YTBlLTVhN2UtNGIwNiJ9.4Rk3vT9qLmX2bRw8nYc5dPs7hJf4gKa1",
    new_signing_key(),
]
READABLE = [
    "/sourceimages/photo-archive-of-the-city-museum-2/1ba368b9f226821b611b16759d004487e7b6d577/download",
    "/sourceimages/acme?q=name:IMG_20240101_Holiday-in-Barcelona-with-family-and-friends.jpg",
    "HolidayInBarcelonaWithTheFamily2024.jpg",
    "DSC_0001_Kopie_(2)_Final-Version-for-Print_300dpi_CMYK_Fogra39L.tif",
    "0c9f6a0e-5a7e-4b06-9a3f-2f1f6a5d1f10",
    "0c9f6a0e5a7e4b069a3f2f1f6a5d1f10/1b/1ba368b9f226821b611b16759d004487e7b6d577-0123456789abcdef",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "CompressedManifestStaticFilesStorage",
    "_start_transaction_under_autocommit",
]


@pytest.mark.parametrize("secret", CREDENTIALS, ids=("API key", "imported", "imported, long", "token", "signing key"))
def test_credentials_are_redacted_wherever_they_are(secret):
    for text in (secret, f"/sourceimages/{secret}/x", f'{{"a": "{secret}"}}', f"x={secret}&y", f"%0a{secret}%22"):
        redacted = redact(text)
        for part in secret.split("."):
            assert part[-20:] not in redacted


@pytest.mark.parametrize("text", READABLE)
def test_names_hashes_and_paths_stay_readable(text):
    assert redact(text) == text


def test_parameters_of_urls_that_hold_secrets_are_redacted():
    assert redact("/thumb/3fa9c1.jpg?v=1&sig=158acd8f7087d35d&x=y") == "/thumb/3fa9c1.jpg?v=1&sig=…&x=y"
    assert redact("/user?api_key=short&keyword=harbour") == "/user?api_key=…&keyword=harbour"
    assert redact("/user/apikeys/token?totp=123456&renewable") == "/user/apikeys/token?totp=…&renewable"


def test_fields_that_are_named_after_a_secret_are_redacted():
    line = {"event": "request", "headers": {"Authorization": "Basic YTpi", "Cookie": "a=b", "Accept": "image/webp"}}
    redacted = {"event": "request", "headers": {"Authorization": "…", "Cookie": "…", "Accept": "image/webp"}}
    assert redact_processor(None, "info", line) == redacted


def test_a_request_id_that_holds_a_credential_is_replaced(client, db):
    sent = client.get("/health/live", headers={"X-Request-Id": f"id-{API_KEY}"})
    assert API_KEY not in sent.headers["X-Request-Id"]
    readable = "photo-archive-of-the-city-museum-2-20261130"
    assert client.get("/health/live", headers={"X-Request-Id": readable}).headers["X-Request-Id"] == readable
