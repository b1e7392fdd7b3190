"""The back-office in a real browser, on a real server, with a worker where there is a queue."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import PYTHON, ROOT
from tests.system.conftest import Server, database, environment, make_module_server, worker

__all__ = ["database", "environment", "make_module_server"]

PASSWORD = "a long password"
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """No longer than for a module: while it runs there is an event loop, in which Django asks no database."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no browser: chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Person:
    """Somebody at a browser. What the browser complains of is kept."""

    server: Server
    page: Page
    complaints: list[str] = field(default_factory=list)
    expected: str = ""  # a part of complaints that are none

    def unexpected(self) -> list[str]:
        return [one for one in self.complaints if not self.expected or self.expected not in one]

    def go(self, path: str, *, status: int = 200) -> Page:
        answer = self.page.goto(self.server.url + path)
        assert answer is not None
        assert answer.status == status, (path, answer.status)
        return self.page

    def pictures(self, query: str = "organization=acme") -> Page:
        return self.go(f"/admin/sourceimages/sourceimage/?{query}")

    def press(self, name: str) -> None:
        """A button by what it says, however it goes on."""
        self.page.get_by_role("button", name=name).first.click()
        self.page.wait_for_load_state()


@pytest.fixture(scope="module")
def server(make_module_server: Callable[..., Server]) -> Iterator[Server]:
    """With a superuser ines and, where there is a queue, a worker."""
    started = make_module_server().start()
    add_staff(started, "ines", "--superuser")
    queues = ("interactive", "bulk", "upkeep")
    with worker(started, *queues) if "REDIS_URL" in started.environment else contextlib.nullcontext():
        yield started


def add_staff(server: Server, name: str, *options: str) -> None:
    subprocess.run(
        [PYTHON, "manage.py", "create_staff_user", name, "--email", f"{name}@example.org", *options],
        cwd=ROOT,
        env=server.environment,
        input=f"{PASSWORD}\n",
        text=True,
        check=True,
        capture_output=True,
    )


def shell(server: Server, code: str) -> str:
    """Run code beside the server, and give back the last line that it prints."""
    ran = server.manage("shell", "--verbosity", "0", "--command", code)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip().splitlines()[-1] if ran.stdout.strip() else ""


@contextlib.contextmanager
def somebody(chromium: Browser, server: Server, name: str = "ines", **options: object) -> Iterator[Person]:
    """Logged in, until the end."""
    context = chromium.new_context(**({"viewport": WIDE} | options))  # type: ignore[arg-type]
    person = Person(server, context.new_page())
    person.page.set_default_timeout(15_000)
    person.page.on("console", lambda said: said.type == "error" and person.complaints.append(said.text))
    person.page.on("pageerror", lambda error: person.complaints.append(str(error)))
    person.go("/admin/login/")
    person.page.get_by_label("Username").fill(name)
    person.page.get_by_label("Password").fill(PASSWORD)
    person.press("Log in")
    try:
        yield person
    finally:
        context.close()


@pytest.fixture
def ines(chromium: Browser, server: Server) -> Iterator[Person]:
    """In the end, the browser has complained of nothing."""
    with somebody(chromium, server) as person:
        yield person
    assert person.unexpected() == []
