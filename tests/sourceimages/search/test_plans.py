"""Query plans for a hundred thousand images: by an index, unless most of them are meant."""

import re

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from organizations.audit import SYSTEM
from organizations.models import Organization
from sourceimages import search
from sourceimages.jobs import restore_deletion
from sourceimages.models import SourceImage, Tombstone, unseen
from sourceimages.operations.delete import create_tombstone
from tests.support import bulk_data
from tests.support.skips import only_postgresql

COUNT = 100_000
TABLES = "sourceimage|metadatastring|metadatanumber|metadatatoken"
READ_WHOLE = {
    "postgresql": re.compile(rf"Seq Scan on sourceimages_({TABLES})"),
    "sqlite": re.compile(rf"SCAN (sourceimages_({TABLES})|U\d+)(?! USING)"),
}


@pytest.fixture(scope="module")
def organization(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        made = Organization.objects.create(name="hundred-thousand")
        made.counters.bulk_create([made.counters.model(organization=made, slot=slot) for slot in range(8)])
        bulk_data.make(made, COUNT, first=10_000_000)
        bulk_data.analyze()
        yield made
        with connection.cursor() as cursor:
            for table in ("metadatastring", "metadatanumber", "metadatatoken", "sourceimage", "storedfile"):
                column = "image_id" if table.startswith("metadata") else "id"
                cursor.execute(f"DELETE FROM sourceimages_{table} WHERE {column} >= 10000000")
        made.metadata_fields.all().delete()
        made.counters.all().delete()
        made.delete()


QUERIES = [
    "hash=0000000000000000000000000000000000989a00",
    "name=picture-10000500.jpg",
    "name=picture-1000050*",
    "size=[100,2000]",
    "user:artist=artist-998",
    "user:int:year=1950",
    "user:date:taken=[2039-01-05T00:00:00Z,2039-01-05T12:00:00Z}",
    "user:text:caption=word117",
    "user:array:tags=tag-798",
    "name_text=10000777",
    "created=2039-01-05",
    "user:date:taken=2039-01-05",
    "q=10000777",
    "q=1000077*",
    "q=naïvé",  # two forms of one word
    "q=picture-10000777.jpg",  # pairs of words
    'q="picture 10000777"',
    "q=word11717 -jpg",
    "q=10000777 -word11717",
    "q=user:artist:artist-998 AND user:int:year:[1950,1960]",
    "q=user:artist:artist-998 OR user:text:caption:word117",
    "q=user:artist:artist-998 AND NOT user:array:tags:tag-3",
]


@pytest.mark.django_db
@pytest.mark.parametrize("query", QUERIES)
def test_a_selective_filter_reads_no_table_from_end_to_end(organization, query):
    wanted = search.condition(organization, QueryDict(query), in_trash=False)
    images = organization.images.active().filter(wanted)
    plan = images.order_by("-created", "hash", "id")[:101].explain()
    assert not READ_WHOLE[connection.vendor].search(plan), plan
    assert not READ_WHOLE[connection.vendor].search(images.order_by().values("pk").explain()), plan


@only_postgresql  # SQLite has no such statistics
@pytest.mark.django_db
def test_images_of_a_new_organization_are_looked_up_by_their_hashes(organization):
    """Statistics don't know it yet. PostgreSQL would read all that it has by an index of the organization."""
    new, hashes = Organization.objects.create(name="new"), [f"{number:040x}" for number in range(2000)]
    images = SourceImage.objects.active().filter(hash__one_of=hashes)
    assert "hash)::text = ANY" not in re.findall("Index Cond.*", images.filter(organization=new).explain())[0]
    assert "hash)::text = ANY" in re.findall("Index Cond.*", images.filter(organization=unseen(new)).explain())[0]


@only_postgresql  # as above
@pytest.mark.django_db
def test_images_of_a_new_deletion_are_restored_by_their_ids(organization):
    """By the index of deletions, each batch would read all images of the deletion."""
    tombstone = create_tombstone(organization, Tombstone.Reason.DELETE_ALL, SYSTEM)
    ids = list(organization.images.order_by("id").values_list("id", flat=True)[:4000])
    SourceImage.objects.filter(pk__one_of=ids).update(tombstone=tombstone)
    with CaptureQueriesContext(connection) as queries:
        assert restore_deletion.restore_at_once(tombstone, ids[:2000]) == 2000
    (update,) = [query["sql"] for query in queries if query["sql"].startswith("UPDATE")]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {update}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Index Scan using sourceimages_sourceimage_pkey" in plan, plan
