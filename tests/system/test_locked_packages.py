"""rokka with nothing but the packages of a lock file: as in the image, and as bin/run installs it."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pillow_heif
import pytest

from tests.conftest import ROOT
from tests.support import images

pytestmark = pytest.mark.any_database

SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
USE = """
import io, json, sys
import django
django.setup()
from django.core.management import call_command
from django.test import Client
from organizations.management.commands.create_demo import create_demo

call_command("migrate", verbosity=0)
client, key = Client(SERVER_NAME="127.0.0.1"), create_demo()[0]
headers, found = {"Api-Key": key}, {}
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        uploaded = client.post("/sourceimages/demo", {"filedata": file}, headers=headers)
    assert uploaded.status_code == 200, uploaded.content
    image = uploaded.json()["items"][0]
    query = {"format": image["format"], "width": image["width"]}
    searched = client.get("/sourceimages/demo", query, headers=headers).json()["total"]
    renders = {}
    for format in ("webp", "jxl", "blur"):
        url = f"/render/demo/dynamic/resize-width-20/{image['hash']}.{format}"
        rendered = client.get(url)
        body = b"".join(rendered) if rendered.streaming else rendered.content
        renders[format] = [rendered.status_code, len(body)]
    found[image["format"]] = {
        "size": [image["width"], image["height"]], "opaque": image["opaque"], "found": searched, "renders": renders,
    }
from rokka.doctor.processes import check_decoders
found["doctor"] = [finding.level for finding in check_decoders()]
print(json.dumps(found))
"""


def locked(name: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / name).read_text(), re.MULTILINE))


def environment(folder: Path, lock: str) -> Path:
    """The Python of an environment that has only these packages, as links to those of the tests."""
    packages = folder / SITE
    packages.mkdir(parents=True)
    (folder / "bin").mkdir()
    base = Path(sys.base_prefix) / "bin"
    (folder / "pyvenv.cfg").write_text(f"home = {base}\ninclude-system-site-packages = false\n")
    (folder / "bin" / "python").symlink_to(base / f"python{sys.version_info[0]}.{sys.version_info[1]}")
    for name in locked(lock):
        try:
            files = distribution(name).files or ()
        except PackageNotFoundError:  # of another platform or version of Python
            continue
        for entry in {file.parts[0] for file in files if file.parts[0] != ".."}:
            link = packages / entry
            if not link.exists():
                link.symlink_to(Path(sysconfig.get_path("purelib")) / entry)
    return folder / "bin" / "python"


@pytest.fixture
def samples(tmp_path) -> list[Path]:
    pillow_heif.register_heif_opener()
    transparent = images.image(64, 48, mode="RGBA")
    contents = {
        "image.heic": images.encoded(transparent, "HEIF"),
        "image.jxl": images.jxl(transparent, lossless=True),
        "image.avif": images.encoded(transparent, "AVIF"),
        "image.png": images.encoded(transparent, "PNG"),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in contents]


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-heic.lock"])
def test_images_are_stored_measured_found_and_rendered(tmp_path, samples, lock):
    """Without the decoder of HEIC its renders are placeholders."""
    python = environment(tmp_path / "environment", lock)
    script = tmp_path / "use.py"
    script.write_text(USE)
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "rokka.settings",
        "DATA_DIR": str(tmp_path / "data"),
        "LOG_LEVEL": "ERROR",
    }
    done = subprocess.run([python, script, *samples], env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("doctor") == (["ok"] if "heic" in lock else ["warning"])
    assert set(found) == {"heic", "jxl", "avif", "png"}
    for format, facts in found.items():
        assert facts["size"] == [64, 48], format
        assert facts["opaque"] is False, format
        assert facts["found"] == 1, format
        assert all(status == 200 and size for status, size in facts["renders"].values()), (format, facts)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-heic.lock"])
def test_the_optional_packages_are_really_absent(tmp_path, lock):
    python = environment(tmp_path / "environment", lock)
    code = "from importlib.util import find_spec as f; print([bool(f(n)) for n in ('pillow_heif', 'numpy', 'pytest')])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == str(["heic" in lock, False, False]), done.stderr
