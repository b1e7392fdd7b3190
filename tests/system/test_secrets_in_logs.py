"""What must never be in a log, whatever callers and operators do with it: keys, tokens, signatures, passwords."""

import base64
import io
import json
import re
import secrets
import string
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import pyotp
import pytest
import requests
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from tests.conftest import PYTHON, ROOT
from tests.support import images
from tests.system.conftest import Server

pytestmark = pytest.mark.any_database

Sending = tuple[str, str, dict[str, Any]]  # method, path, options of requests

THREADS = 8
PIECE = 20  # characters of a secret that are too many
BROKEN = "ALTER TABLE organizations_apikey RENAME TO organizations_apikey_gone"


def client_without_memory() -> requests.Session:
    """Connections are used again, cookies are not."""
    client = requests.Session()
    client.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    again = Retry(3, allowed_methods=None, respect_retry_after_header=False)  # a connection may just have been closed
    client.mount("http://", HTTPAdapter(pool_maxsize=THREADS, max_retries=again))
    return client


@dataclass
class Run:
    """A server at its most talkative, everything that was sent to it, and everything that was said about it."""

    server: Server
    client: requests.Session = field(default_factory=client_without_memory)
    secrets: dict[str, list[str]] = field(default_factory=dict)  # by name, the parts of each that nobody may read
    shown: list[str] = field(default_factory=list)  # what a careless caller sends
    answers: list[requests.Response] = field(default_factory=list)
    provoked: list[requests.Response] = field(default_factory=list)
    commands: list[subprocess.CompletedProcess[str]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request, with no other credentials than those given."""
        options = {"allow_redirects": False, "timeout": 60} | options
        return self.client.request(method, f"{self.server.url}{path}", **options)

    def send_all(self, all: Iterable[Sending]) -> list[requests.Response]:
        """All of them, some at a time."""
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(lambda one: self.send(one[0], one[1], **one[2]), all))

    def manage(self, *arguments: str, typed: str = "") -> None:
        """A management command, with what is typed at it."""
        self.commands.append(self.server.manage(*arguments, typed=typed))

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [line for line in map(parsed, self.log) if line is not None]


SECRETS = [
    "API key",
    "imported key",
    "imported long key",
    "token",
    "expired token",
    "garbled token",
    "signing key",
    "signature of a URL",
    "key in Basic",
    "password",
    "session",
    "CSRF token",
    "second factor",
    "secret of the server",
]


def parsed(line: str) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except ValueError:
        return None


@pytest.fixture(scope="module")
def run(make_module_server: Callable[..., Server]) -> Run:
    server = make_module_server(
        LOG_LEVEL="DEBUG",
        TRUSTED_PROXIES="127.0.0.1",
        RATE_LIMIT_AUTH_FAILURES="1000000",
        RATE_LIMIT_PER_ADDRESS="1000000",
        RATE_LIMIT_SIGNUPS="1000000",
    ).start()
    run = Run(server)
    get_secrets(run)
    run.answers += run.send_all(careless(run))
    run.answers += run.send_all(at_the_back_office(run))
    ask_commands(run)
    run.provoked += run.send_all(without_a_folder(run))
    put_the_folder_back(run)  # commands refuse to start without it
    run.provoked += run.send_all(without_a_table(run))
    server.stop()
    run.log = server.log.read_text().splitlines()
    return run


# --- The secrets ------------------------------------------------------------------------------------------------------


def letters_and_digits(count: int) -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(count))


def get_secrets(run: Run) -> None:
    """Real ones, as the server hands them out; an imported key comes from elsewhere."""
    server, session = run.server, run.server.session()
    key, legacy, legacy_long = server.api_key, letters_and_digits(32), letters_and_digits(64)
    for imported in (legacy, legacy_long):
        run.manage("create_api_key", "alice@example.org", "--comment", "old", "--import", typed=f"{imported}\n")
    token, brief = (
        session.get(f"{server.url}/user/apikeys/token", params={"expires_in": seconds}).json()["token"]
        for seconds in (3600, 1)
    )
    time.sleep(2)  # until the brief one has expired
    header, payload, signature = token.split(".")
    garbled = f"{header}.{payload[::-1]}.{signature[::-1]}"
    signing_key = session.get(f"{server.url}/organizations/acme").json()["signing_keys"][0]["key"]
    url = "https://acme.example.org/dynamic/abc123.jpg"
    signed = session.post(f"{server.url}/utils/acme/sign_url", json={"url": url}).json()["signed_url"]
    password = secrets.token_urlsafe(24)
    run.manage("create_staff_user", "grace", "--email", "grace@example.org", "--superuser", typed=f"{password}\n")
    session_id, csrf_token, totp_secret = log_in(run, "grace", password)

    assert all(works(run, {"Api-Key": one}) for one in (key, legacy, legacy_long))
    assert works(run, {"Authorization": f"Bearer {token}"})
    assert not any(works(run, {"Authorization": f"Bearer {one}"}) for one in (brief, garbled))
    run.secrets = {
        "API key": [key[32:]],
        "imported key": [legacy],
        "imported long key": [legacy_long],
        "token": token.split(".")[1:],
        "expired token": brief.split(".")[1:],
        "garbled token": garbled.split(".")[1:],
        "signing key": [signing_key],
        "signature of a URL": [signed.partition("sig=")[2]],
        "key in Basic": [basic(one) for one in (key, legacy)],
        "password": [password],
        "session": [session_id],
        "CSRF token": [csrf_token],
        "second factor": [totp_secret],
        "secret of the server": [(server.data_dir / "secret_key").read_text()],
    }
    assert list(run.secrets) == SECRETS
    run.shown = [key, legacy, legacy_long, token, brief, garbled, signing_key, signed.partition("?")[2]]


def basic(text: str) -> str:
    return base64.b64encode(f"{text}:{text}".encode()).decode().rstrip("=")


def works(run: Run, credentials: dict[str, str]) -> bool:
    return run.send("GET", "/user", headers=credentials).status_code == 200


def log_in(run: Run, username: str, password: str) -> tuple[str, str, str]:
    """(session, CSRF token, secret of the second factor) of a staff user, after setting up the second factor."""
    address = f"{run.server.url}/admin/login/"
    with requests.Session() as browser:
        browser.get(address)
        form = {"username": username, "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        assert browser.post(address, data=form, allow_redirects=False).status_code == 302
        address = f"{run.server.url}/admin/second-factor/"
        form = {"csrfmiddlewaretoken": browser.cookies["csrftoken"], "action": "set_up"}
        secret = re.findall(r'class="secret">([A-Z2-7 ]+)<', browser.post(address, data=form).text)[0].replace(" ", "")
        form |= {"action": "confirm", "totp": pyotp.TOTP(secret).now()}
        assert browser.post(address, data=form, allow_redirects=False).status_code == 302
        assert browser.get(f"{run.server.url}/admin/organizations/apikey/").status_code == 200
        return browser.cookies["sessionid"], browser.cookies["csrftoken"], secret


# --- Everywhere they do not belong ------------------------------------------------------------------------------------


def careless(run: Run) -> Iterator[Sending]:
    """Every secret in every place, with a valid key and without."""
    valid = {"Api-Key": run.server.api_key}
    for secret in run.shown:
        for headers in ({}, valid):
            yield from ((method, path, {"headers": headers}) for method, path in paths(secret))
            yield from (("GET", path, {"headers": headers}) for path in queries(secret))
            yield from ((method, path, {"headers": headers | extra}) for method, path, extra in headers_with(secret))
        yield from ((method, path, {"headers": valid} | body) for method, path, body in bodies(secret))
        for body in forms(secret):
            yield "POST", "/sourceimages/acme", body | {"headers": valid | body.get("headers", {})}


def paths(secret: str) -> Iterator[tuple[str, str]]:
    for path in ("", "/download", "/options/locked", "/meta/user/a"):
        yield "GET", f"/sourceimages/acme/{secret}{path}"
    yield "GET", f"/sourceimages/acme/binaryhash/{secret}"
    yield "GET", f"/sourceimages/{secret}"
    yield "POST", f"/sourceimages/{secret}"
    yield "DELETE", f"/sourceimages/acme/{secret}"
    yield "GET", f"/organizations/{secret}"
    yield "PUT", f"/organizations/{secret}"
    yield "GET", f"/organizations/{secret}/memberships"
    yield "PUT", f"/organizations/acme/options/{secret}"
    for method in ("GET", "PUT", "DELETE"):
        yield method, f"/organizations/acme/memberships/{secret}"
    yield "DELETE", f"/organizations/acme/signing_keys/{secret}"
    yield "DELETE", f"/user/apikeys/{secret}"
    for resource in ("stats", "billing", "audit", "health", "static", "doc", "admin", "user"):
        yield "GET", f"/{resource}/{secret}"
    yield "POST", f"/utils/{secret}/sign_url"
    for path in (f"/{secret}", f"/{secret}/{secret}", f"/acme/dynamic/{secret}.jpg", f"//{secret}//"):
        yield "GET", path
    yield "GET", f"/sourceimages/acme/%0a{secret}%22%5c"
    yield "GET", f"/sourceimages/acme/%C3%A9-{secret}-%C3%A9"
    yield "GET", f"/acme/abc123.jpg%3F{secret}%26sig%3D{secret}"
    if "=" not in secret:
        yield secret, "/user"  # as the method


def queries(secret: str) -> Iterator[str]:
    for name in ("sort", "limit", "offset", "deleted", "binaryHash", "operator", secret):
        yield f"/sourceimages/acme?{name}={secret}"
    for name in ("expires_in", "renewable", "no_ip_protection", "ips"):
        yield f"/user/apikeys/token?{name}={secret}"
    for name in ("action", "actor", "image", "from", "to", "limit", "cursor", secret):
        yield f"/audit/acme?{name}={secret}"
    for path in ("/", "/user", "/stats/acme", "/organizations", "/health/ready", "/doc/openapi.json", "/nowhere"):
        yield f"{path}?from={secret}&api_key={secret}&{secret}"
    yield f"/admin/login/?next={secret}"
    yield f"/admin/organizations/apikey/?q={secret}"
    yield f"/admin/sourceimages/sourceimage/?organization=acme&q={secret}"
    yield f"/acme/abc123.jpg?{secret}"


def headers_with(secret: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    for junk in (f"{secret} ", f"{secret}junk", f"{secret}, {secret}", f"Bearer {secret}", f'"{secret}"', f"{secret}="):
        yield "GET", "/organizations/acme", {"Api-Key": junk}
    for scheme in ("Basic", "Bearer", "Token", "Api-Key", ""):
        yield "GET", "/organizations/acme", {"Authorization": f"{scheme} {secret}".strip()}
    yield "GET", "/organizations/acme", {"Authorization": f"Bearer {secret} {secret}"}
    yield "GET", "/organizations/acme", {"Authorization": f"Bearer {secret}{secret}"}
    yield "GET", "/organizations/acme", {"Authorization": f"Basic {basic(secret)}"}
    for name in ("X-Request-Id", "User-Agent", "X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "Api-Version"):
        yield "GET", "/organizations/acme", {name: secret}
    for name in ("Range", "If-None-Match", "Accept", "Content-Type", "X-Api-Key", "Cookie", "Origin", "Referer"):
        yield "GET", "/organizations/acme", {name: secret}
    yield "GET", "/organizations/acme", {"X-Request-Id": f"id-{secret}"}
    yield "GET", "/organizations/acme", {"X-Forwarded-For": f"{secret}, 192.0.2.1, {secret}"}
    if "=" not in secret:
        yield "GET", "/organizations/acme", {secret: "1"}
    for method in ("GET", "COPY"):
        yield method, "/sourceimages/acme/abc123", {"Destination": f"https://{secret}@example.org/{secret}"}
    for host in (secret, f"{secret}.localhost", f"{secret}.example.org:8000", f"key:{secret}@localhost", f"{secret}_a"):
        yield "GET", "/organizations/acme", {"Host": host}
        yield "GET", "/admin/login/", {"Host": host}
    yield "POST", "/users", {"Content-Type": f"multipart/form-data; boundary={secret}"}
    yield "OPTIONS", "/users", {"Origin": f"https://{secret}", "Access-Control-Request-Headers": secret}


def bodies(secret: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in ("/users", "/user/apikeys", "/organizations/acme/memberships", "/utils/acme/sign_url"):
        yield "POST", path, {"json": {secret: secret}}
        yield "POST", path, {"json": [secret]}
        yield "POST", path, {"data": f'{{"key": "{secret}'}
        yield "POST", path, {"data": secret}
    yield "POST", "/users", {"json": {"email": secret}}
    yield "POST", "/users", {"json": {"email": "dora@example.org", "organization": secret}}
    yield "POST", "/user/apikeys", {"json": {"comment": {secret: secret}}}
    yield "POST", "/user/apikeys", {"json": {"comment": secret * 10}}
    yield "POST", "/organizations/acme/memberships", {"json": {"roles": [secret]}}
    yield "PUT", f"/organizations/acme/memberships/{secret}", {"json": {"role": secret}}
    yield "PUT", "/organizations/acme", {"json": {"billing_email": secret}}
    yield "PUT", "/organizations/acme", {"json": {"master_organization": secret[:60]}}
    yield "PUT", "/organizations/acme/options", {"json": {secret: True}}
    yield "PUT", "/organizations/acme/options", {"json": {"remote_fullurl_whitelist": [f"({secret}"]}}
    yield "PUT", "/organizations/acme/options/remote_basepath", {"data": f"https://key:{secret}@example.org/pictures"}
    yield "PUT", "/organizations/acme/options/render_org_fallback", {"data": secret}
    signed = f"https://acme.example.org/dynamic/abc123.jpg?sig={secret}"
    yield "POST", "/utils/acme/sign_url", {"json": {"url": signed, "key": secret, "until": secret}}
    yield "POST", "/utils/acme/sign_url", {"json": {"url": signed}}
    yield "POST", "/utils/acme/sign_url", {"params": {"url": signed, "key": secret}}
    yield "POST", "/utils/acme/sign_url", {"files": {"url": (None, f"https://{secret}:{secret}@[example.org/")}}


def forms(secret: str) -> Iterator[dict[str, Any]]:
    """Uploads: pictures that are called like the secret or hold it, and forms that are broken around it."""
    said = PngInfo()
    said.add_text(secret[:70], secret)
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG", pnginfo=said)
    yield {"files": {secret: (f"{secret}.png", file.getvalue())}, "data": {secret: secret}}
    yield {"files": {"filedata": (secret, secret)}}
    for fields in (
        {"meta_user[0]": json.dumps({"text": secret})},
        {"meta_user[0]": json.dumps({secret: secret})},
        {"meta_user[0]": f'{{"{secret}'},
        {"meta_dynamic[0]": json.dumps({secret: secret})},
        {"options": json.dumps({"protected": secret})},
        {"url[0]": f"https://key:{secret}@example.org/picture.png?sig={secret}"},
    ):
        yield {"files": {"filedata": ("a.png", images.png())}, "data": fields}
    part = f'Content-Disposition: form-data; name="{secret}"; filename="{secret}"\r\n'
    for content_type, body in (
        ("multipart/form-data; boundary=b", f"--b\r\n{part}\r\n{secret}"),
        (
            "multipart/form-data; boundary=b",
            f"--b\r\n{part}Content-Transfer-Encoding: base64\r\n\r\n{secret}é\r\n--b--",
        ),
        ("multipart/form-data; boundary=b", f"--{secret}\r\n{part}\r\n{secret}\r\n--{secret}--"),
        (f"multipart/form-data; boundary={secret}", f"--{secret}\r\n{part}\r\n{secret}\r\n--{secret}--"),
        ("multipart/form-data", f"--b\r\n{part}\r\n{secret}\r\n--b--"),
        (f"text/{secret}", secret),
    ):
        yield {"data": body.encode(), "headers": {"Content-Type": content_type}}


def at_the_back_office(run: Run) -> Iterator[Sending]:
    """As username, as password, as CSRF token; from other sites, and with a form that was not asked for."""
    csrf_token = run.send("GET", "/admin/login/").cookies["csrftoken"]
    (session,), (password,) = run.secrets["session"], run.secrets["password"]
    asked = {"csrftoken": csrf_token}
    for secret in run.shown:
        form = {"username": secret, "password": secret, "next": f"/admin/{secret}/"}
        proper = form | {"csrfmiddlewaretoken": csrf_token}
        elsewhere = {"Referer": f"https://{secret}/?{secret}", "X-Forwarded-Proto": "https"}
        for options in (
            {"data": proper, "cookies": asked},
            {"data": proper, "cookies": asked, "headers": {"Origin": f"https://{secret}"}},
            {"data": proper, "cookies": asked, "headers": elsewhere},
            {"data": proper, "cookies": {"csrftoken": secret, "sessionid": secret}},
            {"data": form | {"csrfmiddlewaretoken": secret}, "cookies": asked},
            {"data": form},
        ):
            yield "POST", f"/admin/login/?next={secret}", options
        for path in (f"apikey/?q={secret}", f"apikey/{secret}/change/", f"user/?{secret}={secret}", f"user/{secret}/"):
            yield "GET", f"/admin/organizations/{path}", {"cookies": {"sessionid": session}}
    mixed_up = {"username": password, "password": "grace", "csrfmiddlewaretoken": csrf_token}
    mistaken = {"username": "grace", "password": f"{password}!", "csrfmiddlewaretoken": csrf_token}
    for fields in (mixed_up, mistaken):
        yield "POST", "/admin/login/", {"data": fields, "cookies": asked}


# --- What operators do ------------------------------------------------------------------------------------------------


def ask_commands(run: Run) -> None:
    """Commands that are given secrets, and refuse them."""
    legacy, password = run.secrets["imported key"][0], run.secrets["password"][0]
    for key in (legacy, f"{legacy}!", f"{legacy} {legacy}"):
        run.manage("create_api_key", "alice@example.org", "--import", "--traceback", typed=f"{key}\n")
    run.manage("create_staff_user", "grace", "--email", "grace@example.org", "--traceback", typed=f"{password}\n")
    run.manage("create_staff_user", "heidi", "--email", "no address", "--traceback", typed=f"{password}\n")
    assert [command.returncode for command in run.commands] == [0, 0, 0, 1, 1, 1, 1, 1]


def without_a_folder(run: Run) -> Iterator[Sending]:
    """A file where the pictures should be: uploads cannot work, and the server says that it is not ready."""
    files = run.server.data_dir / "files"
    files.rename(files.with_name("away"))
    files.write_text("not a folder")
    valid = {"Api-Key": run.server.api_key}
    for secret in run.shown:
        yield "GET", f"/health/ready?{secret}", {"headers": {"Api-Key": secret}}
        yield "POST", f"/sourceimages/acme?{secret}", {"headers": valid, "files": {secret: (secret, images.png())}}


def put_the_folder_back(run: Run) -> None:
    files = run.server.data_dir / "files"
    files.unlink()
    files.with_name("away").rename(files)


def without_a_table(run: Run) -> Iterator[Sending]:
    """Every request that shows credentials is an error now: tracebacks are the point."""
    run.manage("shell", "-c", f"from django.db import connection; connection.cursor().execute('{BROKEN}')")
    assert run.commands[-1].returncode == 0, run.commands[-1].stderr
    valid = {"Api-Key": run.server.api_key}
    for secret in run.shown:
        everywhere = {"Api-Key": secret, "Cookie": secret, "Referer": secret}
        yield from ((method, path, {"headers": everywhere}) for method, path in paths(secret))
        yield from (("GET", path, {"headers": valid}) for path in queries(secret))
        yield from ((method, path, {"headers": valid} | body) for method, path, body in bodies(secret))


# --- And what is left of it -------------------------------------------------------------------------------------------


def with_pieces(parts: list[str], lines: list[str]) -> list[str]:
    """The lines that hold a piece of a secret. Lower-case letters are few enough to try their capitals."""
    pieces = {part[start:][:PIECE].lower() for part in parts for start in range(max(1, len(part) - PIECE + 1))}
    return [line for line in lines if any(piece in line.lower() for piece in pieces)]


def test_pieces_of_secrets_are_found():
    secret = letters_and_digits(32)
    assert with_pieces([secret], ["nothing", f"a{secret[5:25]}z", secret.lower(), secret[:19]]) == [
        f"a{secret[5:25]}z",
        secret.lower(),
    ]


def test_no_request_is_an_error_of_the_server(run):
    errors = {(answer.request.method, answer.url, answer.text) for answer in run.answers if answer.status_code >= 500}
    assert errors == set()
    assert {200, 201, 302, 400, 401, 403, 404, 405} <= {answer.status_code for answer in run.answers}


def test_every_line_of_the_log_is_json(run):
    others = [line for line in run.log if parsed(line) is None]
    assert [line for line in others if not re.match(r"\[(INFO|WARNING)\] ", line)] == []  # of the start of granian


def test_every_request_is_in_the_log(run):
    sent = [answer for answer in run.answers + run.provoked if "/health/ready" not in answer.url]
    assert len(sent) > 1000
    logged = "\n".join(line for line in run.log if '"event": "request"' in line)
    assert [answer.url for answer in sent if answer.headers["X-Request-Id"] not in logged] == []


def test_paths_are_in_the_log_without_their_secrets(run):
    paths = {line["path"] for line in run.lines if line["event"] == "request"}
    assert {"/sourceimages/acme/…", "/organizations/…", "/user/apikeys/…", "/organizations/acme/options/…"} <= paths


# Of a table that is missing, SQLite says that it does not work now, PostgreSQL that the statement is wrong.
@pytest.mark.parametrize(
    "what", [("health.check_failed",), ("database.unavailable", "Internal Server Error: /organizations/…")]
)
def test_failures_are_in_the_log_with_their_tracebacks(run, what):
    failures = [line for line in run.lines if line["event"] in what]
    assert failures
    assert all(line["exception"] for line in failures)


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_is_in_the_log(run, name):
    assert with_pieces(run.secrets[name], run.log) == []


@pytest.mark.parametrize("name", ["imported key", "imported long key", "password", "secret of the server"])
def test_no_secret_is_in_what_commands_say(run, name):
    said = [line for command in run.commands for line in (command.stdout + command.stderr).splitlines()]
    assert any("CommandError" in line for line in said)
    assert with_pieces(run.secrets[name], said) == []


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgres://rokka:{}/more@127.0.0.1/rokka"),
        ("DATABASE_URL", "postgres://rokka:{}@127.0.0.1:port/rokka"),
        ("DATABASE_URL", "postgres://rokka:{}@[127.0.0.1/rokka"),
        ("REDIS_URL", "redis+tls://:{}@127.0.0.1/0"),
        ("STORAGE_URL", "s3://key:{}/more@127.0.0.1/bucket"),
        ("STORAGE_URL", "s3://key:{}?more=1@127.0.0.1/bucket"),
        ("STORAGE_URL", "s3://key:some?{}=1@127.0.0.1/bucket"),
        ("TOKEN_SECRETS", "{},short"),
    ],
)
def test_a_mistake_in_a_variable_does_not_show_its_secret(environment, tmp_path, name, url):
    password = letters_and_digits(40)
    variables = environment | {"DATA_DIR": str(tmp_path), "LOG_LEVEL": "DEBUG", name: url.format(password)}
    refused = subprocess.run([PYTHON, "manage.py", "check"], cwd=ROOT, env=variables, capture_output=True, text=True)
    assert refused.returncode != 0
    assert f"Invalid {name}=…" in refused.stderr
    assert with_pieces([password], (refused.stdout + refused.stderr).splitlines()) == []
