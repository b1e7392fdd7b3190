"""The login of staff users with a second factor: setting it up, codes, and what sessions without one can't open."""

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import pyotp
import pytest
import time_machine
from django.conf import settings as django_settings
from django.contrib.auth import SESSION_KEY
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, get_resolver
from segno import make

from organizations.audit import COMMAND
from organizations.auth.second_factor import decrypt
from organizations.auth.staff_login import PENDING_SECONDS
from organizations.models import AuditEvent, SecondFactor, User
from organizations.operations import confirm_totp, create_key, set_up_totp
from organizations.operations.second_factor import MAX_ATTEMPTS, PERIOD
from organizations.permissions import Role
from tests.conftest import Person
from tests.support.staff import USERS, carried, everything, helper, in_database, logged_in, secret_of, superuser

pytestmark = pytest.mark.any_database

LOGIN, CODE, SECOND_FACTOR = "/admin/login/", "/admin/login/code/", "/admin/second-factor/"
NEXT = "/admin/organizations/user/?q=a&o=1"
START = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
PASSWORD = "a long password"


@pytest.fixture(autouse=True)
def clock():
    """Time stands still: codes change only if a test moves it."""
    with time_machine.travel(START, tick=False) as clock:
        yield clock


@pytest.fixture
def root(db) -> User:
    return superuser()


@pytest.fixture
def secret(root, clock) -> str:
    """The superuser has a second factor; its first code was used a minute ago."""
    return activate(root, clock)


def activate(user: User, clock) -> str:
    secret = set_up_totp(user, actor=COMMAND).secret
    confirm_totp(user, code(secret), actor=COMMAND)
    clock.shift(timedelta(minutes=1))
    return secret


def code(secret: str, steps: int = 0) -> str:
    return pyotp.TOTP(secret).at(datetime.now(UTC), counter_offset=steps)


def wrong(secret: str) -> str:
    valid = {code(secret, steps) for steps in (-1, 0, 1)}
    return next(text for text in ("000000", "111111", "222222", "333333") if text not in valid)


def password(client: Client, name: str = "root", password: str = PASSWORD, next: str = NEXT):
    return client.post(LOGIN, {"username": name, "password": password, "next": next})


def enter(client: Client, totp: str, next: str = NEXT, **headers):
    return client.post(CODE, {"totp": totp, "next": next}, **headers)


def is_logged_in(client: Client) -> bool:
    return SESSION_KEY in client.session and client.get("/admin/").status_code == 200


def problem(response) -> str:
    return "".join(re.findall(r'class="errornote"[^>]*>([^<]*)<', response.content.decode())).strip()


# --- Login ------------------------------------------------------------------------------------------------------------


def test_a_user_without_a_second_factor_logs_in_with_the_password(client, root):
    response = password(client)
    assert (response.status_code, response.headers["Location"]) == (302, NEXT)
    assert is_logged_in(client)


def test_a_session_is_authenticated_by_password_and_code_only(client, secret):
    first = password(client)
    assert first.status_code == 302
    address, _, query = first.headers["Location"].partition("?next=")
    assert (address, unquote(query)) == (CODE, NEXT)
    assert SESSION_KEY not in client.session
    pending = client.cookies[django_settings.SESSION_COOKIE_NAME].value
    assert client.get("/admin/").headers["Location"] == f"{LOGIN}?next=/admin/"
    page = client.get(first.headers["Location"])
    assert (page.status_code, NEXT.replace("&", "&amp;") in page.content.decode()) == (200, True)
    assert "no-store" in page.headers["Cache-Control"]
    second = enter(client, code(secret))
    assert (second.status_code, second.headers["Location"]) == (302, NEXT)
    assert is_logged_in(client)
    assert client.cookies[django_settings.SESSION_COOKIE_NAME].value != pending


def test_codes_can_have_spaces(client, secret):
    password(client)
    digits = code(secret)
    assert enter(client, f" {digits[:3]} {digits[3:]} ").status_code == 302
    assert is_logged_in(client)


def test_a_code_is_used_once(client, secret):
    for status, browser in ((302, client), (200, Client())):
        password(browser)
        assert enter(browser, code(secret)).status_code == status
        assert is_logged_in(browser) is (status == 302)


@pytest.mark.any_database
@pytest.mark.parametrize("text", ["{wrong}", "", "123", "a\0b", "x" * 10_000, "１２３４５６"])
def test_a_wrong_code_logs_no_one_in(client, secret, text):
    password(client)
    response = enter(client, text.format(wrong=wrong(secret)))
    assert response.status_code == 200
    assert not is_logged_in(client)
    assert enter(client, code(secret)).status_code == 302  # another attempt, without the password again


@pytest.mark.any_database
def test_the_password_page_does_not_say_who_has_a_second_factor(client, root, secret, acme):
    helper(acme, Role.READ)
    User.objects.filter(username="sam").update(password=root.password)
    pages = [password(Client(), name, "wrong").content.decode() for name in ("root", "sam", "nina")]
    pages = [re.sub(r'name="csrfmiddlewaretoken" value="\w+"|value="(root|sam|nina)"', "", page) for page in pages]
    assert pages[0] == pages[1] == pages[2]
    assert enter(client, code(secret)).headers["Location"].startswith(LOGIN)  # not without the password


@pytest.mark.any_database
@pytest.mark.parametrize("change", ["password", "inactive", "not staff", "time", "removed"])
def test_a_pending_login_ends(client, root, secret, clock, change):
    password(client)
    match change:
        case "password":
            root.set_password("another long password")
            root.save()
        case "inactive":
            User.objects.filter(pk=root.pk).update(is_active=False)
        case "not staff":
            User.objects.filter(pk=root.pk).update(is_staff=False)
        case "time":
            clock.shift(PENDING_SECONDS + 1)
        case "removed":
            call_command("remove_second_factor", "root")
    for response in (client.get(CODE), enter(client, code(secret))):
        assert response.headers["Location"].startswith(f"{LOGIN}?next=")
    assert SESSION_KEY not in client.session


@pytest.mark.any_database
def test_the_next_page_is_on_this_server(client, secret):
    response = password(client, next="https://example.org/")
    assert "example.org" not in response.headers["Location"]
    assert enter(client, code(secret), next="https://example.org/").headers["Location"] == "/admin/"


def test_wrong_codes_are_limited_per_user(client, secret, clock):
    for number in range(MAX_ATTEMPTS):
        browser = Client()
        password(browser)
        assert "Invalid code" in problem(enter(browser, wrong(secret), REMOTE_ADDR=f"192.0.2.{number}"))
    password(client)
    assert problem(enter(client, code(secret))).startswith("Too many wrong codes")
    assert not is_logged_in(client)
    clock.shift(PERIOD)
    password(client)
    assert enter(client, code(secret)).status_code == 302


def test_wrong_codes_count_as_failures_of_the_address(client, secret, settings):
    settings.RATE_LIMIT_AUTH_FAILURES = 1
    password(client)
    assert "Invalid code" in problem(enter(client, wrong(secret)))
    assert "from your address" in problem(enter(client, code(secret)))
    assert "from your address" in problem(password(Client()))
    assert not is_logged_in(client)
    assert enter(client, code(secret), REMOTE_ADDR="192.0.2.1").status_code == 302


def test_a_second_factor_of_the_api_is_asked_for(client, root, clock):
    api = Person(root, create_key(root, comment="", actor=COMMAND)[1]).api
    secret = api.post("/user/mfa/totp").json()["secret"]
    password(client)
    assert is_logged_in(client)  # not confirmed yet
    assert api.post("/user/mfa/totp/confirm", {"totp": code(secret)}, format="json").status_code == 200
    assert not is_logged_in(client)
    clock.shift(timedelta(minutes=1))
    assert password(client).headers["Location"].startswith(CODE)
    assert enter(client, code(secret)).status_code == 302
    reply = api.post("/user/apikeys/token", {"totp": code(secret)}, format="json")
    assert reply.json()["reason"] == "totp_invalid"  # used for the login


# --- Sessions ---------------------------------------------------------------------------------------------------------

WITHOUT_SESSION = {"admin/login/", "admin/login/code/", "admin/second-factor/"}
VALUES = {"object_id": "1", "content_type_id": "1", "app_label": "organizations", "url": "nothing"}


def addresses(resolver=None, before=""):
    """The paths of all pages of the admin."""
    for pattern in (resolver or get_resolver()).url_patterns:
        path = before + str(pattern.pattern)
        if not isinstance(pattern, URLPattern):
            yield from addresses(pattern, path) if path.startswith("admin/") else ()
        elif path.startswith("admin/"):
            yield path


def filled(path: str) -> str:
    """The path with a value for each parameter."""
    path = re.sub(r"^admin/\^|\(\?P<\w+>[^)]*\)\$?", lambda found: "admin/" if found[0][0] == "a" else "x", path)
    value = {"uuid": "00000000-0000-4000-8000-000000000000", "int": "1"}
    return "/" + re.sub(r"<(?:(\w+):)?(\w+)>", lambda found: value.get(found[1] or "", "1"), path).rstrip("$")


def test_no_page_is_open_to_a_session_that_has_not_passed_the_second_factor(boss_before, client, secret, image):
    """Neither before the code is entered nor in a session that was started before there was a second factor."""
    password(client)
    before = everything()
    paths = [path for path in addresses() if path not in WITHOUT_SESSION]
    assert len(paths) > 80
    for path in paths:
        for browser in (boss_before, client):
            for method in ("get", "post"):
                response = getattr(browser, method)(filled(path), {"action": "delete"})
                found = (response.status_code, response.headers.get("Location", "")[:13])
                assert found in ((302, "/admin/login/"), (302, "/admin/")), (path, method)  # the second: logout
    assert everything() == before


@pytest.fixture
def boss_before(root) -> Client:
    """The browser of the superuser, who logs in before the second factor is set up."""
    return logged_in(root)


def test_a_session_that_has_not_passed_logs_in_again(boss_before, secret):
    page = boss_before.get(LOGIN)
    assert page.status_code == 200
    assert "confirmed with a second factor" in page.content.decode()
    password(boss_before)
    enter(boss_before, code(secret))
    assert is_logged_in(boss_before)


def test_another_second_factor_takes_another_code(client, root, secret, clock):
    password(client)
    enter(client, code(secret))
    assert is_logged_in(client)
    call_command("remove_second_factor", "root")
    assert is_logged_in(client)
    activate(root, clock)
    assert not is_logged_in(client)


# --- Setting up and removing ------------------------------------------------------------------------------------------


def set_up(client: Client) -> tuple[str, str]:
    """The secret that the page shows, and the ID of the factor."""
    response = client.post(SECOND_FACTOR, {"action": "set_up"})
    assert response.status_code == 200
    assert "no-store" in response.headers["Cache-Control"]
    factor = re.search(r'name="factor" value="(\d+)"', response.content.decode())
    assert factor
    return secret_of(response).replace(" ", ""), factor[1]


def confirm(client: Client, totp: str, factor: str = "", address: str = SECOND_FACTOR):
    return client.post(address, {"action": "confirm", "totp": totp, "factor": factor})


def test_a_second_factor_is_set_up_with_a_qr_code(client, root, clock, settings):
    password(client)
    page = client.post(SECOND_FACTOR, {"action": "set_up"})
    text = page.content.decode()
    secret = secret_of(page).replace(" ", "")
    uri = re.search(r'href="(otpauth://[^"]+)"', text)[1].replace("&amp;", "&")
    parsed = pyotp.parse_uri(uri)
    assert (parsed.secret, parsed.name, parsed.issuer) == (secret, "root", "rokka")
    drawn = re.search(r'<path class="qrline"[^>]* d="([^"]+)"', text)[1]
    assert drawn in make(uri, micro=False, error="m").svg_inline(border=4)
    assert "data:" not in text  # the Content-Security-Policy allows no data: URIs
    assert "style=" not in re.search(r"<svg[^>]*qr.*?</svg>", text)[0]
    assert is_logged_in(client)
    assert confirm(client, code(secret)).headers["Location"] == SECOND_FACTOR
    assert is_logged_in(client)  # a code was entered here
    assert secret not in client.get(SECOND_FACTOR).content.decode() + carried(client)
    assert not in_database(secret)
    events = AuditEvent.objects.filter(action__startswith="second_factor").order_by("id")
    assert [(event.action, event.source, event.user) for event in events] == [
        ("second_factor.created", "staff", root),
        ("second_factor.confirmed", "staff", root),
    ]


def test_a_wrong_first_code_shows_the_same_qr_code_again(client, root):
    password(client)
    secret, factor = set_up(client)
    again = confirm(client, wrong(secret), factor)
    assert (again.status_code, secret_of(again).replace(" ", "")) == (400, secret)
    assert "Invalid code" in problem(again)
    assert confirm(client, code(secret), factor).status_code == 302


@pytest.mark.any_database
def test_the_secret_of_another_request_is_not_shown(client, root):
    """A thief of an API key could otherwise exchange the QR code for one whose secret they know."""
    password(client)
    _, factor = set_up(client)
    other = set_up_totp(root, actor=COMMAND).secret
    response = confirm(client, wrong(other), factor)
    assert response.status_code == 400
    assert "changed by another request" in problem(response)
    assert other not in response.content.decode().replace(" ", "")


def test_an_active_second_factor_is_not_replaced(client, root, secret):
    password(client)
    enter(client, code(secret))
    before = everything()
    for form in ({"action": "set_up"}, {"action": "confirm", "totp": code(secret)}, {"action": "x"}, {}):
        assert client.post(SECOND_FACTOR, form).status_code == 400
    assert everything() == before


def test_a_second_factor_is_removed_with_a_code(client, root, secret, clock):
    password(client)
    enter(client, code(secret))
    clock.shift(timedelta(minutes=1))
    assert "This server requires" not in client.get(SECOND_FACTOR).content.decode()
    assert client.post(SECOND_FACTOR, {"action": "remove", "totp": wrong(secret)}).status_code == 400
    assert SecondFactor.objects.exists()
    assert client.post(SECOND_FACTOR, {"action": "remove", "totp": code(secret)}).status_code == 302
    assert not SecondFactor.objects.exists()
    assert is_logged_in(client)
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.source, event.user) == ("second_factor.deleted", "staff", root)


@pytest.mark.any_database
@pytest.mark.parametrize("action", ["set_up", "confirm", "remove"])
def test_before_the_code_the_second_factor_can_be_neither_seen_nor_changed(client, secret, action):
    password(client)
    before = everything()
    response = client.post(SECOND_FACTOR, {"action": action, "totp": code(secret)})
    assert response.headers["Location"].startswith(LOGIN)
    assert client.get(SECOND_FACTOR).status_code == 302
    assert everything() == before


def test_users_of_the_api_and_strangers_get_the_login_page(client, alice):
    for browser in (client, logged_in(alice.user)):
        for method in ("get", "post"):
            assert getattr(browser, method)(SECOND_FACTOR).headers["Location"].startswith(LOGIN)
    assert not SecondFactor.objects.exists()


# --- Required ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def required(settings) -> None:
    settings.STAFF_SECOND_FACTOR = "required"


def test_a_required_second_factor_is_set_up_in_the_login(required, client, root, clock):
    first = password(client)
    address, _, query = first.headers["Location"].partition("?next=")
    assert (address, unquote(query)) == (SECOND_FACTOR, NEXT)
    assert SESSION_KEY not in client.session
    assert client.get(first.headers["Location"]).status_code == 200
    secret, factor = set_up(client)
    assert SESSION_KEY not in client.session
    assert confirm(client, wrong(secret), factor).status_code == 400
    assert SESSION_KEY not in client.session
    done = confirm(client, code(secret), factor, first.headers["Location"])
    assert (done.status_code, done.headers["Location"]) == (302, NEXT)
    assert is_logged_in(client)
    clock.shift(timedelta(minutes=1))
    again = Client()
    assert password(again).headers["Location"].startswith(CODE)
    enter(again, code(secret))
    assert is_logged_in(again)


def test_a_session_without_a_required_second_factor_opens_nothing(required, boss_before, client, root, image):
    password(client)
    for path in addresses():
        if path not in WITHOUT_SESSION:
            for browser in (boss_before, client):
                response = browser.get(filled(path))
                assert (response.status_code, response.headers["Location"][:7]) == (302, "/admin/"), path
    assert boss_before.get(SECOND_FACTOR).headers["Location"].startswith(LOGIN)  # takes the password again
    assert not AuditEvent.objects.filter(user=root).exists()


def test_a_required_second_factor_is_replaced_at_once(required, client, root, secret, clock):
    password(client)
    enter(client, code(secret))
    clock.shift(timedelta(minutes=1))
    assert "This server requires" in client.get(SECOND_FACTOR).content.decode()
    removed = client.post(SECOND_FACTOR, {"action": "remove", "totp": code(secret)})
    assert removed.headers["Location"] == SECOND_FACTOR
    assert SESSION_KEY not in client.session
    new, factor = set_up(client)
    assert new != secret
    assert confirm(client, code(new), factor).headers["Location"] == "/admin/"
    assert is_logged_in(client)


# --- Lost second factors ----------------------------------------------------------------------------------------------


def test_operators_remove_the_second_factor_of_a_staff_user(client, secret):
    call_command("remove_second_factor", "root")
    password(client)
    assert is_logged_in(client)


def test_superusers_see_the_second_factors_of_users(root, alice, clock):
    boss, page = logged_in(root), f"{USERS}/{alice.user.pk}/change/"
    states = [boss.get(page).content.decode()]
    set_up_totp(alice.user, actor=COMMAND)
    states += [boss.get(page).content.decode()]
    secret = activate(alice.user, clock)
    states += [boss.get(page).content.decode()]
    labels = [re.search(r'Second factor</h2>\s*<p><span class="label[^"]*">(\w+)<', text)[1] for text in states]
    assert labels == ["none", "pending", "active"]
    assert not [text for text in states if secret in text.replace(" ", "")]


def test_superusers_remove_the_second_factor_of_others(root, acme, clock):
    sam = helper(acme, Role.ADMIN)
    activate(sam, clock)
    boss, page = logged_in(root), f"{USERS}/{sam.pk}/change/"
    assert "Remove second factor" in boss.get(page).content.decode()
    assert boss.post(page, {"action": "remove_second_factor"}).status_code == 302
    assert not SecondFactor.objects.exists()
    event = AuditEvent.objects.latest("id")
    assert (event.action, event.source, event.user, event.target) == (
        "second_factor.deleted",
        "staff",
        root,
        str(sam.pk),
    )


@pytest.mark.any_database
def test_without_a_code_no_user_removes_their_own_second_factor(client, root, secret, acme, clock):
    password(client)
    enter(client, code(secret))
    sam = helper(acme, Role.ADMIN)
    activate(sam, clock)
    sams = logged_in(sam)
    session = sams.session
    session["second_factor"] = SecondFactor.objects.get(user=sam).pk
    session.save()
    before = everything()
    assert client.post(f"{USERS}/{root.pk}/change/", {"action": "remove_second_factor"}).status_code == 403
    assert sams.post(f"{USERS}/{sam.pk}/change/", {"action": "remove_second_factor"}).status_code == 403
    assert sams.post(f"{USERS}/{root.pk}/change/", {"action": "remove_second_factor"}).status_code == 404
    assert everything() == before


def test_a_second_factor_that_cannot_be_decrypted_is_set_up_again_after_its_removal(client, root, secret, settings):
    settings.TOKEN_SECRETS = ["n" * 40]
    assert decrypt(SecondFactor.objects.get().encrypted_secret) is None
    password(client)
    assert "Invalid code" in problem(enter(client, code(secret)))
    call_command("remove_second_factor", "root")
    password(client)
    assert is_logged_in(client)
