"""How fast pages of the back-office answer, with few pictures and with many: over HTTP, to somebody who is logged in.

One organization has as many pictures as a size says. Times are p50 and p95 in milliseconds, of the page alone: its
small pictures and its counts are fetched when it is there. On PostgreSQL, unless --database-url says otherwise.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time

import django
import requests

from benchmarks.common import ROOT, Installation, installation, options, print_table

CHILD = "from benchmarks import backoffice; backoffice.fill()"
POSTGRESQL = "postgres://postgres@127.0.0.1:5432/benchmark"
ASKED = 20  # times each
ANEW = 5  # times, where what is asked for would be remembered
PICTURES = "/admin/sourceimages/sourceimage/?organization=benchmark"
PAGES = {
    "start": "/admin/",
    "start: its numbers, counted anew": "/admin/statistics/",
    "pictures: grid": f"{PICTURES}&view=grid",
    "pictures: table": f"{PICTURES}&view=table",
    "pictures: page 100": f"{PICTURES}&offset=5940",
    "pictures: largest first": f"{PICTURES}&sort=size+desc",
    "pictures: by name": f"{PICTURES}&sort=name+asc",
    "pictures: a format that all have": f"{PICTURES}&format=jpg",
    "pictures: a word, 0.4 %": f"{PICTURES}&q=user:text:caption:word17",
    "pictures: an artist, 0.05 %": f"{PICTURES}&q=user:artist:artist-998",
    "pictures: nothing found": f"{PICTURES}&q=user:artist:nobody",
    "pictures: trash": f"{PICTURES}&state=trash",
    "pictures of all organizations": "/admin/sourceimages/sourceimage/?organization=",
    "counts of the filters, counted anew": "/admin/sourceimages/sourceimage/counts/?organization=benchmark",
    "a picture": "/admin/sourceimages/sourceimage/{picture}/change/",
    "organizations": "/admin/organizations/organization/",
    "trash": "/admin/sourceimages/tombstone/",
}


def main(arguments: argparse.Namespace) -> None:
    results = {size: _measure(arguments, size) for size in arguments.sizes}
    heads = ["page"]
    for size in arguments.sizes:
        heads += [f"{size:,}: p50", "p95"]
    rows = [[name, *(f"{ms:.0f}" for size in arguments.sizes for ms in results[size][name])] for name in PAGES]
    print_table(heads, rows)


def _measure(arguments: argparse.Namespace, size: int) -> dict[str, tuple[float, float]]:
    with installation(arguments) as installed:
        filled = subprocess.run(
            [sys.executable, "-c", CHILD],
            check=True,
            cwd=ROOT,
            env=installed.environment | {"DJANGO_SETTINGS_MODULE": "rokka.settings", "LOG_LEVEL": "WARNING"},
            input=json.dumps({"size": size}),
            text=True,
            stdout=subprocess.PIPE,
        )
        picture = json.loads(filled.stdout)["picture"]
        return {
            name: _times(installed, page.format(picture=picture), anew="anew" in name) for name, page in PAGES.items()
        }


def _times(installed: Installation, page: str, *, anew: bool) -> tuple[float, float]:
    """On one server, after a request that nobody counts; or each on a server that has just started."""
    taken: list[float] = []
    while len(taken) < (ANEW if anew else ASKED):
        with installed.server() as server:
            address = f"http://127.0.0.1:{server.port}"
            session = _logged_in(address)
            session.get(f"{address}/admin/raw-tables/" if anew else address + page)
            for _ in range(1 if anew else ASKED):
                began = time.perf_counter()
                answer = session.get(address + page)
                taken.append((time.perf_counter() - began) * 1000)
                assert answer.status_code == 200, answer.text[:500]
    return statistics.median(taken), sorted(taken)[round(len(taken) * 0.95) - 1]


def _logged_in(address: str) -> requests.Session:
    session = requests.Session()
    token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', session.get(f"{address}/admin/login/").text)
    assert token
    sent = {"username": "ines", "password": "a long password", "csrfmiddlewaretoken": token[1]}
    session.post(f"{address}/admin/login/", sent)
    return session


def fill() -> None:
    """In a child: pictures, and somebody who may see them."""
    django.setup()
    from django.db import connection

    from organizations.audit import COMMAND
    from organizations.models import Organization, User
    from organizations.operations import create_staff
    from organizations.usage import counters
    from tests.support import bulk_data

    organization = Organization.objects.get(name="benchmark")
    bulk_data.make(organization, json.load(sys.stdin)["size"])
    counters.recount(organization, lambda: counters.Totals(images=organization.images.count(), bytes=0))
    bulk_data.analyze()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
    create_staff("ines", "a long password", email="ines@example.org", actor=COMMAND)
    User.objects.filter(username="ines").update(is_superuser=True)
    newest = organization.images.active().order_by("-id").first()
    assert newest
    json.dump({"picture": newest.pk}, sys.stdout)


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.set_defaults(database_url=POSTGRESQL)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 1_000_000], help="pictures")
    main(parser.parse_args())
