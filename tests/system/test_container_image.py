"""The Dockerfile, as far as it can be run without building an image."""

import re
import shlex

import pytest

from tests.conftest import ROOT
from tests.support import commands

pytestmark = pytest.mark.any_database


def test_static_files_are_collected_with_the_settings_of_the_build():
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    (line,) = re.findall(r"^RUN (.*) python manage.py collectstatic --noinput", text, re.MULTILINE)
    environment = dict(variable.split("=", 1) for variable in shlex.split(line))
    assert environment["ROKKA_MODE"] == "production"
    collected = commands.manage(["collectstatic", "--noinput", "--dry-run"], environment)
    assert collected.returncode == 0, collected.stderr
    assert "static files" in collected.stdout
