"""A calm user, whose response times show what an attack costs everybody else.

    before = calm.measure(server, paths, seconds=5)
    … start the attack in threads or processes …
    during = calm.measure(server, paths, seconds=20)
    calm.print_result(before, during)

The user runs in a process of its own, so that the attacker's threads do not slow it down, and sends its requests one
after the other on a persistent connection, with a pause between them. A request that fails or is refused counts with
the time it took, and is listed by status: an attack that makes the server refuse others has succeeded too.
"""

import http.client
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from benchmarks.common import ROOT, Server, print_table

PAUSE_SECONDS = 0.02
TIMEOUT_SECONDS = 120
CONNECTION_FAILED = 0  # as a status
AIM = 2.0  # p95 during the attack / p95 before it

Measured = dict[str, dict[str, Any]]  # `times` in seconds and `statuses` of each request, by its name


def measure(
    server: Server, paths: Mapping[str, str], *, seconds: float, users: int = 2, headers: dict[str, str] | None = None
) -> Measured:
    """Send GET requests of these paths in turn for this time; `paths` maps their names in the table to paths.

    Uses the headers of the server, which have the key of an admin, unless `headers` are given. Blocks until the last
    request has been answered.
    """
    job = {"port": server.port, "headers": headers or server.headers, "paths": dict(paths)}
    job |= {"seconds": seconds, "users": users}
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.attacks.calm"],
        check=False,
        cwd=ROOT,
        input=json.dumps(job),
        text=True,
        stdout=subprocess.PIPE,
    )
    if ran.returncode:
        raise SystemExit("The calm user failed. See the error above.")
    return json.loads(ran.stdout)  # type: ignore[no-any-return]


def milliseconds(times: list[float], percent: int) -> float:
    """This percentile of the times in seconds, in milliseconds; NaN without two requests."""
    return statistics.quantiles(times, n=100)[percent - 1] * 1000 if len(times) > 1 else float("nan")


def ratio(before: Measured, during: Measured) -> float:
    """The largest ratio of a request's p95 during the attack to that before it."""
    return max(milliseconds(during[name]["times"], 95) / milliseconds(one["times"], 95) for name, one in before.items())


def print_result(before: Measured, during: Measured) -> None:
    """Print a table with a row per request, and whether p95 stayed below AIM times that before the attack."""
    heads = [
        "request of another user",
        "sent",
        "p50 before, ms",
        "p95",
        "sent",
        "p50 during, ms",
        "p95",
        "ratio of p95",
    ]
    heads.append("refused or failed")
    rows = []
    for name, one in before.items():
        row, p95 = [name], []
        for measured in (one, during[name]):
            p95.append(milliseconds(measured["times"], 95))
            row += [str(len(measured["times"])), f"{milliseconds(measured['times'], 50):.1f}", f"{p95[-1]:.1f}"]
        refused = {status: count for status, count in during[name]["statuses"].items() if status != "200"}
        row += [f"{p95[1] / p95[0]:.2f}", " ".join(f"{count} × {status}" for status, count in refused.items())]
        rows.append(row)
    print_table(heads, rows)
    largest = ratio(before, during)
    print(f"Largest ratio of p95: {largest:.2f}; aim below {AIM}: {'met' if largest < AIM else 'MISSED'}")


# --- In the process of the user ---------------------------------------------------------------------------------------


def run(job: dict[str, Any]) -> Measured:
    until = time.monotonic() + job["seconds"]
    with ThreadPoolExecutor(job["users"]) as pool:
        done = [running.result() for running in [pool.submit(_user, job, until) for _ in range(job["users"])]]
    sent = [one for requests in done for one in requests]
    return {
        name: {
            "times": [taken for sent_name, _, taken in sent if sent_name == name],
            "statuses": Counter(status for sent_name, status, _ in sent if sent_name == name),
        }
        for name in job["paths"]
    }


def _user(job: dict[str, Any], until: float) -> list[tuple[str, int, float]]:
    """Name, status and time of each request."""
    sent: list[tuple[str, int, float]] = []
    connection = http.client.HTTPConnection("127.0.0.1", job["port"], timeout=TIMEOUT_SECONDS)
    with closing(connection):
        while time.monotonic() < until:
            for name, path in job["paths"].items():
                began = time.monotonic()
                try:
                    connection.request("GET", path, headers=job["headers"])
                    answer = connection.getresponse()
                    answer.read()
                    status = answer.status
                except (OSError, http.client.HTTPException):
                    connection.close()  # the next request opens another one
                    status = CONNECTION_FAILED
                sent.append((name, status, time.monotonic() - began))
                time.sleep(PAUSE_SECONDS)
    return sent


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
