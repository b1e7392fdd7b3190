"""Fixtures for the admin in a real browser, on a real server, with a worker if there is a queue."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.system.conftest import Server, database, environment, make_module_server, worker

__all__ = ["database", "environment", "make_module_server"]

PASSWORD = "a long password"
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def find_browser() -> str | None:
    """The path of an installed browser. The shell is preferred: it draws no windows of its own, which takes time."""
    names = "chromium-headless-shell", "chromium", "google-chrome"
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Stops after each module: Playwright runs an event loop, in which Django refuses database queries."""
    program = find_browser()
    if program is None:
        pytest.skip("no browser: chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Person:
    """A user with a browser; collects the errors that the browser logs."""

    server: Server
    page: Page
    errors: list[str] = field(default_factory=list)
    expected: str = ""  # errors that contain this are expected

    def unexpected(self) -> list[str]:
        return [error for error in self.errors if not self.expected or self.expected not in error]

    def go(self, path: str, *, status: int = 200) -> Page:
        answer = self.page.goto(self.server.url + path)
        assert answer is not None
        assert answer.status == status, (path, answer.status)
        return self.page

    def images(self, query: str = "organization=acme") -> Page:
        return self.go(f"/admin/sourceimages/sourceimage/?{query}")

    def press(self, name: str) -> None:
        """Click the first button whose text contains this."""
        self.page.get_by_role("button", name=name).first.click()
        self.page.wait_for_load_state()


@pytest.fixture(scope="module")
def server(make_module_server: Callable[..., Server]) -> Iterator[Server]:
    """A server with the superuser ines and, if there is a queue, a worker."""
    started = make_module_server().start()
    add_staff(started, "ines", "--superuser")
    queues = ("interactive", "bulk", "maintenance")
    with worker(started, *queues) if "REDIS_URL" in started.environment else contextlib.nullcontext():
        yield started


def add_staff(server: Server, name: str, *options: str) -> None:
    added = server.manage("create_staff_user", name, "--email", f"{name}@example.org", *options, typed=f"{PASSWORD}\n")
    assert added.returncode == 0, added.stderr


def shell(server: Server, code: str) -> str:
    """Run code with the settings of the server, and return the last line that it prints."""
    ran = server.manage("shell", "--verbosity", "0", "--command", code)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip().splitlines()[-1] if ran.stdout.strip() else ""


@contextlib.contextmanager
def logged_in(chromium: Browser, server: Server, name: str = "ines", **options: object) -> Iterator[Person]:
    """Log in, and close the browser context in the end."""
    context = chromium.new_context(**({"viewport": WIDE} | options))  # type: ignore[arg-type]
    person = Person(server, context.new_page())
    person.page.set_default_timeout(15_000)
    person.page.on("console", lambda message: message.type == "error" and person.errors.append(message.text))
    person.page.on("pageerror", lambda error: person.errors.append(str(error)))
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
    """Ines, a superuser. Fails on unexpected errors in the browser."""
    with logged_in(chromium, server) as person:
        yield person
    assert person.unexpected() == []
