"""The render worker: what it can't do, and what it answers to whatever it is asked."""

import json
import os
import signal
import subprocess

import pytest

from rendering import errors
from rendering.painters import COMMAND, ENVIRONMENT, MAX_RESULT_BYTES, NICENESS, problems
from tests.support import images, paint

pytestmark = pytest.mark.any_database

PYTHON = (*COMMAND[:3], "-c")
START = f"""
import os, socket, sys
from rendering.painters import standalone
from sourceimages.probing.readers import sandbox
descriptor = os.memfd_create("result")
sandbox.enter(writes=True, max_file_bytes={MAX_RESULT_BYTES})
"""


def run(code, *, start=START):
    """A process with the environment of a worker that has entered the sandbox and then runs this."""
    return subprocess.run([*PYTHON, start + code], env=ENVIRONMENT, capture_output=True, text=True, timeout=30)


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").write_bytes(images.png(60, 40))
    return tmp_path / "source"


@pytest.fixture
def own_painter():
    painter = paint.Painter()
    yield painter
    painter.close()


# --- The sandbox ------------------------------------------------------------------------------------------------------


def test_the_worker_is_sandboxed(painter, source):
    painter.paint(paint.recipe(source, "png"))
    assert painter.sandboxed
    with open(f"/proc/{painter.process.pid}/status") as status:
        assert "Seccomp:\t2\n" in status


def test_the_worker_has_a_lower_priority_than_the_server(painter, source):
    painter.paint(paint.recipe(source, "png"))
    assert os.getpriority(os.PRIO_PROCESS, painter.process.pid) == os.getpriority(os.PRIO_PROCESS, 0) + NICENESS


def test_the_worker_does_not_import_django():
    """Nor settings, or anything else that knows secrets."""
    code = "from rendering.painters import render\nprint({name.split('.')[0] for name in sys.modules})"
    imported = run(code).stdout
    assert "'pyvips'" in imported
    assert not [name for name in ("django", "rokka", "organizations", "environ") if f"'{name}'" in imported]


def test_the_worker_has_only_its_pipes_and_the_result_open(painter, source):
    painter.paint(paint.recipe(source, "png", {"resize": {"width": 9}}))
    folder = f"/proc/{painter.process.pid}/fd"
    opened = {int(number): os.readlink(f"{folder}/{number}") for number in os.listdir(folder)}
    files = {number: name for number, name in opened.items() if not name.startswith("pipe:") and name != os.devnull}
    assert list(files) == [painter.descriptor]
    assert "memfd:result" in files[painter.descriptor]


@pytest.mark.parametrize("mode", ["wb", "ab", "r+b", "xb"])
def test_no_file_can_be_opened_for_writing(tmp_path, mode):
    path = tmp_path / "file"
    if mode != "xb":
        path.write_bytes(b"original")
    ended = run(f"open({str(path)!r}, {mode!r})")
    assert "PermissionError" in ended.stderr
    assert mode == "xb" or path.read_bytes() == b"original"


def test_the_result_can_be_written_up_to_a_limit():
    code = f"os.pwrite(descriptor, b'x', {MAX_RESULT_BYTES} - 1); os.ftruncate(descriptor, 0); print('written')"
    assert run(code).stdout == "written\n"
    assert "OSError: [Errno 27]" in run(f"os.pwrite(descriptor, b'x', {MAX_RESULT_BYTES})").stderr


@pytest.mark.parametrize(
    "code",
    [
        "socket.socket()",
        "socket.create_connection(('127.0.0.1', 9))",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 0)",
        "os.unlink('/tmp/nothing-of-that-name')",
        "os.mkdir('/tmp/nothing-of-that-name')",
    ],
)
def test_no_network_no_programs_no_other_processes(code):
    assert "PermissionError" in run(code).stderr


def test_memory_is_limited():
    assert "MemoryError" in run("bytearray(1_200_000_000)").stderr


def test_secrets_of_the_server_are_not_in_the_environment(monkeypatch, own_painter, source):
    monkeypatch.setenv("SECRET_KEY", "do-not-leak")
    own_painter.paint(paint.recipe(source, "png"))
    with open(f"/proc/{own_painter.process.pid}/environ") as environment:
        assert "do-not-leak" not in environment.read()


def test_the_kernel_ends_a_recipe_that_takes_too_long(own_painter, source):
    """The next one gets a new worker."""
    stretched = {"resize": {"width": 9000, "height": 9000, "mode": "absolute"}}
    slow = paint.recipe(source, "png", stretched, *[{"modulate": {"hue": 7}}] * 12, seconds=1)
    assert own_painter.paint(slow) == ({"died": -signal.SIGXCPU}, b"")
    assert own_painter.paint(paint.recipe(source, "png"))[0]["width"] == 60


# --- Answers ----------------------------------------------------------------------------------------------------------


def test_an_answer_describes_the_result(painter, source):
    answer, content = painter.paint(paint.recipe(source, "png", {"resize": {"width": 30}}, to="webp"))
    assert answer == {"width": 30, "height": 20, "frames": 1, "format": "webp", "bytes": len(content)}


def test_another_worker_gives_the_same_result(painter, own_painter, source):
    recipe = paint.recipe(source, "png", {"glitch": {"random": "x"}}, {"rotate": {"angle": 7}}, to="webp")
    assert painter.paint(recipe) == own_painter.paint(recipe)


def test_a_smaller_result_replaces_a_larger_one(painter, source):
    large, _ = painter.paint(paint.recipe(source, "png", {"resize": {"width": 600}}))
    small, content = painter.paint(paint.recipe(source, "png", {"resize": {"width": 3}}))
    assert small["bytes"] < large["bytes"]
    assert os.fstat(painter.descriptor).st_size == small["bytes"]
    assert content.endswith(b"IEND\xaeB`\x82")


def test_reasons_of_refusals_are_those_of_rendering():
    documented = {error.reason for error in vars(errors).values() if isinstance(error, type)}
    assert {error.reason for error in problems.RenderError.__subclasses__()} <= documented


def test_an_unknown_operation_is_refused(painter, source):
    recipe = paint.recipe(source, "png") | {"operations": [{"name": "explode", "options": {}}]}
    answer, _ = painter.paint(recipe)
    assert answer == {"error": "invalid_operation", "message": "The operation 'explode' does not exist."}


@pytest.mark.parametrize(
    "options", [{"width": "wide"}, {"width": -5}, {"width": 1e300}, {"width": None}, {"width": [1]}, {"width": 0.0001}]
)
def test_options_of_wrong_types_do_not_end_the_worker(painter, source, options):
    """They are validated before; this is only a second line of defense."""
    recipe = paint.recipe(source, "png") | {"operations": [{"name": "resize", "options": options}]}
    answer, _ = painter.paint(recipe)
    assert "error" in answer or answer["width"] <= 60
    assert painter.paint(paint.recipe(source, "png"))[0]["width"] == 60


def test_answers_are_one_line_whatever_the_message(painter, tmp_path):
    recipe = paint.recipe(tmp_path / "new\nline", "png")
    answer, _ = painter.paint(recipe)
    assert answer["error"] == "unreadable_source"
    assert json.dumps(answer).count("\\n") == 0
