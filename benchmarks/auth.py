"""The cost of authentication: GET of an image, compared with the same view on a server without authentication."""

import argparse
import http.client
import itertools
import statistics
import tempfile
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.common import ORGANIZATION, Server, installation, jpeg, options, print_table

PATH = f"/sourceimages/{ORGANIZATION}"
WITHOUT_LIMITS = {"RATE_LIMIT_ENABLED": "false"}
LIMITS = ["RATE_LIMIT_PER_KEY", "RATE_LIMIT_PER_ORGANIZATION", "RATE_LIMIT_PER_ADDRESS", "RATE_LIMIT_AUTH_FAILURES"]
WITH_LIMITS = {"RATE_LIMIT_ENABLED": "true"} | dict.fromkeys(LIMITS, "1000000000")  # counted, but never exceeded


@dataclass
class Overhead:
    """Requests per second with and without authentication, measured alternately; the overhead is the median."""

    name: str
    aim: float  # maximum overhead, as a share of the time without authentication
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def overheads(self) -> list[float]:
        return [theirs / ours - 1 for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    def cells(self) -> list[str]:
        ours, theirs = (f"{statistics.median(values):,.0f}" for values in (self.ours, self.theirs))
        overhead = statistics.median(self.overheads)
        spread = f"{overhead:.0%} ({min(self.overheads):.0%} to {max(self.overheads):.0%})"
        verdict = f"< {self.aim:.0%}: {'met' if overhead < self.aim else 'MISSED'}"
        return [self.name, "a second", ours, theirs, spread, verdict]


def main(arguments: argparse.Namespace) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-", dir=arguments.directory)))
        installed = stack.enter_context(installation(arguments))
        open_server = stack.enter_context(installed.server("benchmarks.open:application", **WITHOUT_LIMITS))
        unlimited = stack.enter_context(installed.server(**WITHOUT_LIMITS))
        limited = stack.enter_context(installed.server(**WITH_LIMITS))
        token = unlimited.get("/user/apikeys/token")["token"]  # bound to the address, the default
        bearer = replace(unlimited, headers={"Authorization": f"Bearer {token}"})

        unlimited.load(PATH, file=jpeg(folder / "small.jpg", 100_000), clients=8, count=arguments.images)
        images = [item["link"] for item in unlimited.get(f"{PATH}?limit=2000")["items"]]
        check(open_server, unlimited, bearer, limited, images[0])

        variants = [
            ("Api-Key", unlimited, 0.25),
            ("Api-Key, rate limits", limited, 0.55),
            ("Bearer token", bearer, 0.25),
        ]
        rows = [
            (Overhead(f"{name}, {clients} client{'s'[: clients - 1]}", aim), clients, server)
            for clients in (1, 8)
            for name, server, aim in variants
        ]
        for server in open_server, unlimited, limited, bearer:
            server.load(*images, clients=8, seconds=1)
        for run, (overhead, clients, ours) in itertools.product(range(arguments.runs), rows):
            theirs = replace(open_server, headers=ours.headers)  # send identical requests
            turns = [(ours, overhead.ours), (theirs, overhead.theirs)]
            for server, results in turns if run % 2 else reversed(turns):
                results.append(server.load(*images, clients=clients, seconds=arguments.seconds))
    heads = ["one image", "unit", "rokka", "open", "overhead (lowest to highest)", "aim"]
    print_table(heads, [overhead.cells() for overhead, _, _ in rows])


def check(open_server: Server, unlimited: Server, bearer: Server, limited: Server, path: str) -> None:
    """Check that each server behaves as named: without Redis, for example, limits would silently not be counted."""
    expected = [
        (replace(open_server, headers={}), 200, False),
        (replace(unlimited, headers={}), 403, False),
        (unlimited, 200, False),
        (bearer, 200, False),
        (limited, 200, True),
    ]
    for number, (server, status, counted) in enumerate(expected):
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
            connection.request("GET", path, headers=server.headers)
            answer = connection.getresponse()
        seen = answer.status, answer.getheader("X-RateLimit-Remaining") is not None
        if seen != (status, counted):
            raise SystemExit(f"Check {number} failed: status and counting are {seen}, expected {(status, counted)}.")


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.add_argument("--images", type=int, default=500, help="images to upload first; at most 2000 (default 500)")
    main(parser.parse_args())
