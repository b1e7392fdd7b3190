"""The page where the back-office starts, the numbers on it, and what it says about the server."""

from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from organizations.audit import COMMAND
from organizations.auth.staff import StaffAccess
from organizations.models import DailyStats, Job, Membership, Organization
from organizations.operations import create_organization_with_admin
from organizations.permissions import ROLE_PERMISSIONS, Permission, Role
from organizations.usage import counters, daily_stats
from rokka import celery_app, health
from rokka.backoffice import dashboard
from rokka.core import charts
from sourceimages.models import Tombstone
from sourceimages.operations import delete_image
from tests.support import images
from tests.support.staff import helper, logged_in, superuser

START, NUMBERS, HEALTH = "/admin/", "/admin/numbers/", "/admin/health/"


@pytest.fixture
def other(charlie):
    return Organization.objects.get(name="other")


@pytest.fixture
def boss(db):
    return logged_in(superuser())


def held(organization, bytes, *, images=0):
    counters.add(organization, bytes=bytes, images=images)


def snapshot(organization, days_ago, bytes, downloaded=0):
    day = daily_stats.today() - timedelta(days=days_ago)
    DailyStats.objects.create(
        organization=organization, day=day, bytes=bytes, images=bytes, bytes_downloaded=downloaded
    )


def kept(staff):
    """What the curve of bytes draws, oldest first."""
    return [value for _, value in dashboard.statistics(staff)["charts"][0].rows][::-1]


# --- What needs a look ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
def test_jobs_and_trash_are_of_those_who_may_see_pictures(acme, alice, image, other, role):
    running = Job.objects.create(organization=acme, kind="copy_all")
    failed = Job.objects.create(organization=acme, kind="copy", state="failed", finished=timezone.now(), error="broken")
    Job.objects.create(organization=other, kind="copy_all")
    tombstone = delete_image(image, actor=alice.actor)
    Tombstone.objects.update(expires_at=timezone.now() + timedelta(days=3))
    shown = logged_in(helper(acme, role)).get(START).context
    sees = Permission.IMAGES_READ in ROLE_PERMISSIONS[role]
    assert shown["running"] == [running] * sees
    assert shown["failing"] == [failed] * sees
    assert shown["expiring"] == [tombstone] * sees
    assert list(shown["organizations"]) == [acme] * sees


def test_superusers_see_all_of_it(acme, other, boss):
    for organization in (acme, other):
        Job.objects.create(organization=organization, kind="copy_all")
    shown = boss.get(START).context
    assert {job.organization for job in shown["running"]} == {acme, other}
    assert set(shown["organizations"]) == {acme, other}


@pytest.mark.parametrize(("days", "there"), [(-1, False), (1, True), (6, True), (8, False)])
def test_trash_is_shown_in_its_last_week(acme, alice, image, boss, days, there):
    delete_image(image, actor=alice.actor)
    Tombstone.objects.update(expires_at=timezone.now() + timedelta(days=days))
    assert bool(boss.get(START).context["expiring"]) is there


def test_an_act_of_deleting_is_shown_once_and_not_when_it_is_empty(acme, alice, image, boss):
    alice.upload(acme, images.png(seed=1), name="b.png")
    tombstone = delete_image(image, actor=alice.actor)
    acme.images.update(tombstone=tombstone)
    Tombstone.objects.update(expires_at=timezone.now() + timedelta(days=3))
    assert acme.images.count() == 2
    assert boss.get(START).context["expiring"] == [tombstone]
    acme.images.update(tombstone=None)
    assert boss.get(START).context["expiring"] == []


def test_only_failures_of_this_week_are_shown(acme, boss):
    Job.objects.create(organization=acme, kind="copy", state="failed", finished=timezone.now() - timedelta(days=8))
    assert boss.get(START).context["failing"] == []


def test_whoever_may_see_no_pictures_is_told_whom_to_ask(acme):
    assert "Ask one of its admins" in logged_in(helper(acme, Role.BILLING_READ)).get(START).content.decode()
    assert "Ask one of its admins" not in logged_in(helper(acme, Role.READ, name="sue")).get(START).content.decode()


@pytest.mark.parametrize("address", [START, NUMBERS, HEALTH, "/admin/records/"])
def test_who_is_no_staff_gets_the_login_page(client, alice, address):
    for login in (lambda: None, lambda: client.force_login(alice.user)):
        login()
        answer = client.get(address)
        assert (answer.status_code, answer.headers["Location"][:13]) == (302, "/admin/login/")


def test_what_scripts_fetch_has_a_link_where_there_are_none(acme, boss):
    def links(client):
        text = client.get(START).content.decode()
        return [part.partition("</noscript>")[0] for part in text.split("<noscript>")[1:]]

    numbers, health = links(boss)
    assert f'href="{NUMBERS}"' in numbers
    assert f'href="{HEALTH}"' in health
    [numbers] = links(logged_in(helper(acme, Role.READ)))
    assert f'href="{NUMBERS}"' in numbers


@pytest.mark.parametrize("address", [START, NUMBERS])
@pytest.mark.parametrize("root", [True, False])
def test_it_takes_as_many_queries_for_two_organizations_as_for_twenty(db, address, root):
    user = superuser() if root else helper()
    client = logged_in(user)

    def more(first, last):
        for i in range(first, last):
            made = create_organization_with_admin(f"org-{i}", email="a@example.org", actor=COMMAND).organization
            Membership.objects.create(organization=made, user=user, roles=[Role.READ])
            Job.objects.create(organization=made, kind="copy_all")
            snapshot(made, 3, 10)

    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert client.get(address).status_code == 200
        return len(captured)

    client.get("/admin/")  # database and storage get their mark
    more(0, 2)
    few = queries()
    dashboard.cache.clear()
    more(2, 20)
    assert queries() == few


# --- Numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
def test_numbers_are_of_those_who_may_see_them(acme, other, role):
    held(acme, 100, images=3)
    held(other, 5000, images=7)
    shown = dashboard.statistics(StaffAccess(helper(acme, role)))
    sees = Permission.STATS_READ in ROLE_PERMISSIONS[role]
    assert (shown["images"], shown["bytes"]) == ((3, 100) if sees else (0, 0))


def test_superusers_see_the_sum(acme, other, boss):
    held(acme, 100, images=3)
    held(other, 5000, images=7)
    shown = dashboard.statistics(StaffAccess(superuser("second")))
    assert (shown["images"], shown["bytes"]) == (10, 5100)
    assert '<p class="big">10</p>' in boss.get(NUMBERS).content.decode()


def test_numbers_are_remembered_for_what_is_seen_not_for_who_sees_it(acme, other):
    held(acme, 100)
    held(other, 5000)
    sam, sue = helper(acme, Role.READ), helper(acme, Role.WRITE, name="sue")
    assert dashboard.statistics(StaffAccess(sam))["bytes"] == 100
    held(acme, 1)
    assert dashboard.statistics(StaffAccess(sue))["bytes"] == 100  # the same organizations
    Membership.objects.create(organization=other, user=sam, roles=[Role.READ])
    assert dashboard.statistics(StaffAccess(sam))["bytes"] == 5101  # others than a moment ago
    Membership.objects.filter(user=sam).update(active=False)
    assert dashboard.statistics(StaffAccess(sam))["bytes"] == 0
    assert dashboard.statistics(StaffAccess(superuser()))["bytes"] == 5101


def test_a_day_without_a_snapshot_is_like_the_one_before(acme, other):
    snapshot(acme, 40, 100)  # before the chart begins
    snapshot(other, 4, 1000)
    snapshot(acme, 3, None, downloaded=7)  # of which nothing but downloads is known
    snapshot(other, 2, 2000)
    snapshot(acme, 1, 300)
    held(acme, 300)
    held(other, 2000)
    expected = [100] * 25 + [1100, 1100, 2100, 2300, 2300]
    assert kept(StaffAccess(superuser())) == [charts.size(value) for value in expected]
    assert kept(StaffAccess(helper(acme, Role.READ))) == [charts.size(value) for value in [100] * 28 + [300, 300]]


def test_the_curve_begins_where_something_is_known(acme):
    snapshot(acme, 2, 100)
    held(acme, 200)
    assert kept(StaffAccess(superuser())) == [charts.size(value) for value in (100, 100, 200)]


def test_the_first_day_is_a_level(acme):
    held(acme, 200)
    chart = dashboard.statistics(StaffAccess(superuser()))["charts"][0]
    assert chart.line == f"0.0,0.0 {charts.WIDTH},0.0"


def test_uploads_are_counted_by_day(acme, alice, image, other):
    alice.upload(acme, images.png(seed=1), name="b.png")
    old = acme.images.exclude(pk=image.pk).get()
    for staff in (StaffAccess(superuser()), StaffAccess(helper(acme, Role.READ))):
        dashboard.cache.clear()
        acme.images.filter(pk=old.pk).update(created=timezone.now() - timedelta(days=2))
        rows = dashboard.statistics(staff)["charts"][1].rows
        assert [value for _, value in rows] == ["1", "0", "1"] + ["0"] * 27
        assert rows[0][0] == f"{daily_stats.today()}"
    dashboard.cache.clear()
    assert {
        value for _, value in dashboard.statistics(StaffAccess(helper(other, Role.READ, name="sue")))["charts"][1].rows
    } == {"0"}


# --- Health -----------------------------------------------------------------------------------------------------------


def failing():
    raise ConnectionError("no secrets here")


def told():
    return {name: (ok, says) for name, ok, says in dashboard.checks()}


class Workers:
    def __init__(self, answers):
        self.answers = answers

    def ping(self):
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers


def test_all_is_well_without_redis(db, boss, settings):
    settings.REDIS_URL = ""
    assert {name: ok for name, (ok, _) in told().items()} == dict.fromkeys(
        ("Database", "Tables", "Owner mark", "Storage", "Redis", "Workers"), True
    )
    assert "not used" in told()["Redis"][1]
    assert "not used" in told()["Workers"][1]
    assert boss.get(HEALTH).content.decode().count(">fine<") == 6


@pytest.mark.parametrize(("check", "name"), [("check_database", "Database"), ("check_storage", "Storage")])
def test_what_fails_is_named_and_the_rest_is_told(db, boss, settings, monkeypatch, check, name):
    settings.REDIS_URL = ""
    monkeypatch.setattr(health, check, failing)
    assert [one for one, (ok, _) in told().items() if not ok] == [name]
    assert told()[name][1] == "ConnectionError"
    page = boss.get(HEALTH)
    assert page.status_code == 200
    assert (page.content.decode().count(">failed<"), page.content.decode().count(">fine<")) == (1, 5)
    assert "no secrets here" not in page.content.decode()


@pytest.mark.parametrize(
    ("answers", "ok", "says"),
    [
        ({"b@host": {}, "a@host": {}}, True, "a@host, b@host"),
        (None, False, "none answers"),
        ({}, False, "none answers"),
        (OSError("no"), False, "OSError"),
    ],
)
def test_workers_are_asked_through_redis(db, settings, monkeypatch, answers, ok, says):
    settings.REDIS_URL = "redis://127.0.0.1:6379/0"
    monkeypatch.setattr(health, "check_cache", lambda: None)
    monkeypatch.setattr(celery_app.control, "inspect", lambda timeout: Workers(answers))
    assert told()["Redis"] == (True, "answers")
    assert told()["Workers"] == (ok, says)


def test_without_an_answer_from_redis_nobody_waits_for_workers(db, settings, monkeypatch):
    settings.REDIS_URL = "redis://127.0.0.1:6379/0"
    monkeypatch.setattr(health, "check_cache", failing)
    monkeypatch.setattr(celery_app.control, "inspect", lambda timeout: pytest.fail("asked all the same"))
    assert told()["Redis"] == (False, "ConnectionError")
    assert told()["Workers"][0] is False


def test_health_is_for_superusers(acme, monkeypatch):
    monkeypatch.setattr(dashboard, "checks", lambda: pytest.fail("checked for somebody who can do nothing about it"))
    answer = logged_in(helper(acme, Role.ADMIN)).get(HEALTH)
    assert (answer.status_code, "<dt>" in answer.content.decode()) == (200, False)
    assert 'id="health"' not in logged_in(helper(acme, Role.ADMIN, name="sue")).get(START).content.decode()


# --- Charts -----------------------------------------------------------------------------------------------------------


def test_a_curve_spans_the_plot_and_touches_its_top():
    chart = charts.line_chart("Bytes", [("2026-01-01", 0), ("2026-01-02", 50), ("2026-01-03", 100)])
    assert chart.line == "0.0,150.0 320.0,75.0 640.0,0.0"
    assert chart.area == "0,150 0.0,150.0 320.0,75.0 640.0,0.0 640.0,150"
    assert (chart.top, chart.rows[0]) == ("100", ("2026-01-03", "100"))
    assert chart.summary == "2026-01-01: 0. 2026-01-03: 100."
    assert chart.bars == []


def test_one_point_is_a_flat_line():
    chart = charts.line_chart("Bytes", [("2026-01-01", 7)])
    assert chart.line == "0.0,0.0 640,0.0"
    assert chart.area == "0,150 0.0,0.0 640,0.0 640,150"
    assert len(chart.rows) == 1


def test_nothing_but_zeros_lies_at_the_bottom():
    assert charts.line_chart("Bytes", [("a", 0), ("b", 0)]).line == "0.0,150.0 640.0,150.0"
    assert [bar[3] for bar in charts.bar_chart("Bytes", [("a", 0), ("b", 0)]).bars] == [0, 0]


@pytest.mark.parametrize("draw", [charts.line_chart, charts.bar_chart])
def test_nothing_draws_nothing(draw):
    chart = draw("Bytes", [])
    assert (chart.line, chart.area, chart.bars, chart.rows, chart.ticks) == ("", "", [], [], [])
    assert chart.summary == "Nothing yet."


@pytest.mark.parametrize("count", [1, 2, 30, 365])
def test_bars_stand_beside_each_other_within_the_plot(count):
    bars = charts.bar_chart("Bytes", [(f"2026-{i}", i + 1) for i in range(count)]).bars
    assert len(bars) == count
    for x, y, width, height, _ in bars:
        assert x >= 0
        assert x + width <= charts.WIDTH
        assert y >= 0
        assert y + height == pytest.approx(charts.HEIGHT)
    assert all(one[0] + one[2] <= next[0] for one, next in pairwise(bars))
    assert bars[-1][3] == charts.HEIGHT


@pytest.mark.parametrize("count", [1, 2, 5, 30, 365])
def test_labels_are_few_and_within_the_plot(count):
    ticks = charts.line_chart("Bytes", [(f"2026-{i:05}", i) for i in range(count)]).ticks
    assert 1 <= len(ticks) <= charts.TICKS + 4
    assert all(0 <= x <= charts.WIDTH for x, _ in ticks)
