"""rokka's settings for tests: a folder that is gone at the end, never the data of a rokka that runs from here.

Several processes may run tests at once. With Redis each has two databases of its own, counted from that of REDIS_URL:
one for what it does itself, one for the servers and workers that it starts.
"""

import os
from tempfile import TemporaryDirectory

folder = TemporaryDirectory(prefix="rokka-tests-")
os.environ["DATA_DIR"] = folder.name
os.environ.setdefault("LOG_LEVEL", "WARNING")
REDIS_URL_OF_SERVERS = ""

if os.environ.get("REDIS_URL"):
    redis, _, number = os.environ["REDIS_URL"].rpartition("/")
    process = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    own = int(number) + 2 * int(process)
    os.environ["REDIS_URL"] = f"{redis}/{own}"
    REDIS_URL_OF_SERVERS = f"{redis}/{own + 1}"

from rokka.settings import *  # noqa: E402, F403
