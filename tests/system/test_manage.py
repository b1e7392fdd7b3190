"""How manage.py ends if it is interrupted, if the program that reads its output ends, or without a database."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.any_database


def manage(*arguments, **options):
    command = [sys.executable, ROOT / "manage.py", *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, check=False, **options)


def test_ctrl_c_ends_a_command_without_a_traceback(tmp_path):
    code = "import signal; signal.signal(2, signal.default_int_handler); signal.raise_signal(2)"
    environment = os.environ | {"DATA_DIR": str(tmp_path)}
    ended = manage("shell", "--no-imports", "--command", code, env=environment)
    assert (ended.returncode, ended.stderr) == (130, "Interrupted.\n")


def test_a_reader_that_ends_early_gives_no_traceback(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)  # as head does, once it has seen enough
    ended = manage("help", "--commands", stdout=writer, env=os.environ | {"DATA_DIR": str(tmp_path)})
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.parametrize("command", [["list_organizations"], ["delete_all", "acme", "--yes", "--json"]])
def test_a_database_that_is_not_there_gives_a_message(tmp_path, command):
    database = "postgres://postgres@127.0.0.1:1/rokka"
    variables = {"DATA_DIR": str(tmp_path), "ROKKA_MODE": "standalone", "DATABASE_URL": database}
    ended = manage(*command, stdout=subprocess.PIPE, env=os.environ | variables)
    assert ended.returncode == 1
    assert ended.stderr.startswith("CommandError: The database is unavailable: ")
    assert "manage.py doctor" in ended.stderr
    assert ended.stderr.count("\n") == 1
    if "--json" in command:
        assert "unavailable" in json.loads(ended.stdout)["error"]
