"""Invalid values of arguments end a command with a message."""

import json
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

pytestmark = pytest.mark.any_database


@pytest.mark.parametrize("value", ["-3", "0", "x", "²", "9" * 30])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("verify", ["--limit"]),
        ("collect_garbage", ["--grace-seconds"]),
        ("sign_url", ["https://example.org/render/acme/thumb/0123ab.jpg", "--seconds"]),
    ],
)
def test_an_invalid_number_is_refused(acme, name, arguments, value):
    with pytest.raises(CommandError, match="must be an integer from 1"):
        call_command(name, *arguments[:-1], f"{arguments[-1]}={value}")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("recover_files", []),
        ("recover_orphans", []),
        ("optimize_pending", ["--undo"]),
        ("restore_admins", ["acme"]),
        ("delete_api_key", [str(uuid4())]),
    ],
)
def test_an_invalid_time_is_refused(acme, capsys, name, arguments):
    with pytest.raises(CommandError, match=r"--since='yesterday' is invalid.*Use 2024"):
        call_command(name, *arguments, "--since=yesterday", "--json")
    assert "yesterday" in json.loads(capsys.readouterr().out)["error"]
