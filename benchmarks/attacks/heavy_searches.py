"""Effect on another user while an ordinary read key asks for the most expensive searches it can, with several clients.

Uses one organization with --images generated images, only a server that it starts itself on 127.0.0.1, and ends after
--seconds of calm and as long of attack. Clients leave after --patience seconds without a response, as attackers do, and
repeat the request at once. With --unbounded, the limits are raised out of reach.
"""

import argparse
import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from urllib.parse import quote

from benchmarks.attacks import calm
from benchmarks.common import ORGANIZATION, ROOT, Server, installation, options

FILL = "from benchmarks.attacks import heavy_searches; heavy_searches.fill({images})"
LIST = f"/sourceimages/{ORGANIZATION}"
UNBOUNDED = {f"{kind}_TIMEOUT_SECONDS": "3600" for kind in ("READ", "WRITE", "SEARCH")} | {
    "HEAVY_SEARCHES_PER_KEY": "1000",
    "WEB_THREADS": "4096",
}
RANGES = "&".join(f"user:int:year=[{1930 + number % 50},{1970 + number}]" for number in range(50))
PREFIXES = " AND ".join(
    f"(user:array:tags:tag-{number % 10}* OR user:text:caption:word{number * 7 % 50}*)" for number in range(25)
)
BROAD = "user:array:tags:tag-* AND user:str:artist:art* AND user:text:caption:word*"
NEGATIONS = "NOT user:array:tags:tag-1* AND NOT user:text:caption:word1* AND NOT user:str:artist:artist-1*"
ATTACKS = [
    f"?{RANGES}",
    f"?q={quote(PREFIXES)}",
    f"?q={quote(BROAD)}&facets=user:array:tags,user:str:artist,user:int:year,format",
    "?sort=user:int:year,user:date:taken,user:str:artist&offset=10000",
    f"?q={quote(NEGATIONS)}",
    "/fields",
]


def main(arguments: argparse.Namespace) -> None:
    variables = {"RATE_LIMIT_ENABLED": "false"} | (UNBOUNDED if arguments.unbounded else {})
    with installation(arguments) as installed:
        subprocess.run(
            [sys.executable, "-c", FILL.format(images=arguments.images)],
            cwd=ROOT,
            env=installed.environment | {"DJANGO_SETTINGS_MODULE": "rokka.settings", "LOG_LEVEL": "WARNING"},
            check=True,
        )
        with installed.server(**variables) as server:
            measure(server, arguments)


def measure(server: Server, arguments: argparse.Namespace) -> None:
    newest = server.get(f"{LIST}?limit=1")["items"][0]["hash"]
    paths = {"get one": f"{LIST}/{newest}", "list 20": f"{LIST}?limit=20"}
    key = reader(server)
    calm.measure(server, paths, seconds=2)
    before = calm.measure(server, paths, seconds=arguments.seconds)
    stop, statuses = threading.Event(), Counter[str]()
    clients = [
        threading.Thread(target=attack, args=[server.port, key, number, arguments.patience, stop, statuses])
        for number in range(arguments.clients)
    ]
    for client in clients:
        client.start()
    try:
        time.sleep(1)
        during = calm.measure(server, paths, seconds=arguments.seconds)
    finally:
        stop.set()
        for client in clients:
            client.join()
    calm.print_result(before, during)
    print(f"Responses to the attacker: {dict(statuses.most_common())}")


def attack(port: int, key: str, number: int, patience: float, stop: threading.Event, statuses: Counter[str]) -> None:
    """Send one attack after the other until `stop` is set; after a refusal, wait a tenth of a second."""
    while not stop.is_set():
        number += 1
        path = LIST + ATTACKS[number % len(ATTACKS)]
        status = "left"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", path, headers={"Api-Key": key})
            answer = connection.getresponse()
            status = f"{answer.status} {json.loads(answer.read()).get('reason', '')}".strip()
        statuses[status] += 1
        if status.startswith("4"):
            stop.wait(0.1)


def reader(server: Server) -> str:
    """The key of a new user with the role `read`."""
    member = json.dumps({"roles": ["read"]})
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.request("POST", f"/organizations/{ORGANIZATION}/memberships", member, server.headers)
        answer = connection.getresponse()
        body = json.load(answer)
        if answer.status != 201:
            raise SystemExit(f"The attacking user could not be created: {body}")
        return str(body["api_key"])


def fill(images: int) -> None:
    """Run in a subprocess: generate the images."""
    import django

    django.setup()
    from django.db import connection

    from organizations.models import Organization
    from tests.support import bulk_data

    bulk_data.make(Organization.objects.get(name=ORGANIZATION), images, first=1001)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.add_argument("--images", type=int, default=200_000, help="number of images (default 200,000)")
    parser.add_argument("--clients", type=int, default=8, help="attacking clients (default 8)")
    parser.add_argument("--patience", type=float, default=20, help="seconds after which a client leaves (default 20)")
    parser.add_argument("--unbounded", action="store_true", help="without time limits and slots")
    parser.set_defaults(seconds=10)
    main(parser.parse_args())
