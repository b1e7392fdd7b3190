"""The dashboard: pending items, statistics, health checks and charts."""

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
from rokka import health
from rokka.backoffice import dashboard
from rokka.celery import app
from rokka.core import charts
from sourceimages.models import Tombstone
from sourceimages.operations import delete_image
from tests.support import images
from tests.support.staff import helper, logged_in, superuser

DASHBOARD, STATISTICS, HEALTH = "/admin/", "/admin/statistics/", "/admin/health/"


@pytest.fixture
def other(charlie):
    return Organization.objects.get(name="other")


@pytest.fixture
def boss(db):
    return logged_in(superuser())


def add_usage(organization, bytes, *, images=0):
    counters.add(organization, bytes=bytes, images=images)


def snapshot(organization, days_ago, bytes, downloaded=0):
    day = daily_stats.today() - timedelta(days=days_ago)
    DailyStats.objects.create(
        organization=organization, day=day, bytes=bytes, images=bytes, bytes_downloaded=downloaded
    )


def storage_chart(staff):
    """Return the values of the chart of storage used, oldest first."""
    return [value for _, value in dashboard.statistics(staff)["charts"][0].rows][::-1]


# --- Pending items ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
def test_jobs_and_trash_require_permission_to_view_images(acme, alice, image, other, role):
    running = Job.objects.create(organization=acme, kind="copy_all")
    failed = Job.objects.create(organization=acme, kind="copy", state="failed", finished=timezone.now(), error="broken")
    Job.objects.create(organization=other, kind="copy_all")
    tombstone = delete_image(image, actor=alice.actor)
    Tombstone.objects.update(expires_at=timezone.now() + timedelta(days=3))
    shown = logged_in(helper(acme, role)).get(DASHBOARD).context
    sees = Permission.IMAGES_READ in ROLE_PERMISSIONS[role]
    assert shown["running"] == [running] * sees
    assert shown["failing"] == [failed] * sees
    assert shown["expiring"] == [tombstone] * sees
    assert list(shown["organizations"]) == [acme] * sees


def test_superusers_see_jobs_of_all_organizations(acme, other, boss):
    for organization in (acme, other):
        Job.objects.create(organization=organization, kind="copy_all")
    shown = boss.get(DASHBOARD).context
    assert {job.organization for job in shown["running"]} == {acme, other}
    assert set(shown["organizations"]) == {acme, other}


@pytest.mark.parametrize(("days", "expected"), [(-1, False), (1, True), (6, True), (8, False)])
def test_trash_is_shown_in_its_last_week(acme, alice, image, boss, days, expected):
    delete_image(image, actor=alice.actor)
    Tombstone.objects.update(expires_at=timezone.now() + timedelta(days=days))
    assert bool(boss.get(DASHBOARD).context["expiring"]) is expected


def test_a_deletion_is_shown_once_and_not_when_it_is_empty(acme, alice, image, boss):
    alice.upload(acme, images.png(seed=1), name="b.png")
    tombstone = delete_image(image, actor=alice.actor)
    acme.images.update(tombstone=tombstone)
    Tombstone.objects.update(expires_at=timezone.now() + timedelta(days=3))
    assert acme.images.count() == 2
    assert boss.get(DASHBOARD).context["expiring"] == [tombstone]
    acme.images.update(tombstone=None)
    assert boss.get(DASHBOARD).context["expiring"] == []


def test_only_failures_of_this_week_are_shown(acme, boss):
    Job.objects.create(organization=acme, kind="copy", state="failed", finished=timezone.now() - timedelta(days=8))
    assert boss.get(DASHBOARD).context["failing"] == []


def test_users_without_permission_to_view_images_see_whom_to_ask(acme):
    assert (
        "Ask an admin of an organization" in logged_in(helper(acme, Role.BILLING_READ)).get(DASHBOARD).content.decode()
    )
    assert (
        "Ask an admin of an organization"
        not in logged_in(helper(acme, Role.READ, name="sue")).get(DASHBOARD).content.decode()
    )


@pytest.mark.parametrize("address", [DASHBOARD, STATISTICS, HEALTH, "/admin/raw-tables/"])
def test_users_who_are_not_staff_get_the_login_page(client, alice, address):
    for login in (lambda: None, lambda: client.force_login(alice.user)):
        login()
        answer = client.get(address)
        assert (answer.status_code, answer.headers["Location"][:13]) == (302, "/admin/login/")


def test_content_loaded_by_scripts_has_a_link_without_javascript(acme, boss):
    def links(client):
        text = client.get(DASHBOARD).content.decode()
        return [part.partition("</noscript>")[0] for part in text.split("<noscript>")[1:]]

    statistics, health = links(boss)
    assert f'href="{STATISTICS}"' in statistics
    assert f'href="{HEALTH}"' in health
    [statistics] = links(logged_in(helper(acme, Role.READ)))
    assert f'href="{STATISTICS}"' in statistics


@pytest.mark.parametrize("address", [DASHBOARD, STATISTICS])
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

    client.get("/admin/")  # writes the owner mark of database and storage
    more(0, 2)
    few = queries()
    dashboard.cache.clear()
    more(2, 20)
    assert queries() == few


# --- Statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
def test_statistics_require_permission(acme, other, role):
    add_usage(acme, 100, images=3)
    add_usage(other, 5000, images=7)
    shown = dashboard.statistics(StaffAccess(helper(acme, role)))
    sees = Permission.STATS_READ in ROLE_PERMISSIONS[role]
    assert (shown["images"], shown["bytes"]) == ((3, 100) if sees else (0, 0))


def test_superusers_see_the_sum(acme, other, boss):
    add_usage(acme, 100, images=3)
    add_usage(other, 5000, images=7)
    shown = dashboard.statistics(StaffAccess(superuser("second")))
    assert (shown["images"], shown["bytes"]) == (10, 5100)
    assert '<p class="big">10</p>' in boss.get(STATISTICS).content.decode()


def test_statistics_are_cached_per_set_of_organizations(acme, other):
    add_usage(acme, 100)
    add_usage(other, 5000)
    sam, sue = helper(acme, Role.READ), helper(acme, Role.WRITE, name="sue")
    assert dashboard.statistics(StaffAccess(sam))["bytes"] == 100
    add_usage(acme, 1)
    assert dashboard.statistics(StaffAccess(sue))["bytes"] == 100  # the same organizations
    Membership.objects.create(organization=other, user=sam, roles=[Role.READ])
    assert dashboard.statistics(StaffAccess(sam))["bytes"] == 5101  # another set of organizations
    Membership.objects.filter(user=sam).update(active=False)
    assert dashboard.statistics(StaffAccess(sam))["bytes"] == 0
    assert dashboard.statistics(StaffAccess(superuser()))["bytes"] == 5101


def test_a_day_without_a_snapshot_is_like_the_one_before(acme, other):
    snapshot(acme, 40, 100)  # before the chart begins
    snapshot(other, 4, 1000)
    snapshot(acme, 3, None, downloaded=7)  # with downloads only
    snapshot(other, 2, 2000)
    snapshot(acme, 1, 300)
    add_usage(acme, 300)
    add_usage(other, 2000)
    expected = [100] * 25 + [1100, 1100, 2100, 2300, 2300]
    assert storage_chart(StaffAccess(superuser())) == [charts.size(value) for value in expected]
    assert storage_chart(StaffAccess(helper(acme, Role.READ))) == [
        charts.size(value) for value in [100] * 28 + [300, 300]
    ]


def test_the_chart_starts_at_the_first_snapshot(acme):
    snapshot(acme, 2, 100)
    add_usage(acme, 200)
    assert storage_chart(StaffAccess(superuser())) == [charts.size(value) for value in (100, 100, 200)]


def test_the_first_day_is_a_horizontal_line(acme):
    add_usage(acme, 200)
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


def results():
    return {name: (ok, detail) for name, ok, detail in dashboard.checks()}


class Workers:
    def __init__(self, replies):
        self.replies = replies

    def ping(self):
        if isinstance(self.replies, Exception):
            raise self.replies
        return self.replies


def test_all_checks_pass_without_redis(db, boss, settings):
    settings.REDIS_URL = ""
    assert {name: ok for name, (ok, _) in results().items()} == dict.fromkeys(
        ("Database", "Tables", "Owner mark", "Storage", "Redis", "Workers"), True
    )
    assert "not configured" in results()["Redis"][1]
    assert "not configured" in results()["Workers"][1]
    assert boss.get(HEALTH).content.decode().count(">OK<") == 6


@pytest.mark.parametrize(("check", "name"), [("check_database", "Database"), ("check_storage", "Storage")])
def test_a_failed_check_does_not_hide_the_others(db, boss, settings, monkeypatch, check, name):
    settings.REDIS_URL = ""
    monkeypatch.setattr(health, check, failing)
    assert [check for check, (ok, _) in results().items() if not ok] == [name]
    assert results()[name][1] == "ConnectionError"
    page = boss.get(HEALTH)
    assert page.status_code == 200
    assert (page.content.decode().count(">error<"), page.content.decode().count(">OK<")) == (1, 5)
    assert "no secrets here" not in page.content.decode()


@pytest.mark.parametrize(
    ("replies", "ok", "detail"),
    [
        ({"b@host": {}, "a@host": {}}, True, "a@host, b@host"),
        (None, False, "no workers online"),
        ({}, False, "no workers online"),
        (OSError("no"), False, "OSError"),
    ],
)
def test_workers_are_pinged_through_redis(db, settings, monkeypatch, replies, ok, detail):
    settings.REDIS_URL = "redis://127.0.0.1:6379/0"
    monkeypatch.setattr(health, "check_cache", lambda: None)
    monkeypatch.setattr(app.control, "inspect", lambda timeout: Workers(replies))
    assert results()["Redis"] == (True, "reachable")
    assert results()["Workers"] == (ok, detail)


def test_workers_are_not_pinged_while_redis_is_down(db, settings, monkeypatch):
    settings.REDIS_URL = "redis://127.0.0.1:6379/0"
    monkeypatch.setattr(health, "check_cache", failing)
    monkeypatch.setattr(app.control, "inspect", lambda timeout: pytest.fail("pinged workers"))
    assert results()["Redis"] == (False, "ConnectionError")
    assert results()["Workers"][0] is False


def test_health_is_for_superusers(acme, monkeypatch):
    monkeypatch.setattr(dashboard, "checks", lambda: pytest.fail("ran checks"))
    answer = logged_in(helper(acme, Role.ADMIN)).get(HEALTH)
    assert (answer.status_code, "<dt>" in answer.content.decode()) == (200, False)
    assert 'id="health"' not in logged_in(helper(acme, Role.ADMIN, name="sue")).get(DASHBOARD).content.decode()


# --- Charts -----------------------------------------------------------------------------------------------------------


def test_a_line_spans_the_plot_and_touches_its_top():
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


def test_zeros_are_at_the_bottom():
    assert charts.line_chart("Bytes", [("a", 0), ("b", 0)]).line == "0.0,150.0 640.0,150.0"
    assert [bar[3] for bar in charts.bar_chart("Bytes", [("a", 0), ("b", 0)]).bars] == [0, 0]


@pytest.mark.parametrize("draw", [charts.line_chart, charts.bar_chart])
def test_no_points_draw_nothing(draw):
    chart = draw("Bytes", [])
    assert (chart.line, chart.area, chart.bars, chart.rows, chart.ticks) == ("", "", [], [], [])
    assert chart.summary == "No data yet."


@pytest.mark.parametrize("count", [1, 2, 30, 365])
def test_bars_do_not_overlap_and_fit_the_plot(count):
    bars = charts.bar_chart("Bytes", [(f"2026-{i}", i + 1) for i in range(count)]).bars
    assert len(bars) == count
    for x, y, width, height, _ in bars:
        assert x >= 0
        assert x + width <= charts.WIDTH
        assert y >= 0
        assert y + height == pytest.approx(charts.HEIGHT)
    assert all(left[0] + left[2] <= right[0] for left, right in pairwise(bars))
    assert bars[-1][3] == charts.HEIGHT


@pytest.mark.parametrize("count", [1, 2, 5, 30, 365])
def test_labels_are_few_and_within_the_plot(count):
    ticks = charts.line_chart("Bytes", [(f"2026-{i:05}", i) for i in range(count)]).ticks
    assert 1 <= len(ticks) <= charts.TICKS + 4
    assert all(0 <= x <= charts.WIDTH for x, _ in ticks)
