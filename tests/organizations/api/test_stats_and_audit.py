"""Statistics by day, and the audit log."""

import uuid
from datetime import UTC, date, datetime

import pytest
import time_machine
from django.core.management import call_command

from organizations.audit import COMMAND, record
from organizations.models import DailyStats
from organizations.permissions import Role
from organizations.tasks import snapshot_stats
from organizations.usage import daily_stats
from tests.support import images


def values(body, name):
    return {one["timestamp"][:10]: one["value"] for one in body[name]}


def test_today_has_the_current_usage(acme, alice):
    alice.upload(acme, images.png(seed=1), images.png(seed=2))
    body = alice.api.get("/stats/acme").json()
    today = datetime.now(UTC).strftime("%Y-%m-%dT00:00:00+00:00")
    size = len(images.png(seed=1)) + len(images.png(seed=2))
    assert body == {
        "space_in_bytes": [{"timestamp": today, "value": size, "unit": "Bytes"}],
        "number_of_files": [{"timestamp": today, "value": 2, "unit": None}],
        "bytes_downloaded": [{"timestamp": today, "value": 0, "unit": "Bytes"}],
    }


def test_a_day_is_remembered_by_its_last_snapshot(acme, alice):
    with time_machine.travel("2026-03-01T08:00:00Z"):
        alice.upload(acme, images.png(seed=1))
        daily_stats.snapshot()
    with time_machine.travel("2026-03-01T23:50:00Z"):
        alice.upload(acme, images.png(seed=2))
        snapshot_stats()
    with time_machine.travel("2026-03-04T12:00:00Z"):
        alice.upload(acme, images.png(seed=3))
        body = alice.api.get("/stats/acme").json()
    assert values(body, "number_of_files") == {"2026-03-04": 3, "2026-03-03": 2, "2026-03-02": 2, "2026-03-01": 2}
    assert [one["timestamp"][:10] for one in body["number_of_files"]] == sorted(
        values(body, "number_of_files"), reverse=True
    )


@pytest.mark.parametrize(
    ("query", "days"),
    [
        ("from=2026-03-02&to=2026-03-03", ["2026-03-03", "2026-03-02"]),
        ("from=2026-03-03&to=2026-03-03", ["2026-03-03"]),
        ("from=2026-03-04&to=2026-03-09", ["2026-03-05", "2026-03-04"]),
        ("from=2026-03-08&to=2026-03-09", []),
        ("from=2020-01-01&to=2020-02-01", []),
        ("to=2026-03-01", ["2026-03-01"]),
        ("from&to", ["2026-03-05", "2026-03-04", "2026-03-03", "2026-03-02", "2026-03-01"]),
        ("from=0001-01-01&to=9999-12-31", ["2026-03-05", "2026-03-04", "2026-03-03", "2026-03-02", "2026-03-01"]),
    ],
)
def test_both_ends_count(acme, alice, query, days):
    with time_machine.travel("2026-03-01T08:00:00Z"):
        daily_stats.snapshot()
    with time_machine.travel("2026-03-05T08:00:00Z"):
        body = alice.api.get(f"/stats/acme?{query}").json()
    for name in ("space_in_bytes", "number_of_files", "bytes_downloaded"):
        assert [one["timestamp"][:10] for one in body[name]] == days


@pytest.mark.parametrize(
    "query", ["from=yesterday", "to=2026-02-30", "from=2026-03-05&to=2026-03-04", "from=20260301", "to=2026-3-1"]
)
def test_an_invalid_day_is_refused(acme, alice, query):
    assert alice.api.get(f"/stats/acme?{query}").status_code == 400


def test_downloads_are_added_up_by_day(acme, alice, image):
    size = len(images.png())
    path = f"/sourceimages/acme/{image.hash}/download"
    with time_machine.travel("2026-03-01T08:00:00Z"):
        for _ in range(3):
            assert b"".join(alice.api.get(path).streaming_content)
        alice.api.head(path)
        daily_stats.downloads.flush()
    with time_machine.travel("2026-03-02T08:00:00Z"):
        part = alice.api.get(path, headers={"Range": "bytes=0-9"})
        assert len(b"".join(part.streaming_content)) == 10
        body = alice.api.get("/stats/acme").json()
    assert values(body, "bytes_downloaded") == {"2026-03-02": 10, "2026-03-01": 3 * size}


def test_a_download_is_not_a_write(acme, alice, uploaded, django_assert_num_queries):
    path = f"/sourceimages/acme/{uploaded.hash}/download"
    with django_assert_num_queries(2):
        b"".join(alice.api.get(path).streaming_content)
    assert not DailyStats.objects.exists()


def test_downloads_survive_a_snapshot(acme, alice):
    daily_stats.downloads.add(acme.pk, 100)
    daily_stats.downloads.flush()
    daily_stats.snapshot()
    daily_stats.downloads.add(acme.pk, 11)
    daily_stats.downloads.flush()
    row = DailyStats.objects.get()
    assert (row.bytes_downloaded, row.images) == (111, 0)


def test_downloads_that_could_not_be_written_are_written_next_time(acme, monkeypatch):
    from django.db import DatabaseError

    def fail(*arguments):
        raise DatabaseError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(daily_stats.DownloadCounter, "_write", fail)
        daily_stats.downloads.add(acme.pk, 7)
        daily_stats.downloads.flush()
    assert not DailyStats.objects.exists()
    daily_stats.downloads.flush()
    assert DailyStats.objects.get().bytes_downloaded == 7


def test_downloads_of_a_removed_organization_are_ignored(db):
    daily_stats.downloads.add(uuid.uuid4(), 7)
    daily_stats.downloads.flush()
    assert not DailyStats.objects.exists()
    assert not daily_stats.downloads.sums


def test_the_command_takes_a_snapshot_of_all(acme, charlie, capsys):
    call_command("snapshot_stats")
    assert capsys.readouterr().out.strip() == "Stored the usage of 2 organizations."
    assert set(DailyStats.objects.values_list("day", flat=True)) == {date.today()}


def test_billing_is_refused_with_a_reason(acme, alice):
    response = alice.api.get("/billing/acme?")
    assert (response.status_code, response.json()["error"]["reason"]) == (403, "feature_unavailable")
    assert "/stats/" in response.json()["error"]["message"]


# --- Audit ------------------------------------------------------------------------------------------------------------


def audit(person, query: str = ""):
    return person.api.get(f"/audit/acme?{query}")


def test_admins_read_who_did_what(acme, alice, uploaded):
    event = audit(alice).json()["items"][0]
    assert event == {
        "id": event["id"],
        "created": event["created"],
        "action": "image.created",
        "source": "api",
        "user_id": str(alice.user.pk),
        "api_key_id": str(alice.user.api_keys.get().pk),
        "address": "127.0.0.1",
        "request_id": event["request_id"],
        "target": uploaded.hash,
        "count": 1,
        "deletion_id": None,
        "job_id": None,
        "details": {"name": "harbour.png"},
    }
    assert len(event["request_id"]) == 32


def test_events_of_other_organizations_are_not_visible(acme, alice, charlie):
    record(COMMAND, "image.created", organization=acme, target="x")
    assert [one["action"] for one in charlie.api.get("/audit/other").json()["items"]] == ["organization.created"]


def test_events_are_filtered_by_action_actor_image_and_time(acme, alice, member, image):
    bob = member(Role.WRITE)
    theirs = bob.upload(acme, images.png(seed=5)).json()["items"][0]["hash"]
    with time_machine.travel("2026-03-01T08:00:00Z"):
        record(COMMAND, "image.shown", organization=acme, target=image.hash)

    def found(query):
        return [(one["action"], one["target"]) for one in audit(alice, query).json()["items"]]

    assert found("action=image.created") == [("image.created", theirs), ("image.created", image.hash)]
    assert found("action=image.*&image=" + image.hash) == [("image.created", image.hash), ("image.shown", image.hash)]
    assert found(f"actor={bob.user.pk}") == [("image.created", theirs)]
    assert found(f"image={theirs}") == [("image.created", theirs)]
    assert found("from=2026-03-01&to=2026-03-01") == [("image.shown", image.hash)]
    assert found("from=2026-03-01t07:59:59z&to=2026-03-01t08:00:01z") == [("image.shown", image.hash)]
    assert found("from=2026-03-01T08:00:01Z&to=2026-03-02") == []
    assert found("to=2026-03-01T09:00:00%2B01:00") == []


def test_pages_of_events_lead_to_the_end(acme, alice):
    with time_machine.travel("2020-01-01T00:00:00Z", tick=False):
        for number in range(7):
            record(COMMAND, "image.shown", organization=acme, target=str(number))
    seen, cursor = [], ""
    for _ in range(10):
        body = audit(alice, f"action=image.shown&limit=3&cursor={cursor}").json()
        seen += [one["target"] for one in body["items"]]
        record(COMMAND, "image.shown", organization=acme, target="later")
        if "cursor" not in body:
            break
        cursor = body["cursor"]
    assert seen == list("6543210")


@pytest.mark.parametrize(
    "query",
    [
        "cursor=1",
        "cursor=cAAAA",
        "cursor=cW10",
        "cursor=cWyIyMDI2LTAxLTAxVDAwOjAwOjAwKzAwOjAwIiwtMV0",
        "limit=0",
        "limit=1001",
        "limit=x",
        "actor=alice",
        "image=abc",
        "from=today",
        "to=9999-12-31",
        "action=added",
        "colour=blue",
    ],
)
def test_invalid_filters_are_refused_by_name(acme, alice, query):
    response = audit(alice, query)
    assert response.status_code == 400
    assert query.split("=")[0] in response.json()["error"]["message"]
