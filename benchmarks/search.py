"""Speed of searches, compared with handwritten SQL for the same query and tables.

One organization has --sizes images, nine others a twentieth of that each. Queries run in one process, from parameters
to rows, with a different value each time; times are p50 and p95 in milliseconds. Queries for a page include the exact
total. Uses PostgreSQL unless --database-url is given.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import django

from benchmarks.common import ROOT, installation, options, print_table

if TYPE_CHECKING:
    from organizations.models import Organization

CHILD = "from benchmarks import search; search.measure()"
POSTGRESQL = "postgres://postgres@127.0.0.1:5432/benchmark"
REPETITIONS = 40  # per query, and a tenth of that for slow queries
PAGES = 10_000  # followed by cursor
FIRST = 1001  # number of the first generated image; those before it are inserted one by one
FIELDS = {
    "artist": "artist-7",
    "int:year": 1999,
    "date:taken": "2024-01-01T00:00:00Z",
    "array:tags": ["tag-1", "tag-2"],
    "text:caption": "two words",
}
Ask = Callable[[int], Any]


def main(arguments: argparse.Namespace) -> None:
    results: dict[int, dict[str, list[float]]] = {}
    for size in arguments.sizes:
        with installation(arguments) as installed:
            ran = subprocess.run(
                [sys.executable, "-c", CHILD],
                check=False,
                cwd=ROOT,
                env=installed.environment | {"DJANGO_SETTINGS_MODULE": "rokka.settings", "LOG_LEVEL": "WARNING"},
                input=json.dumps({"size": size}),
                text=True,
                stdout=subprocess.PIPE,
            )
            if ran.returncode:
                raise SystemExit("The measurement failed. See the error above.")
            results[size] = json.loads(ran.stdout)
    heads = ["question"]
    for size in arguments.sizes:
        heads += [f"{size:,}: p50", "p95", "by hand p50", "p95"]
    names = list(dict.fromkeys(name for result in results.values() for name in result))
    rows = [[name, *(f"{value:.1f}" for size in arguments.sizes for value in results[size][name])] for name in names]
    print_table(heads, rows)


def measure() -> None:
    """Run in a subprocess: fill the tables, run the queries, print the times as JSON."""
    django.setup()
    from django.db import connection

    from organizations.models import Organization, UsageCounter
    from tests.support import bulk_data

    size = json.load(sys.stdin)["size"]
    organization = Organization.objects.get(name="benchmark")
    insert_at_0 = inserts(organization, 10_000_001)
    bulk_data.make(organization, size, first=FIRST)
    for number in range(9):
        other = Organization.objects.create(name=f"other-{number}")
        UsageCounter.objects.bulk_create(
            [UsageCounter(organization=other, slot=slot) for slot in range(UsageCounter.SLOTS)]
        )
        bulk_data.make(other, size // 20, first=20_000_001 + number * size)
    bulk_data.analyze()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE")
    results = {}
    for name, ours, statements in questions(organization, size):
        results[name] = [*times(ours), *times(lambda number, statements=statements: by_hand(statements, number))]
    results["insert one with five fields, at first"] = [*insert_at_0, 0, 0]
    results["insert one with five fields, at last"] = [*inserts(organization, 11_000_001), 0, 0]
    json.dump(results, sys.stdout)


def times(ask: Callable[[int], Any]) -> tuple[float, float]:
    """p50 and p95 in milliseconds."""
    ask(0)
    taken: list[float] = []
    for number in range(1, REPETITIONS + 1):
        began = time.perf_counter()
        ask(number)
        taken.append((time.perf_counter() - began) * 1000)
        if number >= REPETITIONS // 10 and sum(taken) > 4000:
            break
    return statistics.median(taken), sorted(taken)[max(0, round(len(taken) * 0.95) - 1)]


def by_hand(statements: list[str], number: int) -> None:
    """Run the statements, with the hash of a different image for `{hash}` each time."""
    from django.db import connection

    hash = f"{FIRST + number * 97:040x}"
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement.replace("{hash}", hash).replace("{short}", hash[32:]))
            cursor.fetchall()


def inserts(organization: "Organization", first: int) -> tuple[float, float]:
    """Insert images with five fields like an upload, without files, each in its own transaction."""
    from django.db import transaction

    from sourceimages import hashes
    from sourceimages.models import SourceImage, StoredFile
    from sourceimages.operations.short_hashes import assign_short_hashes
    from sourceimages.search import indexing

    def insert(number: int) -> None:
        binary_hash = f"{first + number:040x}"
        same = {"organization": organization, "binary_hash": binary_hash, "size": 1000, "format": "jpg"}
        same |= {"mimetype": "image/jpeg", "width": 100, "height": 100}
        hash = hashes.identity(binary_hash, {}, protected=False)
        with transaction.atomic():
            sums = {"content_hash": "", "uploaded_size": 1, "uploaded_sha256": ""}
            file = StoredFile.objects.create(**same, **sums, key=binary_hash, opaque=True, animated=False)
            image = SourceImage.objects.create(
                **same,
                file=file,
                hash=hash,
                identity=hash,
                short_hash=assign_short_hashes(organization, [hash])[hash],
                name="new.jpg",
                user_metadata=FIELDS,
            )
            indexing.add([image])

    return times(insert)


def questions(organization: "Organization", size: int) -> list[tuple[str, Ask, list[str]]]:
    """Name, query with rokka, and handwritten statements."""
    from django.db import connection
    from django.http import QueryDict

    from sourceimages import search
    from sourceimages.models import MetadataField
    from sourceimages.search.facets import facet_names, facets
    from sourceimages.search.pagination import PageRequest

    def listed(text: str, *, total: bool = True) -> Ask:
        def ask(number: int) -> Any:
            query = QueryDict(text)
            wanted = search.condition(organization, query, in_trash=False)
            images = organization.images.active().select_related("file")
            images = images if wanted is None else images.filter(wanted)
            page = PageRequest.read(query.dict(), organization, in_trash=False).page(images, organization, "/", query)
            if query.get("facets"):
                facets(images, organization, facet_names(query["facets"]))
            elif total and wanted is not None:
                images.count()
            return page

        return ask

    def named(find: Callable[[Any, str], Any]) -> Ask:
        images = organization.images.active().select_related("file")
        return lambda number: list(find(images, f"{FIRST + number * 97:040x}"))

    owner = organization._meta.pk.get_db_prep_value(organization.pk, connection)
    ids = {one.name: one.pk for one in MetadataField.objects.filter(organization=organization)}
    active = f"i.organization_id = '{owner}' AND i.tombstone_id IS NULL"
    image = "SELECT i.*, f.* FROM sourceimages_sourceimage i JOIN sourceimages_storedfile f ON f.id = i.file_id"
    newest = f"{image} WHERE {active} ORDER BY i.created DESC, i.hash, i.id LIMIT 101"
    counted = f"SELECT count(*) FROM sourceimages_sourceimage i WHERE {active}"

    def found(*conditions: str) -> list[str]:
        more = "".join(f" AND {condition}" for condition in conditions)
        return [newest.replace(" ORDER BY", f"{more} ORDER BY"), counted + more]

    def rows(table: str, field: str, condition: str) -> str:
        return f"SELECT image_id FROM sourceimages_metadata{table} WHERE field_id = {ids[field]} AND {condition}"

    def within(table: str, field: str, condition: str) -> str:
        return f"i.id IN ({rows(table, field, condition)})"

    def facet(*conditions: str) -> list[str]:
        more = "".join(f" AND {condition}" for condition in conditions)
        return [
            "SELECT value, count(*) FROM sourceimages_metadatastring m JOIN sourceimages_sourceimage i "
            f"ON i.id = m.image_id WHERE m.field_id = {ids['user:tags']} AND {active}{more} "
            "GROUP BY value ORDER BY 2 DESC, 1 LIMIT 1000"
        ]

    rare, frequent = (f"value = 'artist-{number}'" for number in (998, 0))
    word, tag = "value = 'word1717'", within("string", "user:tags", "value = 'tag-180'")
    decade = within("number", "user:year", "value >= 1950 AND value < 1960")
    morning = within("number", "user:taken", "value >= 1578009600 AND value < 1578013200")
    either = f"i.id IN ({rows('string', 'user:artist', rare)} UNION ALL {rows('token', 'user:caption', word)})"
    by_year = f"JOIN sourceimages_metadatanumber m ON m.image_id = i.id AND m.field_id = {ids['user:year']}"
    deep = position = listed("limit=100", total=False)(0)
    for _ in range(min(PAGES, size // 100) - 2):
        deep, position = position, listed(f"limit=100&offset={position.cursor}", total=False)(0)
    dates = "user:date:taken=[2020-01-03T00:00:00Z,2020-01-03T01:00:00Z}"
    three = "user:artist=artist-0&user:int:year=[1950,1960}&user:array:tags=tag-180"
    return [
        (
            "by hash",
            named(lambda images, hash: images.named(hash)),
            [f"{image} WHERE {active} AND i.hash = '{{hash}}'"],
        ),
        (
            "by short hash",
            named(lambda images, hash: images.named(hash[32:])),
            [f"{image} WHERE {active} AND i.short_hash = '{{short}}'"],
        ),
        (
            "by binary hash",
            named(lambda images, hash: images.by_binary_hash(hash)),
            [f"{image} WHERE {active} AND i.binary_hash = '{{hash}}'"],
        ),
        ("first page", listed("limit=100"), [newest]),
        ("page 10,000 by cursor", listed(f"limit=100&offset={deep.cursor}"), [newest]),
        ("int, 1 %", listed("user:int:year=1950"), found(within("number", "user:year", "value = 1950"))),
        ("int range, 10 %", listed("user:int:year=[1950,1960}"), found(decade)),
        ("date range, 60 images", listed(dates), found(morning)),
        ("str, 0.1 %", listed("user:artist=artist-998"), found(within("string", "user:artist", rare))),
        (
            "beginning of name, 1 %",
            listed("name=picture-77*"),
            found("i.name >= 'picture-77' AND i.name < 'picture-78'"),
        ),
        ("word, 0.2 %", listed("user:text:caption=word1717"), found(within("token", "user:caption", word))),
        ("array element, 0.5 %", listed("user:array:tags=tag-180"), found(tag)),
        (
            "two filters, AND",
            listed("user:artist=artist-0&user:int:year=[1950,1960}"),
            found(within("string", "user:artist", frequent), decade),
        ),
        ("three filters, AND", listed(three), found(within("string", "user:artist", frequent), decade, tag)),
        ("two filters, OR", listed("user:artist=artist-998&user:text:caption=word1717&operator=or"), found(either)),
        ("broad: all", listed("locked=false"), found("NOT i.locked")),
        (
            "broad: half",
            listed("user:int:year=[1930,1980}"),
            found(within("number", "user:year", "value >= 1930 AND value < 1980")),
        ),
        ("sort by size", listed("sort=size"), [newest.replace("i.created DESC", "i.size")]),
        (
            "sort by a user int",
            listed("sort=user:int:year desc"),
            [f"{image} {by_year} WHERE {active} ORDER BY m.value DESC, i.id DESC LIMIT 101"],
        ),
        ("facet of all", listed("limit=0&facets=user:array:tags"), facet()),
        (
            "facet within 0.1 %",
            listed("limit=0&facets=user:array:tags&user:artist=artist-998"),
            [*facet(within("string", "user:artist", rare)), found(within("string", "user:artist", rare))[1]],
        ),
        ("total only, 10 %", listed("limit=0&user:int:year=[1950,1960}"), found(decade)[1:]),
    ]


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.set_defaults(database_url=POSTGRESQL)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="numbers of images")
    main(parser.parse_args())
