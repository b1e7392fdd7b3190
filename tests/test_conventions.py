"""What documentation promises and code does are looked up in each other."""

import re
import subprocess

import pytest
from django.conf import settings

from organizations.api.urls import urlpatterns as of_accounts
from rokka.core import errors as rokka_errors
from rokka.core.errors import DomainError
from rokka.settings import FORMATS
from sourceimages.api.urls import image_urlpatterns as of_images
from sourceimages.api.urls import job_urlpatterns as of_jobs
from sourceimages.probing.readers.formats import MIMETYPES
from tests.conftest import ROOT

pytestmark = pytest.mark.any_database


def subclasses(kind: type) -> set[type]:
    return {kind} | {found for direct in kind.__subclasses__() for found in subclasses(direct)}


def table(document: str) -> set[str]:
    """The words in code font that begin the rows of the tables of a document."""
    text = (ROOT / "docs" / document).read_text()
    return set(re.findall(r"^\| `([A-Za-z_]+)`", text, re.MULTILINE))


def test_every_error_is_documented():
    reasons = {error.reason for error in subclasses(DomainError)} - {DomainError.reason}
    of_http = {"server_error", "method_not_allowed", "parse_error", "range_not_satisfiable", "host_not_allowed"}
    assert table("errors.md") == reasons | of_http


def test_every_error_has_a_status_of_its_kind():
    from rokka.core.http import STATUS

    kinds = {kind for kind in vars(rokka_errors).values() if isinstance(kind, type) and issubclass(kind, DomainError)}
    assert set(STATUS) == kinds - {DomainError}


def test_every_setting_is_documented():
    source = (ROOT / "rokka" / "settings.py").read_text()
    read = set(re.findall(r'\benv\(\s*"([A-Z_]+)"', source))
    assert read <= table("settings.md")
    assert table("settings.md") - read == {"PORT", "WEB_CONCURRENCY", "ROKKA_FAILPOINT"}


def test_every_route_is_documented():
    documented = (ROOT / "docs" / "api.md").read_text()
    words = {"organization": "org", "binary_hash": "sha1", "key_id": "id"}
    for before, patterns in (("/sourceimages/", of_images), ("/jobs/", of_jobs), ("/", of_accounts)):
        for pattern in patterns:
            path = re.sub(r"<str:(\w+)>", lambda match: f"{{{words.get(match[1], match[1])}}}", str(pattern.pattern))
            for method in pattern.callback.actions:
                if method != "head":
                    assert re.search(rf"`{method.upper()} {re.escape(before + path)}(`|\?)", documented), path


def test_formats_that_may_be_allowed_are_those_that_are_understood():
    assert set(FORMATS) == set(MIMETYPES)
    assert set(settings.ALLOWED_FORMATS) == set(FORMATS)


def test_requirements_are_pinned_and_say_what_they_are_for():
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text().splitlines():
            if not line.startswith(("#", "-r")):
                assert re.match(r"[a-z0-9-]+(\[[a-z0-9-]+\])?==\S+ +# \S", line), line


def test_the_compose_file_is_valid():
    command = ["docker-compose", "--env-file", "deploy/env.example", "config", "--quiet"]
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("docker-compose is not installed: docker-compose.yml was left unchecked")
    assert run.returncode == 0, run.stderr
