"""The last release: its migrations, and its code if this checkout has the history."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

# The last migration of each app in the last release. Set it when a version is released (docs/contributing/release.md).
LAST_MIGRATIONS = {"organizations": "0009_standard_values", "sourceimages": "0016_standard_names"}

HEADING = re.compile(r"^## (\S+)", re.MULTILINE)  # of a version in CHANGELOG.md
UNRELEASED = "Unreleased"


def version() -> str:
    """The newest version in CHANGELOG.md."""
    headings = HEADING.findall((ROOT / "CHANGELOG.md").read_text())
    return next(heading for heading in headings if heading != UNRELEASED)


def unpack(folder: Path) -> None:
    """Write the code of the last release to the folder. Skips the test if the history does not have it."""
    archive = _git("archive", "--format=tar", _commit())
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True, timeout=60)


def _commit() -> str:
    """The commit that has the tag of the version, or the last one whose changelog begins with the version."""
    try:
        if _git("tag", "--list", f"v{version()}"):
            return f"v{version()}"
        for commit in _git("log", "--format=%H", "--", "CHANGELOG.md").decode().split():
            first = HEADING.search(_git("show", f"{commit}:CHANGELOG.md").decode())
            if first and first[1] == version():
                return commit
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository
        pass
    pytest.skip("this checkout does not have the history of the last release")


def _git(*arguments: str) -> bytes:
    # CI can run as another user than the owner of the checkout.
    command = ["git", "-c", f"safe.directory={ROOT}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60).stdout
