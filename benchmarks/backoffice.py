"""Response times of admin pages with few and many images, over HTTP, for a logged-in user.

One organization has --sizes images. Times are p50 and p95 in milliseconds, of the HTML page without its thumbnails and
counts, which are fetched later. Uses PostgreSQL unless --database-url is given.
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
REQUESTS = 20  # per page
UNCACHED_REQUESTS = 5  # per page whose content is cached, each on a new server
IMAGES = "/admin/sourceimages/sourceimage/?organization=benchmark"
PAGES = {
    "dashboard": "/admin/",
    "dashboard: statistics, uncached": "/admin/statistics/",
    "images: grid": f"{IMAGES}&view=grid",
    "images: table": f"{IMAGES}&view=table",
    "images: page 100": f"{IMAGES}&offset=5940",
    "images: largest first": f"{IMAGES}&sort=size+desc",
    "images: by name": f"{IMAGES}&sort=name+asc",
    "images: a format of all images": f"{IMAGES}&format=jpg",
    "images: a word, 0.4 %": f"{IMAGES}&q=user:text:caption:word17",
    "images: an artist, 0.05 %": f"{IMAGES}&q=user:artist:artist-998",
    "images: nothing found": f"{IMAGES}&q=user:artist:nobody",
    "images: trash": f"{IMAGES}&state=trash",
    "images of all organizations": "/admin/sourceimages/sourceimage/?organization=",
    "counts of the filters, uncached": "/admin/sourceimages/sourceimage/counts/?organization=benchmark",
    "image": "/admin/sourceimages/sourceimage/{image}/change/",
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
        image = json.loads(filled.stdout)["image"]
        return {
            name: _times(installed, page.format(image=image), uncached="uncached" in name)
            for name, page in PAGES.items()
        }


def _times(installed: Installation, page: str, *, uncached: bool) -> tuple[float, float]:
    """Measure on one server after a warm-up request or, with `uncached`, each time on a new server."""
    taken: list[float] = []
    while len(taken) < (UNCACHED_REQUESTS if uncached else REQUESTS):
        with installed.server() as server:
            address = f"http://127.0.0.1:{server.port}"
            session = _logged_in(address)
            session.get(f"{address}/admin/raw-tables/" if uncached else address + page)
            for _ in range(1 if uncached else REQUESTS):
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
    """Run in a subprocess: create images, and a user who can view them."""
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
    json.dump({"image": newest.pk}, sys.stdout)


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.set_defaults(database_url=POSTGRESQL)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 1_000_000], help="numbers of images")
    main(parser.parse_args())
