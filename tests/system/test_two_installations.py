"""Two installations use one Redis, with the same settings but for the database, and do not meet."""

import contextlib

import redis
import requests

from tests.system.conftest import until, worker

HELD = """
import sys
from rokka.core.locks import try_lock
from django.core.cache import cache
print(cache.get("shared"))
with try_lock("shared") as acquired:
    print(acquired)
"""
SECRET = "s" * 40
SHARED = {"SECRET_KEY": SECRET, "RATE_LIMIT_PER_ADDRESS": "1", "JOB_RUNNER": "celery"}


def test_two_installations_on_one_redis_do_not_meet(make_server, queue):
    one, two = (make_server(**SHARED) for _ in range(2))

    def run(server, code):
        done = server.manage("shell", "--verbosity", "0", "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    prefixes = [
        run(server, "from django.conf import settings; print(settings.REDIS_PREFIX)")[0] for server in (one, two)
    ]
    assert len(set(prefixes)) == 2
    with contextlib.closing(redis.Redis.from_url(queue)) as connection:
        waiting = [f"{prefix}:maintenance" for prefix in prefixes]

        # Cache and locks: what one sets and holds, the other does not see.
        run(one, 'from django.core.cache import cache; cache.set("shared", "of one", 60)')
        connection.set(f"{prefixes[0]}:lock:shared", "held", ex=60)
        assert run(one, HELD) == ["of", "one", "False"]
        assert run(two, HELD) == ["None", "True"]

        # Tasks, and what `doctor` asks the workers.
        for server in (one, two):
            run(server, "from sourceimages.tasks import raise_owner_mark; raise_owner_mark.delay()")
        assert [connection.llen(name) for name in waiting] == [1, 1]
        with worker(one, "interactive", "bulk", "maintenance"):
            assert until(lambda: connection.llen(waiting[0]) == 0)
            asked = "from rokka.celery import app; print(len(app.control.inspect(timeout=3).ping() or {}))"
            assert (run(one, asked), run(two, asked)) == (["1"], ["0"])
            assert connection.llen(waiting[1]) == 1
        assert all(key.decode().startswith(tuple(prefixes)) for key in connection.keys())

    # Rate limits
    for server in (one, two):
        server.start(path="/health/live")
    statuses = [requests.get(f"{server.url}/operations", timeout=30).status_code for server in (one, two, one)]
    assert statuses == [200, 200, 429]
