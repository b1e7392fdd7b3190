"""The children: what they may not do, and that none of their deaths harms more than the file that caused it."""

import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from rokka.core.errors import Unavailable
from sourceimages import probing
from sourceimages.errors import ReadingInterrupted, UnreadableImage
from sourceimages.probing import pool as pool_module
from sourceimages.probing.pool import (
    COMMAND,
    ENVIRONMENT,
    Pool,
    PoolExhaustedError,
    SandboxMissingError,
    Worker,
    WorkerDiedError,
    WorkerKilledError,
    WorkLimitError,
)
from tests.support import images

pytestmark = pytest.mark.any_database

PYTHON = (*COMMAND[:3], "-c")

ACTOR = """
import json, os, signal, sys, time
print(json.dumps({"sandboxed": True}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    match os.path.basename(request["path"]) if not request.get("format") else "scan":
        case "hang": time.sleep(60)
        case "die": os.kill(os.getpid(), signal.SIGKILL)
        case "end": os.kill(os.getpid(), signal.SIGTERM)
        case "compute": os.kill(os.getpid(), signal.SIGXCPU)
        case "once":
            if not os.path.exists(request["path"] + ".tried"):
                open(request["path"] + ".tried", "x").close()
                os.kill(os.getpid(), signal.SIGKILL)
        case "leave": sys.exit(3)
        case "mute": os.close(1); time.sleep(60)
        case "scan": os.kill(os.getpid(), signal.SIGXCPU)
        case "babble": print("what?", flush=True)
        case "flood": print("x" * 100_000, flush=True)
        case "stutter": print('{"half": ', end="", flush=True); time.sleep(60)
    print(json.dumps({"format": "png", "mimetype": "image/png", "width": 1, "height": 1, "opaque": None,
                      "animated": False, "pid": os.getpid()}), flush=True)
"""


@pytest.fixture
def actor():
    """A pool of one child that does what the name of the file says."""
    pool = Pool(1, partial(Worker, (*PYTHON, ACTOR)))
    yield pool
    pool.close()


def test_waiting_for_a_free_worker_times_out():
    pool = Pool(1, partial(Worker, (*PYTHON, ACTOR)), checkout_timeout=0.2)
    with pool.checkout(), pytest.raises(PoolExhaustedError):
        pool.call({"path": "picture"}, seconds=1)
    assert pool.call({"path": "picture"}, seconds=5)["format"] == "png"
    pool.close()


def test_an_upload_that_finds_no_child_may_be_tried_again(actor, png, monkeypatch):
    actor._checkout_timeout = 0.1
    monkeypatch.setattr(probing, "_pool", actor)
    with actor.checkout(), pytest.raises(Unavailable):
        probing.probe(png)


@pytest.fixture
def png(tmp_path):
    path = tmp_path / "picture"
    Image.new("RGB", (4, 3)).save(path, "PNG")
    return path


def run(code, *, before="", writes=False, **options):
    """A child of its own that has entered the sandbox and then runs this."""
    start = f"import os, socket, sys\nfrom readers import sandbox\n{before}\nsandbox.enter(writes={writes})\n"
    return subprocess.run(
        [*PYTHON, start + code], env=ENVIRONMENT, capture_output=True, text=True, timeout=20, **options
    )


def living_children():
    return {child._process.pid for child in probing._pool._children if child.alive}


# The sandbox


@pytest.mark.parametrize(
    "code",
    [
        "socket.socket()",
        "socket.socketpair()",
        "socket.create_connection(('127.0.0.1', 9))",
        "os.execv('/bin/true', ['true'])",
        "import subprocess; subprocess.run(['/bin/true'])",
        "os.system('true') and sys.exit('refused, as it should be: PermissionError')",
        "os.kill(os.getppid(), 0)",
        "os.unlink('/tmp/nothing-of-that-name')",
    ],
)
def test_a_child_cannot_reach_the_network_nor_start_a_program_nor_touch_other_processes(code):
    ended = run(code)
    assert ended.returncode == 1
    assert "PermissionError" in ended.stderr


def test_a_child_has_little_memory():
    assert "MemoryError" in run("bytearray(1_200_000_000)").stderr


@pytest.mark.parametrize("writes", [False, True])
@pytest.mark.parametrize("mode", ["wb", "ab", "r+b", "xb"])
def test_a_child_cannot_open_files_for_writing(tmp_path, mode, writes):
    """Not even to make one empty: the originals belong to the same user."""
    path = tmp_path / "file"
    if mode != "xb":
        path.write_bytes(b"original")
    ended = run(f"open({str(path)!r}, {mode!r})", writes=writes)
    assert "Operation not permitted" in ended.stderr
    assert path.exists() == (mode != "xb")
    assert mode == "xb" or path.read_bytes() == b"original"


def test_a_child_that_rewrites_writes_to_what_it_was_given_open(tmp_path):
    opened = f"given = os.open({str(tmp_path / 'given')!r}, os.O_WRONLY | os.O_CREAT)"
    ended = run("os.write(given, b'new')", before=opened, writes=True)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "given").read_bytes() == b"new"


def test_a_child_cannot_open_many_files():
    assert "Too many open files" in run("files = [open('/dev/null') for _ in range(100)]").stderr


def test_a_child_that_computes_for_too_long_is_ended_by_the_kernel():
    assert run("sandbox.allow_seconds(1)\nwhile True: pass").returncode == -signal.SIGXCPU


def test_the_time_a_child_has_used_before_does_not_count():
    code = (
        "import time\n"
        "while time.process_time() < 1.2: pass\n"
        "sandbox.allow_seconds(1)\n"
        "while time.process_time() < 1.8: pass"
    )
    assert run(code).returncode == 0


def test_a_child_says_truly_that_it_is_sandboxed():
    child = Worker()
    assert child.sandboxed
    child.kill()


def test_a_child_knows_neither_django_nor_the_environment(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "do not tell")
    ended = subprocess.run(
        [*PYTHON, "import os, sys, readers.__main__\nprint('django' in sys.modules, *os.environ)"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    knows_django, *environment = ended.stdout.split()
    assert knows_django == "False"
    assert set(environment) - {"LC_CTYPE"} == set(ENVIRONMENT)  # that one Python sets itself
    child = Worker()
    assert b"do not tell" not in Path(f"/proc/{child._process.pid}/environ").read_bytes()
    child.kill()


def unsandboxed(**options):
    code = """import sys; print('{"sandboxed": false}', flush=True); sys.stdin.read()"""
    return Pool(1, partial(Worker, (*PYTHON, code)), **options)


def test_a_required_sandbox_that_is_missing_is_an_error():
    pool = unsandboxed(sandbox_required=True)
    for _ in range(2):
        with pytest.raises(SandboxMissingError, match="SANDBOX=required"):
            pool.check_sandbox()


def test_a_sandbox_that_is_missing_is_logged_once(caplog):
    pool = unsandboxed()
    pool.check_sandbox()
    pool.close()
    pool.check_sandbox()
    pool.close()
    assert caplog.text.count("seccomp is not available") == 1


def test_check_sandbox_asks_a_child():
    probing.check_sandbox()


# Deaths


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("leave", "the reader died (3)"),
        ("mute", "stopped responding"),
        ("babble", "invalid response"),
        ("flood", "invalid response"),
    ],
)
def test_a_file_its_reader_dies_of_is_unreadable_and_the_next_one_is_read(actor, monkeypatch, tmp_path, name, reason):
    monkeypatch.setattr(probing, "_pool", actor)
    monkeypatch.setattr(probing, "HEADER_TIMEOUT", 0.3)
    (tmp_path / name).write_bytes(b"x")
    started = time.monotonic()
    with pytest.raises(UnreadableImage) as refusal:
        probing.probe(tmp_path / name)
    assert reason in refusal.value.message
    assert actor.call({"path": "fine"}, seconds=5)["width"] == 1
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("name", "reason"),
    [("die", "Killed"), ("end", "Terminated"), ("hang", "0.3 seconds"), ("stutter", "0.3 seconds")],
)
def test_a_reader_that_is_killed_twice_says_nothing_about_the_file(actor, monkeypatch, tmp_path, name, reason):
    monkeypatch.setattr(probing, "_pool", actor)
    monkeypatch.setattr(probing, "HEADER_TIMEOUT", 0.3)
    monkeypatch.setattr(probing, "FRESH_WORKER_TIMEOUT", 0.3)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ReadingInterrupted, match=reason):
        probing.probe(tmp_path / name)
    assert actor.call({"path": "fine"}, seconds=5)["width"] == 1
    with pytest.raises(ReadingInterrupted):
        probing.dominant_colors(tmp_path / name, "")


def test_a_file_whose_reader_is_killed_once_is_read(actor, monkeypatch, tmp_path):
    monkeypatch.setattr(probing, "_pool", actor)
    path = tmp_path / "once"
    path.write_bytes(b"x")
    answers = probing._Answers({"path": str(path)}, time.monotonic() + 5)
    assert probing._read_header(answers)["format"] == "png"


def test_a_file_that_takes_too_much_computing_is_not_tried_again(actor, monkeypatch, tmp_path):
    monkeypatch.setattr(probing, "_pool", actor)
    monkeypatch.setattr(actor, "call_fresh_worker", None)
    (tmp_path / "compute").write_bytes(b"x")
    with pytest.raises(UnreadableImage, match="limit of CPU time"):
        probing.probe(tmp_path / "compute")


def test_the_second_try_is_alone():
    """No other child of the process is at work meanwhile, nor begins."""
    pool = Pool(3, partial(Worker, (*PYTHON, ACTOR)))
    at_work, most = [0], [0]
    lock = threading.Lock()

    def ask(number):
        with pool.checkout():
            with lock:
                at_work[0] += 1
                most[0] = max(most[0], at_work[0])
            time.sleep(0.05)
            with lock:
                at_work[0] -= 1

    with ThreadPoolExecutor(6) as threads:
        asked = [threads.submit(ask, number) for number in range(12)]
        for _ in range(3):
            with pool.call_exclusively():
                assert at_work[0] == 0
                assert pool.call_fresh_worker({"path": "fine"}, seconds=5)["width"] == 1
                assert at_work[0] == 0
        for one in asked:
            one.result()
    assert most[0] > 1
    pool.close()


def test_waiting_for_an_exclusive_call_times_out():
    pool = Pool(2, partial(Worker, (*PYTHON, ACTOR)), checkout_timeout=0.2)
    with pool.checkout(), pytest.raises(PoolExhaustedError), pool.call_exclusively():
        pass
    with pool.call_exclusively(), pytest.raises(PoolExhaustedError), pool.call_exclusively():
        pass
    with pool.call_exclusively():
        pass
    pool.close()


@pytest.mark.parametrize(
    ("death", "complete"),
    [(WorkLimitError("computing"), True), (WorkerKilledError("clock"), False), (WorkerDiedError("crash"), False)],
)
def test_what_a_dead_reader_did_not_report_is_looked_for_later_unless_it_is_the_files_fault(
    monkeypatch, png, death, complete
):
    ask, in_parts = probing._pool.call, probing._pool.call_in_parts

    def dies_of_pixels(question, *, seconds):
        if question["ask"] in ("opaque", "describe"):
            raise death
        return ask(question, seconds=seconds)

    def dies_of_pixels_in_parts(question, *, seconds):
        for part, answer in in_parts(question, seconds=seconds):
            if part in ("opaque", "describe"):
                raise death
            yield part, answer | {"opaque": None}

    monkeypatch.setattr(probing._pool, "call", dies_of_pixels)
    monkeypatch.setattr(probing._pool, "call_in_parts", dies_of_pixels_in_parts)
    found = probing.probe(png)
    assert (found.opaque, found.static_metadata, found.complete) == (False, {}, complete)
    if not complete:
        thorough = probing.probe(png, thorough=True)
        assert (thorough.opaque, thorough.complete) == (True, True)
        assert thorough.static_metadata == {} or "color" not in thorough.static_metadata


def test_a_child_that_died_while_idle_is_no_fault_of_the_next_file(png):
    pool = Pool(1, Worker)
    pool.check_sandbox()
    os.kill(next(iter(pool._children))._process.pid, signal.SIGKILL)
    time.sleep(0.1)
    assert pool.call({"ask": "header", "path": str(png)}, seconds=5)["format"] == "png"
    pool.close()


def test_a_child_killed_at_work_is_replaced(actor):
    first = actor.call({"path": "fine"}, seconds=5)["pid"]
    threading.Timer(0.2, os.kill, (first, signal.SIGKILL)).start()
    with pytest.raises(WorkerDiedError, match="Killed"):
        actor.call({"path": "hang"}, seconds=5)
    assert actor.call({"path": "fine"}, seconds=5)["pid"] != first


def test_a_child_that_cannot_start_is_no_fault_of_the_file(png):
    pool = Pool(1, partial(Worker, (*PYTHON, "raise SystemExit(1)")))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="does not start"):
            pool.call({"ask": "header", "path": str(png)}, seconds=5)


# Warmth and order


def test_a_child_is_kept_warm(actor):
    assert len({actor.call({"path": "fine"}, seconds=5)["pid"] for _ in range(5)}) == 1


def test_many_threads_share_a_few_children(tmp_path, settings):
    def size_of(width):
        path = tmp_path / str(width)
        Image.new("RGB", (width, 3)).save(path, "PNG")
        return [probing.probe(path).width for _ in range(10)]

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(size_of, range(1, 17))) == [[width] * 10 for width in range(1, 17)]
    assert len(living_children()) <= settings.PROBE_WORKERS


def test_a_child_ends_when_its_parent_has_ended():
    child = Worker()
    child.detach()
    assert child._process.wait(timeout=5) == 0


def test_a_closed_pool_leaves_no_children_and_can_be_used_again(png):
    pool = Pool(1, Worker)
    pool.check_sandbox()
    child = next(iter(pool._children))
    pool.close()
    assert not child.alive
    assert pool.call({"ask": "header", "path": str(png)}, seconds=5)["format"] == "png"
    pool.close()


def test_a_forked_process_has_children_of_its_own(png):
    probing.probe(png)
    ours = living_children()
    reader, writer = os.pipe()
    if (forked := os.fork()) == 0:  # pragma: no cover, it leaves without a word
        probing.probe(png)
        os.write(writer, repr(living_children()).encode())
        probing._pool.close()
        os._exit(0)
    os.close(writer)
    assert os.waitpid(forked, 0)[1] == 0
    with os.fdopen(reader) as told:
        theirs = eval(told.read())
    assert theirs
    assert not theirs & ours
    assert probing.probe(png).width == 4
    assert living_children() == ours


def test_a_child_is_replaced_after_many_questions(actor, monkeypatch):
    monkeypatch.setattr(pool_module, "MAX_REQUESTS", 3)
    pids = [actor.call({"path": "fine"}, seconds=5)["pid"] for _ in range(7)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


def test_what_a_library_prints_does_not_break_into_the_answers(png):
    code = """
import os, readers.formats, readers.__main__
read = readers.formats.read
def loud(path):
    print("noise")
    os.write(1, b"noise\\n")
    os.write(2, b"noise\\n")
    return read(path)
readers.formats.read = loud
readers.__main__.main()
"""
    child = Worker((*PYTHON, code))
    assert child.call({"ask": "header", "path": str(png)}, seconds=5)["width"] == 4
    child.kill()


def test_names_of_files_are_only_names(tmp_path):
    path = os.fsencode(tmp_path) + b'/a\n"\xff[page=1].png'
    Image.new("RGBA", (4, 3), (0, 0, 0, 255)).save(tmp_path / "picture", "PNG")
    os.rename(tmp_path / "picture", path)
    assert probing.probe(os.fsdecode(path)).width == 4


def test_a_missing_file_is_an_error_of_ours():
    with pytest.raises(FileNotFoundError):
        probing.probe("/nowhere/at/all")


def test_content_is_probed_like_a_file(tmp_path):
    """Also after a longer one, whose memory the worker has read before."""
    animation = images.encoded(
        images.image(40, 30), "WEBP", save_all=True, append_images=[images.image(40, 30, seed=1)], duration=50
    )
    for number, content in enumerate(
        [
            images.png(200, 100, mode="RGBA"),
            images.jpeg(160, 120),
            images.jpeg(160, 120)[:-900],
            animation,
            images.encoded(images.image(), "TIFF"),
            images.jxl(images.image()),
            images.svg(),
        ]
    ):
        path = tmp_path / str(number)
        path.write_bytes(content)
        found, expected = probing.probe(content), probing.probe(path)
        assert (found, found.static_metadata) == (expected, expected.static_metadata)
        assert found.complete


def test_content_is_read_by_another_worker_if_the_first_one_is_killed(monkeypatch):
    content = images.png(mode="RGBA")
    expected = probing.probe(content)

    def killed(question, *, seconds):
        raise WorkerKilledError("the reader died (Killed)")

    monkeypatch.setattr(probing._pool, "call_in_parts", killed)
    assert probing.probe(content) == expected


def test_a_worker_that_says_more_than_was_asked_is_replaced():
    code = """
import json, sys
print(json.dumps({"sandboxed": True}), flush=True)
for line in sys.stdin:
    print('{"width": 1}\\n{"width": 2}', flush=True)
"""
    pool = Pool(1, partial(Worker, (*PYTHON, code)))
    for _ in range(2):
        with pytest.raises(WorkerDiedError, match="invalid response"):
            pool.call({}, seconds=5)
        assert not pool._children
    pool.close()
