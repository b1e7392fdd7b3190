"""kill -9 between all steps of rewriting a file and of undoing it: the old file or the new one, never neither."""

import pytest
import requests

from rokka.core import failpoints
from tests.support import photos
from tests.system.conftest import places, until, worker

OF_UNDOING = ["optimize.recovered", "optimize.undone"]
OF_OPTIMIZING = [place for place in failpoints.FAILPOINTS if place.startswith("optimize.") and place not in OF_UNDOING]
TAKEN_FOR_DEAD = (
    "from sourceimages.models import StoredFile; StoredFile.objects.update(optimize_started_at='2020-01-01T00:00Z')"
)
LOOK = """
from sourceimages.tasks import extract_colors, optimize_pending
optimize_pending.delay()
extract_colors.delay()
"""


def upload(server):
    original = photos.tiff(photos.noise(300, 200, 3))
    files = [("filedata", ("scan.tif", original))]
    url = f"{server.url}/sourceimages/acme"
    return original, lambda: server.session().post(url, files=files, data={"optimize_source": "true"}, timeout=60)


def listed(server):
    (item,) = server.session().get(f"{server.url}/sourceimages/acme").json()["items"]
    return item


def picture(server):
    item = listed(server)
    return item["format"], server.session().get(f"{server.url}{item['link']}/download").content


def finished(server, original):
    """The new bytes are there, the old ones are not, and nothing contradicts anything."""
    format, content = picture(server)
    assert (format, content[:4]) == ("png", b"\x89PNG")
    later = server.after_grace_time()
    assert later.manage("collect_garbage").returncode == 0
    assert later.manage("check_consistency", "--verify-checksums").stdout.strip() == "No problems found."


@pytest.mark.parametrize("place", places(OF_OPTIMIZING, ["optimize.switched"]))
def test_a_process_that_is_killed_leaves_the_old_bytes_or_the_new_ones(make_server, place):
    server = make_server(ROKKA_FAILPOINT=place, REDIS_URL="").start()
    original, send = upload(server)
    with pytest.raises(requests.ConnectionError):
        send()
    server.stop()
    del server.environment["ROKKA_FAILPOINT"]

    check = server.manage("check_consistency", "--verify-checksums")
    assert check.returncode == 0, check.stdout
    server.start()
    format, content = picture(server)
    if place == "optimize.committed":
        assert format == "png"
    else:
        assert (format, content) == ("tif", original)

    assert server.manage("optimize_pending").stdout.strip() == "0 files processed"  # somebody may still be at it
    server.manage("shell", "-c", TAKEN_FOR_DEAD)
    assert server.manage("optimize_pending").returncode == 0
    finished(server, original)


def test_a_worker_that_is_killed_and_a_queue_that_is_lost_cost_nothing(make_server, queue):
    import redis

    server = make_server(REDIS_URL=queue).start()
    with worker(server, "bulk", ROKKA_FAILPOINT="optimize.placed") as killed:
        original, send = upload(server)
        assert send().json()["items"][0]["format"] == "tif"
        assert until(killed.children_killed)
    redis.Redis.from_url(queue).flushdb()
    assert picture(server) == ("tif", original)

    server.manage("shell", "-c", TAKEN_FOR_DEAD)
    with worker(server, "bulk", "maintenance"):
        server.manage("shell", "-c", LOOK)
        assert until(lambda: picture(server)[0] == "png")
        assert until(lambda: "color" in listed(server)["static_metadata"])
    finished(server, original)


@pytest.mark.parametrize("place", places(OF_UNDOING, ["optimize.undone"]))
def test_undoing_that_is_killed_leaves_one_of_both_and_can_be_done_again(make_server, place):
    server = make_server(REDIS_URL="").start()
    original, send = upload(server)
    assert send().status_code == 200
    assert until(lambda: picture(server)[0] == "png")
    undo = ("optimize_pending", "--undo", "acme", "--yes")
    server.environment["ROKKA_FAILPOINT"] = place
    assert server.manage(*undo).returncode == -9
    del server.environment["ROKKA_FAILPOINT"]

    check = server.manage("check_consistency", "--verify-checksums")
    assert check.returncode == 0, check.stdout
    assert picture(server)[0] == ("png" if place == "optimize.recovered" else "tif")
    assert server.manage(*undo).returncode == 0
    assert picture(server) == ("tif", original)
    later = server.after_grace_time()
    assert later.manage("collect_garbage").returncode == 0
    assert later.manage("check_consistency", "--verify-checksums").stdout.strip() == "No problems found."
