"""Settings for tests. The data folder is temporary, never that of an installation in this directory.

Several processes can run tests at once. With Redis, each uses two databases, starting at that of REDIS_URL: one for
itself, one for the servers and workers it starts.
"""

import os
from tempfile import TemporaryDirectory

folder = TemporaryDirectory(prefix="rokka-tests-")
os.environ["DATA_DIR"] = folder.name
os.environ.setdefault("ROKKA_MODE", "standalone")  # has to be set beside DATABASE_URL and REDIS_URL
os.environ.setdefault("LOG_LEVEL", "WARNING")
REDIS_URL_OF_SERVERS = ""

if os.environ.get("REDIS_URL"):
    redis, _, number = os.environ["REDIS_URL"].rpartition("/")
    process = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    own = int(number) + 2 * int(process)
    os.environ["REDIS_URL"] = f"{redis}/{own}"
    REDIS_URL_OF_SERVERS = f"{redis}/{own + 1}"

from rokka.settings import *  # noqa: E402, F403
