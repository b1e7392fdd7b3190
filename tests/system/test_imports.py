"""Processes import what they use: heavy libraries and parts of rokka are not imported by those that need neither."""

import configparser
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).resolve().parents[2]
MODULES = "import atexit, json, sys; atexit.register(lambda: sys.stderr.write(json.dumps(sorted(sys.modules))))\n"
COMMAND = f"{MODULES}sys.argv[1:] = {{}}\nimport runpy; runpy.run_path('manage.py', run_name='__main__')"
WORKER = """
from celery.fixups.django import DjangoWorkerFixup
from rokka.celery import app

DjangoWorkerFixup(app).validate_models()
app.loader.init_worker()
"""
CREATE = ["create_organization", "other", "--email", "bob@example.org", "--json"]

CELERY = {"celery", "kombu"}
UNUSED = {"boto3", "botocore", "cryptography.hazmat", "jwt", "PIL", "pyvips", "segno", "storages"}
WITHOUT_POSTGRESQL_AND_REDIS = {"psycopg", "redis"}
API = {"rest_framework.views", "drf_spectacular.utils", "rokka.urls", "sourceimages.api"}
ADMIN = {"rokka.backoffice.site", "django.contrib.auth.admin", "sourceimages.admin", "rendering.admin"}
RARE = {"drf_spectacular.openapi", "django.test", "prometheus_client", "sourceimages.uploads.remote"}
WORK = {"sourceimages.operations", "sourceimages.search", "sourceimages.probing", "lark", "snowballstemmer"}

PROCESSES = [
    ("list_organizations", COMMAND.format(["list_organizations"]), UNUSED | CELERY | API | ADMIN | RARE | WORK),
    ("create_organization", COMMAND.format(CREATE), UNUSED | CELERY | API | ADMIN | RARE | WORK),
    ("check", COMMAND.format(["check"]), UNUSED | CELERY | RARE),
    ("web process", f"{MODULES}import rokka.wsgi", UNUSED | CELERY | ADMIN | RARE),
    ("worker", MODULES + WORKER, UNUSED | API | ADMIN | RARE),
]


@pytest.mark.parametrize(("code", "unused"), [row[1:] for row in PROCESSES], ids=[row[0] for row in PROCESSES])
def test_a_process_imports_only_what_it_uses(make_server, code, unused):
    environment = make_server(LOG_LEVEL="ERROR").environment
    if environment["DATABASE_URL"].startswith("sqlite"):
        unused = unused | WITHOUT_POSTGRESQL_AND_REDIS
        environment = environment | {"REDIS_URL": ""}
    # Not with tests.support.commands, which forks from a process that has imported libraries.
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert unused & set(json.loads(done.stderr)) == set()


@pytest.mark.any_database
def test_the_image_has_the_byte_code_of_all_packages():
    """Its processes can't write it, so they would compile the source files at each start."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    packages = contracts["importlinter"]["root_packages"].split()
    (line,) = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if "compileall" in line]
    assert sorted(line.split("-q ")[1].split()) == sorted(packages)


@pytest.mark.any_database
def test_many_may_open_the_admin_at_once_though_its_pages_are_imported_only_then(make_server):
    server = make_server(RATE_LIMIT_ENABLED="false").start()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: requests.get(f"{server.url}/admin/", timeout=60), range(16)))
    assert {(answer.status_code, answer.url) for answer in answers} == {
        (200, f"{server.url}/admin/login/?next=/admin/")
    }
