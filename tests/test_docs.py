"""The reference documentation lists exactly what the code has."""

import ast
import re
import subprocess
from argparse import Action
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import load_command_class
from django.core.management.base import DjangoHelpFormatter

from organizations.api.urls import urlpatterns as account_urls
from organizations.models import Job
from organizations.permissions import Permission, Role, roles_granting
from rendering import errors as rendering_errors  # noqa: F401 (so that its errors are found)
from rendering.api.urls import urlpatterns as stack_urls
from rokka.core import errors as rokka_errors
from rokka.core.errors import DomainError
from rokka.settings import FORMATS
from sourceimages import jobs
from sourceimages.api.urls import image_urlpatterns as image_urls
from sourceimages.api.urls import job_urlpatterns as job_urls
from sourceimages.probing.readers.formats import MIMETYPES
from tests.conftest import ROOT

pytestmark = pytest.mark.any_database

OUR_APPS = ("organizations", "rendering", "sourceimages")
ROW = re.compile(r"^\| (`[^|]*`)[^|`]* \|", re.MULTILINE)
WORD = re.compile(r"`([^`]+)`")


def read(document: str) -> str:
    return (ROOT / "docs" / "reference" / document).read_text()


def section(text: str, heading: str) -> str:
    """The text below a heading, up to the next heading of the same or a higher level."""
    level = heading.split(" ")[0]
    _, _, rest = text.partition(f"\n{heading}\n")
    assert rest, f"There is no section {heading!r}."
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def table(text: str) -> set[str]:
    """The words in code font in the first cells of all tables."""
    return {word for cell in ROW.findall(text) for word in WORD.findall(cell)}


def subclasses(kind: type) -> set[type]:
    return {kind} | {found for direct in kind.__subclasses__() for found in subclasses(direct)}


def test_every_error_is_documented():
    reasons = {error.reason for error in subclasses(DomainError)} - {DomainError.reason}
    from_http = {"server_error", "method_not_allowed", "parse_error", "range_not_satisfiable", "host_not_allowed"}
    from_http.add("too_many_transfers")  # of the WSGI middleware
    assert table(read("errors.md")) == reasons | from_http


def test_every_error_has_a_status_of_its_kind():
    from rokka.core.http import STATUS

    kinds = {kind for kind in vars(rokka_errors).values() if isinstance(kind, type) and issubclass(kind, DomainError)}
    assert set(STATUS) == kinds - {DomainError}


def test_every_setting_is_documented():
    source = (ROOT / "rokka" / "settings.py").read_text()
    variables = set(re.findall(r'\benv\(\s*"([A-Z_]+)"', source))
    assert table(read("settings.md")) == variables | {"PORT", "WEB_CONCURRENCY", "ROKKA_FAILPOINT"}


def test_every_route_is_documented():
    documented = read("api.md")
    words = {"organization": "org", "binary_hash": "sha1", "key_id": "id", "stack": "name"}
    routes = (("/sourceimages/", image_urls), ("/jobs/", job_urls), ("/", account_urls), ("/", stack_urls))
    for prefix, patterns in routes:
        for pattern in patterns:
            path = re.sub(r"<str:(\w+)>", lambda match: f"{{{words.get(match[1], match[1])}}}", str(pattern.pattern))
            for method in pattern.callback.actions:
                if method != "head":
                    assert re.search(rf"`{method.upper()} {re.escape(prefix + path)}(`|\?)", documented), path


def test_every_job_kind_and_state_is_documented():
    assert table(section(read("api.md"), "### Job kinds")) == {
        name for name, kind in jobs.KINDS.items() if kind.runs_as_job
    }
    assert table(section(read("api.md"), "### Job states")) == set(Job.State.values)


def test_every_role_and_permission_is_documented():
    text = read("roles.md")
    assert table(section(text, "## Roles")) == {role.value for role in Role}
    permissions = section(text, "## Permissions")
    assert table(permissions) == {permission.value for permission in Permission}
    for permission in Permission:
        (granted_by,) = re.findall(rf"^\| `{re.escape(permission)}` \|[^|]*\|([^|]*)\|$", permissions, re.MULTILINE)
        assert granted_by.strip() == "every role" or WORD.findall(granted_by) == roles_granting(permission)
    assert roles_granting(Permission.ORGANIZATION_READ_BASIC) == [role.value for role in Role]


# --- Commands ---------------------------------------------------------------------------------------------------------


def command_names() -> list[tuple[str, str]]:
    found = (*OUR_APPS, "rokka")
    folders = ((app, Path(apps.get_app_config(app).path) / "management" / "commands") for app in found)
    return sorted((app, path.stem) for app, folder in folders for path in folder.glob("[a-z]*.py"))


def own_options(app: str, name: str) -> list[Action]:
    """Options of the command that Django does not give to every command."""
    parser = load_command_class(app, name).create_parser("manage.py", name)
    shared = {"--help", "--version", *DjangoHelpFormatter.show_last}
    return [action for action in parser._actions if action.option_strings and not shared & set(action.option_strings)]


def test_every_command_is_documented():
    documented = re.findall(r"^### `(\w+)`$", read("commands.md"), re.MULTILINE)
    assert sorted(documented) == sorted(name for _, name in command_names())


@pytest.mark.parametrize(("app", "name"), command_names())
def test_every_option_of_a_command_is_documented(app, name):
    text, options = section(read("commands.md"), f"### `{name}`"), own_options(app, name)
    assert f"manage.py {name}" in text
    first_words = {WORD.findall(cell)[0] for cell in ROW.findall(text)}
    assert first_words == {action.option_strings[0] for action in options}
    assert {word for action in options for word in action.option_strings} <= table(text)


# --- Audit log --------------------------------------------------------------------------------------------------------

ACTION = re.compile(r"[a-z_]+\.[a-z_]+\Z")
# Strings that look like an action and are none: log events and failpoints are first arguments of these.
OTHER_CALLS = {"info", "warning", "error", "exception", "failpoint", "get_logger", "F"}


def strings_like_actions(path: Path, groups: set[str]) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    others = {
        id(argument)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and getattr(call.func, "attr", getattr(call.func, "id", "")) in OTHER_CALLS
        for argument in call.args[:1]
    }
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and id(node) not in others else None
        if isinstance(text, str) and ACTION.match(text) and text.split(".")[0] in groups:
            yield text


def recorded_actions(groups: set[str]) -> set[str]:
    """What is recorded by name in the code, and the ends of jobs, whose action has the state of the job."""
    skipped = {"migrations", "admin", "permissions.py", "bulk_sql.py"}  # nothing is recorded there
    paths = [path for app in OUR_APPS for path in (ROOT / app).rglob("*.py") if not skipped & set(path.parts)]
    ended = {f"job.{state}" for state in Job.State.values if state not in Job.UNFINISHED}
    return {action for path in paths for action in strings_like_actions(path, groups)} | ended


def recorded_directly() -> set[str]:
    """Actions that are literals in calls of `record` and its relatives, whatever their group."""
    names = {"record", "record_event", "record_events", "event_of"}
    return {
        argument.value
        for app in OUR_APPS
        for path in (ROOT / app).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "id", getattr(call.func, "attr", "")) in names
        for argument in call.args[1:2]
        if isinstance(argument, ast.Constant)
    }


def test_every_audit_action_is_documented():
    documented = table(section(read("audit-log.md"), "## Actions"))
    groups = {action.split(".")[0] for action in documented}
    assert recorded_directly() <= documented
    assert documented == recorded_actions(groups)


# --- Other files ------------------------------------------------------------------------------------------------------


def test_links_between_documents_lead_somewhere():
    documents = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    for document in documents:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text()):
            if not target.startswith(("http://", "https://", "mailto:")):
                assert (document.parent / target).exists(), f"{document.relative_to(ROOT)} links to {target}"


def test_all_formats_can_be_allowed():
    assert set(FORMATS) == set(MIMETYPES)
    assert set(settings.ALLOWED_FORMATS) == set(FORMATS)


def test_the_compose_file_is_valid():
    command = ["docker-compose", "--env-file", "deploy/env.example", "config", "--quiet"]
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("docker-compose is not installed: docker-compose.yml was left unchecked")
    assert run.returncode == 0, run.stderr
