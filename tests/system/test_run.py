"""bin/run as a new user runs it, with the real server, scheduler and shell."""

import contextlib
import importlib.util
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import ROOT
from tests.support import images
from tests.system.conftest import free_port, until

pytestmark = pytest.mark.any_database

STARTING, STOPPING = 120, 20  # seconds; bin/run ends within ten unless the machine is busy, as with other tests


def link_checkout(folder: Path) -> Path:
    """A checkout in the folder, with its own bin/."""
    folder.mkdir()
    for path in ROOT.iterdir():
        if path.name != "bin" and not path.name.startswith(".") and path.name != "data":
            (folder / path.name).symlink_to(path)
    shutil.copytree(ROOT / "bin", folder / "bin")
    return folder


def add_environment(folder: Path, *, installed: bool) -> None:
    """A .venv with the packages of the tests, as an installation of requirements-heic.lock or of an older one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    (packages,) = (folder / ".venv" / "lib").glob("python*/site-packages")
    (packages / "tests.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    for name in ("granian", "celery"):
        script = (Path(sys.executable).parent / name).read_text().partition("\n")[2]
        (folder / ".venv" / "bin" / name).write_text(f"#!{folder}/.venv/bin/python\n{script}")
        (folder / ".venv" / "bin" / name).chmod(0o755)
    wanted = (ROOT / "requirements-heic.lock").read_text()
    (folder / ".venv" / ".installed-requirements-heic.lock").write_text(wanted if installed else "older==1.0")


class Run:
    """A running bin/run."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder, self.port, self.log = folder, free_port(), folder / f"log{time.monotonic()}"
        self.data = folder / "own data"
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment = kept | {"PORT": str(self.port), "DATA_DIR": str(self.data)} | variables
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [folder / "bin" / "run"],
                env=environment,
                cwd="/",
                stdout=log,
                stderr=log,
                start_new_session=True,
                # Processes in the background of a shell ignore the signal, and so would those that they start.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (there are no threads)
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def prints(self, text: str) -> bool:
        """Wait until the text is printed, or the process has ended."""
        until(lambda: text in self.output or self.process.poll() is not None, STARTING)
        return text in self.output

    def processes(self) -> list[int]:
        """Those that were started with its DATA_DIR."""
        mark, found = b"DATA_DIR=" + bytes(self.data) + b"\0", []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in path.read_bytes():
                    found.append(int(path.parent.name))
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(STOPPING)

    def kill(self) -> None:
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def running(folder: Path, **variables: str) -> Iterator[Run]:
    run = Run(folder, **variables)
    try:
        yield run
    finally:
        run.kill()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = link_checkout(tmp_path / "checkout")
    return folder


def test_the_first_run_prints_what_a_user_needs_and_the_next_one_no_secrets(checkout, tmp_path):
    add_environment(checkout, installed=True)
    with running(checkout) as run:
        assert run.prints("HASH.webp\n"), run.output
        first, address = run.output, f"http://127.0.0.1:{run.port}"
        for path in ("/", "/doc/", "/admin/"):
            assert f"{address}{path}\n" in first
            assert requests.get(f"{address}{path}", headers={"Accept": "text/html"}, timeout=30).status_code == 200

        album = tmp_path / "album"
        album.mkdir()
        (album / "notes.txt").write_text("no image")
        (album / "A day, at sea; 1.PNG").write_bytes(images.png())
        (command,) = re.findall(r"^  (curl .*)$", first, re.MULTILINE)
        pasted = subprocess.run(["sh", "-c", f"{command} --silent"], cwd=album, capture_output=True, text=True)
        (hash,) = re.findall(r'"hash": ?"(\w+)"', pasted.stdout)
        (render,) = re.findall(r"^  (http\S+/HASH\.webp)$", first, re.MULTILINE)
        answer = requests.get(render.replace("HASH", hash), timeout=30)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/webp")

        (login,), (password,) = (re.findall(rf"^  {name} +(\S+)$", first, re.M) for name in ("Admin login", "Password"))
        with requests.Session() as browser:
            browser.get(f"{address}/admin/login/", timeout=30)
            fields = {"username": login, "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
            page = browser.post(f"{address}/admin/login/?next=/admin/organizations/organization/", fields, timeout=30)
            assert "demo" in page.text
            assert page.url.endswith("/admin/organizations/organization/")

        assert run.stop() == 143
        assert run.processes() == []
    with running(checkout) as run:
        assert run.prints("/admin/\n"), run.output
        assert re.sub(r"\d+", "", run.output) == re.sub(r"\d+", "", first.partition("\nAn organization")[0])
        assert run.stop(signal.SIGINT) == 130
        assert run.processes() == []


def test_a_port_in_use_is_named_before_anything_is_created(checkout):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        refused = subprocess.run([checkout / "bin" / "run"], env=os.environ | {"PORT": port}, capture_output=True)
    assert not (checkout / ".venv").exists()
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert refused.stderr.decode() == (
        f"rokka can't listen on port {port}: Address already in use.\n"
        "Stop the program that uses it, or use another port: PORT=8000 bin/run\n"
    )


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_an_invalid_port_is_refused(checkout, port):
    refused = subprocess.run([checkout / "bin" / "run"], env=os.environ | {"PORT": port}, capture_output=True)
    assert (refused.returncode, refused.stdout) == (78, b"")
    assert refused.stderr.decode() == f"Invalid PORT={port!r}: the port must be a number from 1 to 65535.\n"
    assert not (checkout / ".venv").exists()


def test_an_old_python_is_named_with_the_way_to_a_newer_one(checkout, tmp_path):
    """Its python3 fails for the comparison of versions, and prints its own."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "dirname", "cat"):
        (programs / name).symlink_to(shutil.which(name) or "")
    (programs / "python3").write_text("#!/bin/sh\ncase $2 in *version_info*3,*) exit 1 ;; *) echo 3.9.2 ;; esac\n")
    (programs / "python3").chmod(0o755)
    refused = subprocess.run([checkout / "bin" / "run"], env={"PATH": str(programs)}, capture_output=True, text=True)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("rokka needs Python 3.11 or later. Found: python3 is 3.9.2.\n")
    for system in ("Debian", "Ubuntu", "macOS"):
        assert system in refused.stderr


def test_a_signal_while_packages_install_ends_everything_within_ten_seconds(checkout, tmp_path):
    """Even an installer that ignores the signal. The next run builds a new environment."""
    add_environment(checkout, installed=False)
    installer = tmp_path / "uv"
    installer.write_text("#!/bin/sh\ntrap '' TERM\necho started\nwhile :; do sleep 0.2; done\n")
    installer.chmod(0o755)
    with running(checkout, PATH=f"{tmp_path}:{os.environ['PATH']}") as run:
        assert run.prints("started\n"), run.output
        assert run.output.startswith("Installing requirements-heic.lock in .venv.")
        assert run.stop() == 143
        assert run.processes() == []
        assert not run.data.exists()
    assert (checkout / ".venv" / ".changing").exists()


# --- bin/environment.py -----------------------------------------------------------------------------------------------


@pytest.fixture
def builder(checkout, monkeypatch) -> Any:
    """The script with the checkout as the current directory, in which nothing takes time."""
    monkeypatch.chdir(checkout)
    script = importlib.util.spec_from_file_location("environment", checkout / "bin" / "environment.py")
    assert script is not None
    assert script.loader is not None
    module = importlib.util.module_from_spec(script)
    script.loader.exec_module(module)
    module.created, module.installed = [], []

    def create(folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to(sys.executable)
        (folder / "bin" / "tool").write_text(f"#!{folder.absolute()}/bin/python\n")
        (folder / "pyvenv.cfg").touch()
        module.created.append(folder)

    monkeypatch.setattr(module, "create", create)
    monkeypatch.setattr(module, "install", lambda folder, file: module.installed.append((folder.name, file)))
    return module


def test_an_environment_is_built_once_and_renamed(builder):
    for _ in range(2):
        builder.main("requirements.lock")
    assert builder.installed == [(".venv.new", "requirements.lock")]
    assert not Path(".venv.new").exists()
    assert Path(".venv/bin/tool").read_text() == f"#!{Path.cwd()}/.venv/bin/python\n"


def test_other_requirements_are_installed_in_the_same_environment(builder):
    for file in ("requirements.lock", "requirements-dev.lock", "requirements.lock"):
        builder.main(file)
    assert builder.installed == [(".venv.new", "requirements.lock"), (".venv", "requirements-dev.lock")]


@pytest.mark.parametrize("place", ["install", "change_paths", "remove"])
def test_an_interrupted_build_is_repeated_by_the_next_run(builder, monkeypatch, place):
    with monkeypatch.context() as patch:
        patch.setattr(builder, place, interrupt)
        with pytest.raises(KeyboardInterrupt):
            builder.main("requirements.lock")
    assert Path(".venv.new").exists()
    assert not Path(".venv").exists()
    builder.main("requirements.lock")
    assert builder.created == [Path(".venv.new")] * 2
    assert builder.is_usable()
    assert not Path(".venv.new").exists()


def interrupt(*arguments: Any) -> None:
    raise KeyboardInterrupt


def test_an_environment_whose_packages_were_changing_is_not_used(builder, monkeypatch):
    builder.main("requirements.lock")
    builder.stamp(Path(".venv"), "requirements.lock").write_text("older==1.0")
    with monkeypatch.context() as patch:
        patch.setattr(builder, "install", interrupt)
        with pytest.raises(KeyboardInterrupt):
            builder.main("requirements.lock")
    builder.installed.clear()
    builder.main("requirements.lock")
    assert builder.installed == [(".venv.new", "requirements.lock")]


def test_an_environment_whose_python_was_removed_is_built_again(builder):
    builder.main("requirements.lock")
    Path(".venv/bin/python").unlink()
    Path(".venv/bin/python").symlink_to("/usr/bin/python3.removed")
    builder.main("requirements.lock")
    assert builder.installed == [(".venv.new", "requirements.lock")] * 2
    assert builder.is_usable()


def test_a_real_environment_works_after_its_rename(tmp_path):
    """With Python's own venv and pip, which write absolute paths."""
    checkout = tmp_path / "a checkout"
    shutil.copytree(ROOT / "bin", checkout / "bin")
    for name in ("requirements.lock", "requirements-uv.lock"):
        (checkout / name).write_text("# nothing\n")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    command = [sys.executable, "bin/environment.py", "requirements.lock"]
    built = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert built.stderr.startswith("Creating .venv with Python 3.")
    version = subprocess.run([checkout / ".venv" / "bin" / "pip", "--version"], capture_output=True, text=True)
    assert str(checkout / ".venv") in version.stdout
    assert ".venv.new" not in (checkout / ".venv" / "bin" / "activate").read_text()


@pytest.mark.parametrize("works", [True, False])
def test_packages_are_installed_with_uv_and_otherwise_with_pip(checkout, tmp_path, monkeypatch, works):
    """uv does not read the configuration of pip, such as the address of an index."""
    monkeypatch.chdir(checkout)
    tool = tmp_path / "uv"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/log\nexit {0 if works else 2}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    script = runpy.run_path("bin/environment.py")
    used = []
    script["install"].__globals__["pip"] = lambda python, options: used.append(options)
    script["install"](Path(".venv"), "requirements.lock")
    expected = ["--no-deps", "--require-hashes", "--requirement", "requirements.lock"]
    assert (tmp_path / "log").read_text().split()[-4:] == expected
    assert used == ([] if works else [expected])
