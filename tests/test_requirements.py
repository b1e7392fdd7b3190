"""The requirements files, their lock files, and what is installed agree."""

import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

pytestmark = pytest.mark.any_database

NAMES = ["requirements", "requirements-heic", "requirements-uv", "requirements-dev"]
NOT_INSTALLED = {"numpy"}  # bin/lock says why


def requirements(name: str) -> dict[str, Requirement]:
    """What the file requires directly, also by the files that it includes."""
    found = {}
    for line in (ROOT / f"{name}.txt").read_text().splitlines():
        if line.startswith("-r "):
            found |= requirements(line.removeprefix("-r ").removesuffix(".txt"))
        elif not line.startswith("#"):
            assert re.match(r"[a-z0-9-]+(\[[a-z0-9-]+\])?==\S+ +# \S", line), line
            requirement = Requirement(line.partition("#")[0])
            found[canonicalize_name(requirement.name)] = requirement
    return found


def locked(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Version and hashes by package."""
    found = {}
    entries = re.split(r"^(?=\S+==)", (ROOT / f"{name}.lock").read_text(), flags=re.MULTILINE)[1:]
    for entry in entries:
        package, version = re.findall(r"^([a-z0-9._-]+)==(\S+)", entry)[0]
        found[canonicalize_name(package)] = version, frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry))
    return found


def installed(requirement: Requirement) -> Iterator[Requirement]:
    """What a package requires, by its installed metadata."""
    extras = requirement.extras | {""}
    for text in distribution(requirement.name).requires or ():
        dependency = Requirement(text)
        if not dependency.marker or any(dependency.marker.evaluate({"extra": extra}) for extra in extras):
            yield dependency


@pytest.mark.parametrize("name", NAMES)
def test_the_lock_file_has_what_is_required(name):
    """After a change of a requirements file: bin/lock."""
    direct, lock, seen = requirements(name), locked(name), set()
    queue = list(direct.values())
    while queue:
        requirement = queue.pop()
        package = canonicalize_name(requirement.name)
        if package in NOT_INSTALLED and package not in direct:
            continue
        assert package in lock, f"{name}.lock lacks {package}. Run bin/lock."
        version, _ = lock[package]
        assert requirement.specifier.contains(version), f"{name}.lock has {package} {version}. Run bin/lock."
        if (package, *requirement.extras) not in seen:
            seen.add((package, *requirement.extras))
            assert distribution(package).version == version, f"{package} {version} is not installed"
            queue += installed(requirement)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_of_a_locked_package_has_a_hash(name):
    assert [package for package, (_, hashes) in locked(name).items() if not hashes] == []


def test_lock_files_agree():
    everything = locked("requirements-dev")
    for name in NAMES:
        assert locked(name).items() <= everything.items()


def test_wheels_under_the_gpl_are_optional():
    assert locked("requirements-heic").keys() - locked("requirements").keys() == {"pillow-heif"}


def test_the_page_of_licenses_is_current():
    """After a change of packages: bin/lint --fix."""
    made = subprocess.run([sys.executable, "bin/licenses.py"], cwd=ROOT, capture_output=True, text=True)
    assert made.stdout.strip(), made.stderr
    assert made.stdout.strip() in (ROOT / "docs" / "reference" / "licenses.md").read_text()
    assert "|  |" not in made.stdout  # a package without a license


def test_every_library_in_a_wheel_has_a_license():
    """Those in folders of their own. docs/reference/bundled-libraries.toml is written by hand."""
    bundled = tomllib.loads((ROOT / "docs" / "reference" / "bundled-libraries.toml").read_text())
    packages, seen = Path(sysconfig.get_path("purelib")), set()
    for package in locked("requirements-heic").keys() - NOT_INSTALLED:
        for file in (packages / f"{package.replace('-', '_')}.libs").glob("*.so*"):
            known = bundled.get(package, {}).get("libraries", {})
            assert file.name.startswith(tuple(known)), f"{package} has {file.name}"
            seen.add(package)
    assert seen >= {"imagecodecs", "pillow", "pillow-heif"} or sys.platform != "linux"


def test_nothing_under_the_gpl_is_in_the_image():
    """The LGPL is another license; libgomp is under the GPL with an exception for programs that are linked with it."""
    bundled = tomllib.loads((ROOT / "docs" / "reference" / "bundled-libraries.toml").read_text())
    for package in locked("requirements").keys() - NOT_INSTALLED:
        for name, license in bundled.get(package, {}).get("libraries", {}).items():
            assert not re.search(r"\bGPL", license) or "exception" in license, f"{package}: {name}"
    table = (ROOT / "docs" / "reference" / "licenses.md").read_text()
    assert not re.search(r"^\|[^|]+\|[^|]+\|[^|]*(?<!L)GPL", table.partition("## Libraries")[0], re.MULTILINE)
