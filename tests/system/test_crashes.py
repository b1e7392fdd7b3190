"""kill -9 between all steps of an upload: never a row without bytes, and what is left behind is found and swept."""

import re

import pytest
import requests

from rokka.core import failpoints
from sourceimages.uploads.multipart import MEMORY_BYTES
from tests.conftest import ROOT, files_in
from tests.support import images
from tests.system.conftest import places

OF_UPLOADS = [place for place in failpoints.FAILPOINTS if place.startswith(("upload.", "storage."))]
AROUND_COMMIT = ("upload.counted", "upload.committed")  # where databases may differ


def test_every_named_place_exists_and_is_killed_at():
    source = "".join(path.read_text() for app in ("rendering", "sourceimages") for path in (ROOT / app).rglob("*.py"))
    assert sorted(re.findall(r'failpoints\.failpoint\("([a-z._]+)"\)', source)) == sorted(
        [*failpoints.FAILPOINTS, "storage.written", "storage.placed", "trash.recovered"]  # which both storages have
    )


@pytest.mark.parametrize("place", places(OF_UPLOADS, AROUND_COMMIT))
def test_a_killed_upload_loses_nothing(make_server, place):
    server = make_server(ROKKA_FAILPOINT=place).start()
    content = images.png(40, 30, seed=1)
    with pytest.raises(requests.ConnectionError):
        server.upload(content, images.png(40, 30, seed=2))
    server.stop()

    check = server.manage("check_consistency", "--verify-checksums")
    assert check.returncode == 0, check.stdout

    del server.environment["ROKKA_FAILPOINT"]
    server.start()
    committed = server.session().get(f"{server.url}/sourceimages/acme").json()["total"]
    assert committed == (2 if place == "upload.committed" else 0)
    again = server.upload(content)
    assert again.status_code == 200
    downloaded = server.session().get(server.url + again.json()["items"][0]["link"] + "/download")
    assert downloaded.content == content


@pytest.mark.any_database
@pytest.mark.parametrize("place", ["upload.received", "upload.stored", "upload.counted"])
def test_what_a_killed_upload_left_behind_is_found_and_swept(make_server, place):
    server = make_server(ROKKA_FAILPOINT=place).start()
    small, large = images.png(), images.png(400, 300)
    assert len(small) < MEMORY_BYTES < len(large)
    with pytest.raises(requests.ConnectionError):
        server.upload(small, large)
    server.stop()
    assert len(files_in(server.data_dir / "files")) == (1 if place == "upload.received" else 2)

    later = server.after_grace_time()
    found = later.manage("check_consistency").stdout
    assert found.count("no row refers to it") == (0 if place == "upload.received" else 2)
    collected = later.manage("collect_garbage").stdout
    assert f"{0 if place == 'upload.received' else 2} files moved to the storage trash" in collected
    assert ("1 temporary file deleted" if place == "upload.received" else "0 temporary files deleted") in collected
    assert [path for path in files_in(server.data_dir / "files") if "trash" not in path.parts] == []
    assert server.manage("check_consistency", "--verify-checksums").stdout.strip() == "No problems found."


@pytest.mark.parametrize("place", ["storage.written", "storage.placed", "upload.counted"])
def test_a_killed_upload_to_s3_loses_nothing(make_server, empty_bucket, place):
    server = make_server(ROKKA_FAILPOINT=place, STORAGE_URL=empty_bucket).start()
    with pytest.raises(requests.ConnectionError):
        server.upload(images.png(seed=1))
    server.stop()
    del server.environment["ROKKA_FAILPOINT"]

    later = server.after_grace_time()
    found = later.manage("check_consistency", "--verify-checksums")
    assert found.returncode == 0, found.stdout
    assert found.stdout.count("no row refers to it") == (0 if place == "storage.written" else 1)
    later.manage("collect_garbage")
    assert later.manage("check_consistency").stdout.strip() == "No problems found."
    assert list((server.data_dir / "spool").glob("*.part")) == []
    link = server.start().upload(images.png(seed=1)).json()["items"][0]["link"]
    assert server.session().get(f"{server.url}{link}/download").content == images.png(seed=1)
    assert server.manage("check_consistency", "--verify-checksums").stdout.strip() == "No problems found."


@pytest.mark.any_database
def test_bytes_of_an_upload_under_way_are_not_swept(make_server):
    server = make_server(ROKKA_FAILPOINT="upload.stored").start()
    with pytest.raises(requests.ConnectionError):
        server.upload(images.png())
    assert "0 files moved" in server.manage("collect_garbage").stdout


@pytest.mark.parametrize("place", places(["upload.stored", *AROUND_COMMIT], AROUND_COMMIT[1:]))
def test_a_killed_repair_of_a_lost_file_loses_nothing(make_server, place):
    server = make_server().start()
    content = images.png(seed=1)
    link = server.upload(content).json()["items"][0]["link"]
    server.stop()
    (lost,) = files_in(server.data_dir / "files")
    lost.unlink()
    server.environment["ROKKA_FAILPOINT"] = place
    server.start()
    with pytest.raises(requests.ConnectionError):
        server.upload(content)
    server.stop()
    del server.environment["ROKKA_FAILPOINT"]
    server.start()
    assert server.upload(content).status_code == 200
    assert server.session().get(f"{server.url}{link}/download").content == content
    check = server.manage("check_consistency", "--verify-checksums")
    assert check.returncode == 0, check.stdout
