"""Databases that know nothing of a storage's files, played to the end: nothing is lost, and an operator decides.

On SQLite with local files, on PostgreSQL with S3.
"""

import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from rokka.core import env as variables
from sourceimages.ownership.checks import CACHE_SECONDS
from tests.support import images
from tests.support.skips import ON_POSTGRESQL, only_postgresql, only_sqlite
from tests.system.conftest import Server, free_port, until

TRY_TO_REMOVE = """
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from sourceimages.models import Tombstone

settings.ORPHAN_GRACE_SECONDS = -5
try:
    Tombstone.objects.update(expires_at="2020-01-01T00:00Z")
except DatabaseError as error:
    print(error)
for name in ("collect_garbage", "purge_trash", "optimize_pending"):
    try:
        call_command(name)
        print("done")
    except (CommandError, DatabaseError) as error:
        print(error)
"""


@pytest.fixture
def server(request, make_server, tmp_path) -> Server:
    """Production: three images, one of them in the trash and expired, and maintenance has been there."""
    files = request.getfixturevalue("empty_bucket") if ON_POSTGRESQL else f"file://{tmp_path}/data/files"
    made = make_server(STORAGE_URL=files, DATA_DIR=str(tmp_path / "data"), ORPHAN_GRACE_SECONDS="3600")
    Path(tmp_path / "data").mkdir()
    if not ON_POSTGRESQL:
        template = made.environment["DATABASE_URL"].removeprefix("sqlite:///")
        shutil.copy(template, tmp_path / "data" / "rokka.sqlite3")
        made.environment["DATABASE_URL"] = f"sqlite:///{tmp_path}/data/rokka.sqlite3"
    made.start()
    for seed in range(3):
        assert made.upload(images.png(seed=seed)).status_code == 200
    assert made.session().delete(f"{made.url}{links(made)[0]}").status_code == 204
    assert made.manage("collect_garbage").returncode == 0
    return made


def links(server: Server) -> list[str]:
    return [item["link"] for item in server.session().get(f"{server.url}/sourceimages/acme").json()["items"]]


def stored(server: Server) -> list[str]:
    """Everything in the storage but the mark, asked past rokka."""
    url = server.environment["STORAGE_URL"]
    if url.startswith("file://"):
        folder = Path(urlsplit(url).path)
        found = (path for path in folder.rglob("*") if path.is_file() and ".spool" not in path.parts)
        return sorted(path.relative_to(folder).as_posix() for path in found if path.name != "rokka-owner.json")
    from sourceimages.storage.s3 import S3Storage

    bucket = S3Storage(**variables.storage_config(url, temp_dir=server.data_dir)["OPTIONS"])
    return sorted(held.key for held in bucket.list_objects())


def beside(server: Server, database: str, **changed: str) -> Server:
    """Another rokka with this database, beside the storage of the server; running, though never ready."""
    own = server.environment | {"DATABASE_URL": database} | changed
    return replace(server, environment=own, port=free_port(), process=None).start(path="/health/live")


def assert_only_reads(server: Server, command: str) -> None:
    """Uploads are refused, reads go on, nothing is removed by anything, and everything names the command."""
    before = stored(server)
    response = server.upload(images.png(seed=99))
    assert (response.status_code, response.json().get("reason")) == (503, "storage_mismatch"), marks(server)
    ready = requests.get(f"{server.url}/health/ready", timeout=10)
    assert ready.status_code == 503
    assert command in ready.json()["problems"]["owner"]
    for link in links(server):
        assert server.session().get(f"{server.url}{link}/download").status_code in (200, 503)
    assert try_to_remove(server).count(f"manage.py {command}") == 3
    assert stored(server) == before


def marks(server: Server) -> str:
    """For the message of a test that fails."""
    look = "from sourceimages import ownership; print(ownership.examine())"
    return server.manage("shell", "--verbosity", "0", "-c", look).stdout


def try_to_remove(server: Server) -> str:
    """What every command that removes something says to an operator in a hurry, when the trash has expired."""
    said = server.manage("shell", "--verbosity", "0", "-c", TRY_TO_REMOVE)
    assert said.returncode == 0, said.stderr
    assert "done" not in said.stdout
    return said.stdout


def assert_accepted(server: Server, command: str) -> None:
    """After the operator's word all goes on, and it is in the audit trail."""
    before = stored(server)
    accepted = server.manage(command, "--yes")
    assert accepted.returncode == 0, accepted.stderr
    assert stored(server) == before
    assert requests.get(f"{server.url}/health/ready", timeout=10).status_code == 200
    assert until(lambda: server.upload(images.png(seed=98)).status_code == 200)  # its answer was cached
    assert set(stored(server)) > set(before)


# --- The stories ------------------------------------------------------------------------------------------------------


def test_an_empty_database_beside_the_storage_of_production_removes_nothing(server, make_server):
    fresh = beside(server, make_server().environment["DATABASE_URL"])
    try:
        assert_only_reads(fresh, "adopt_storage")
        assert_accepted(fresh, "adopt_storage")
    finally:
        fresh.stop()
    refused = server.manage("collect_garbage")  # production is not the owner any more, and says so
    assert refused.returncode == 1
    assert "adopt_storage" in refused.stderr


def test_a_copy_of_the_database_beside_the_storage_of_production_removes_nothing(server, database):
    copies, _ = database
    url = server.environment["DATABASE_URL"]
    if ON_POSTGRESQL:
        name, copy = url.rpartition("/")[2], f"{copies.prefix}_staging"
        server.stop()
        copies._run("CREATE DATABASE {} TEMPLATE {}", copy, name)
        other = copies._url(copy)
    else:
        backup(server, server.data_dir.parent / "staging.sqlite3")
        other = f"sqlite:///{server.data_dir.parent}/staging.sqlite3"
        server.stop()
    staging = beside(server, other)
    try:
        assert_only_reads(staging, "accept_restore")
        server.start()
        assert server.upload(images.png(seed=5)).status_code == 200  # production has noticed nothing
        assert server.manage("collect_garbage").returncode == 0
        assert_accepted(staging, "accept_restore")
    finally:
        staging.stop()
        server.stop()
        if ON_POSTGRESQL:
            copies.drop(other)


def backup(server: Server, path: Path) -> None:
    """What an operator does every night."""
    url = server.environment["DATABASE_URL"]
    if ON_POSTGRESQL:
        subprocess.run(["pg_dump", "-Fc", "-f", path, url], check=True)
        return
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)


def test_a_dump_of_yesterday_removes_nothing_that_came_since(server, tmp_path):
    backup(server, tmp_path / "dump")
    late = server.upload(images.png(seed=50)).json()["items"][0]["hash"]
    assert server.manage("collect_garbage").returncode == 0
    if ON_POSTGRESQL:
        url = server.environment["DATABASE_URL"]
        subprocess.run(["pg_restore", "--clean", "--if-exists", "-d", url, tmp_path / "dump"], check=True)
        time.sleep(CACHE_SECONDS)  # the server runs on, with a finding that may be this old
    else:
        server.stop()
        name = server.environment["DATABASE_URL"].removeprefix("sqlite:///")
        forget_database(name)
        shutil.copy(tmp_path / "dump", name)
        server.start(path="/health/live")
    assert len(stored(server)) == 4
    assert_only_reads(server, "accept_restore")
    asked = server.manage("accept_restore")
    assert asked.returncode == 1  # nobody is there to be asked
    told = asked.stdout
    assert "Of all 4 files in the storage, 1 are unknown to this database." in told
    assert_accepted(server, "accept_restore")
    assert server.session().get(f"{server.url}/sourceimages/acme/{late}").status_code == 404
    assert server.manage("collect_garbage").returncode == 0  # with the usual grace time
    assert len(stored(server)) == 5


@only_postgresql
def test_a_dump_that_is_being_restored_removes_nothing(server, tmp_path):
    """Every state in which a worker may meet the database: no tables, empty ones, some full, all full."""
    backup(server, tmp_path / "dump")  # and the counter stays the same until it is restored
    url, before = server.environment["DATABASE_URL"], stored(server)
    listing = subprocess.run(["pg_restore", "-l", tmp_path / "dump"], capture_output=True, text=True, check=True).stdout
    data = [line for line in listing.splitlines() if " TABLE DATA " in line]
    of_instance = [line for line in data if "sourceimages_instance" in line or "django_migrations" in line]
    (tmp_path / "first").write_text("\n".join(of_instance))

    def restore(*options):
        subprocess.run(["pg_restore", "-d", url, *options, tmp_path / "dump"], check=True)

    subprocess.run(["psql", "-q", "-d", url, "-c", "DROP SCHEMA public CASCADE; CREATE SCHEMA public"], check=True)
    steps = [(), ("--section=pre-data",), ("-L", tmp_path / "first")]
    for step in steps:
        if step:
            restore(*step)
        try_to_remove(server)
        assert stored(server) == before
    restore("--section=data", "--exclude-schema=none", "-L", rest(tmp_path, listing, of_instance))
    restore("--section=post-data")
    assert server.upload(images.png(seed=70)).status_code == 200  # it is the same again, to the last image
    assert server.manage("collect_garbage").returncode == 0


def rest(folder: Path, listing: str, without: list[str]) -> Path:
    kept = [line for line in listing.splitlines() if line not in without]
    (folder / "rest").write_text("\n".join(kept))
    return folder / "rest"


def forget_database(name: str) -> None:
    for end in ("", "-wal", "-shm"):
        Path(name + end).unlink(missing_ok=True)


@only_sqlite
def test_a_database_that_is_being_filled_removes_nothing(server, make_server, tmp_path):
    """The tables are there, and empty."""
    empty = make_server().environment["DATABASE_URL"].removeprefix("sqlite:///")
    server.stop()
    name = server.environment["DATABASE_URL"].removeprefix("sqlite:///")
    aside = tmp_path / "aside"
    shutil.copytree(tmp_path / "data", aside, ignore=shutil.ignore_patterns("files"))
    forget_database(name)
    shutil.copy(empty, name)
    before = stored(server)
    assert try_to_remove(server).count("being restored") == 3
    assert stored(server) == before
    forget_database(name)
    shutil.copytree(aside, tmp_path / "data", dirs_exist_ok=True)
    server.start()
    assert server.upload(images.png(seed=70)).status_code == 200


@only_sqlite
def test_a_file_that_was_copied_without_its_log_removes_nothing(server, tmp_path):
    assert server.upload(images.png(seed=50)).status_code == 200
    assert server.manage("collect_garbage").returncode == 0
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(tmp_path / "data" / "rokka.sqlite3", moved)  # what has been written last is in rokka.sqlite3-wal
    assert (tmp_path / "data" / "rokka.sqlite3-wal").stat().st_size > 0
    shutil.copytree(tmp_path / "data" / "files", moved / "files")
    server.stop()
    copied = {"DATA_DIR": str(moved), "STORAGE_URL": f"file://{moved}/files"}
    other = beside(server, f"sqlite:///{moved}/rokka.sqlite3", **copied)
    try:
        ready = requests.get(f"{other.url}/health/ready", timeout=10).json()
        command = "adopt_storage" if "adopt_storage" in ready["problems"]["owner"] else "accept_restore"
        assert_only_reads(other, command)
        assert_accepted(other, command)
    finally:
        other.stop()


@only_sqlite
def test_a_data_folder_that_was_moved_as_a_whole_goes_on(server, tmp_path):
    server.stop()
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    own = {"DATA_DIR": f"{tmp_path}/elsewhere", "STORAGE_URL": f"file://{tmp_path}/elsewhere/files"}
    moved = beside(server, f"sqlite:///{tmp_path}/elsewhere/rokka.sqlite3", **own)
    try:
        assert requests.get(f"{moved.url}/health/ready", timeout=10).status_code == 200
        assert moved.upload(images.png(seed=70)).status_code == 200
    finally:
        moved.stop()


@only_sqlite
@pytest.mark.any_database
def test_a_storage_that_is_not_mounted_gets_no_uploads(server, tmp_path):
    """What is below the mount point belongs to another disk, and is hidden when the right one is back."""
    files = tmp_path / "data" / "files"
    files.rename(tmp_path / "unmounted")
    files.mkdir()
    assert_only_reads(server, "adopt_storage")
    assert stored(server) == []
    files.rename(tmp_path / "below the mount point")
    refused = server.upload(images.png(seed=99))
    assert (refused.status_code, refused.json()["reason"]) == (503, "storage_mismatch")
    assert not files.exists()
    (tmp_path / "unmounted").rename(files)
    assert server.upload(images.png(seed=70)).status_code == 200
    assert requests.get(f"{server.url}/health/ready", timeout=10).status_code == 200


@only_postgresql  # S3 is tested with it
def test_an_emptied_bucket_gets_no_uploads(server):
    from sourceimages.storage.s3 import S3Storage
    from tests.support.storage import empty

    options = variables.storage_config(server.environment["STORAGE_URL"], temp_dir=server.data_dir)["OPTIONS"]
    empty(S3Storage(**options))
    server.stop()
    server.start(path="/health/live")
    assert_only_reads(server, "adopt_storage")
    assert_accepted(server, "adopt_storage")


@pytest.mark.parametrize("place", ["owner.claimed", "owner.counted"])
def test_a_process_that_is_killed_between_the_two_marks_leaves_them_in_agreement(server, place):
    if place == "owner.claimed":
        server.manage("shell", "-c", "from sourceimages.models import Instance; Instance.objects.all().delete()")
        forget(server)
    killed = replace(server, environment=server.environment | {"ROKKA_FAILPOINT": place}).manage("collect_garbage")
    assert killed.returncode == -9
    assert server.upload(images.png(seed=60)).status_code == 200
    assert until(lambda: server.manage("collect_garbage").returncode == 0)  # the lock of the killed one expires
    assert requests.get(f"{server.url}/health/ready", timeout=10).status_code == 200


def forget(server: Server) -> None:
    """The installation is one of before there were marks."""
    url = server.environment["STORAGE_URL"]
    if url.startswith("file://"):
        os.unlink(Path(urlsplit(url).path) / "rokka-owner.json")
        return
    from sourceimages.storage import OWNER_MARK
    from sourceimages.storage.s3 import S3Storage

    bucket = S3Storage(**variables.storage_config(url, temp_dir=server.data_dir)["OPTIONS"])
    bucket.client.delete_object(Bucket=bucket.bucket_name, Key=OWNER_MARK)
