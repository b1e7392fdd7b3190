"""Concurrent changes lose no value: it is in the image or in its history."""

import itertools

import pytest

from organizations.audit import COMMAND
from sourceimages import jobs
from sourceimages.jobs import undo
from sourceimages.jobs.selection import Selection
from sourceimages.models import ImageVersion, SourceImage
from sourceimages.operations import change_user_metadata, copy_image, rename_image
from tests.conftest import consistency_errors
from tests.sourceimages.operations.test_races import together, uploaded
from tests.support import images

pytestmark = pytest.mark.django_db(transaction=True)

TIMES = 15


def test_a_copy_of_an_image_that_is_being_renamed_overwrites_no_name_unkept(acme, stage, alice):
    for organization in (acme, stage):
        uploaded(alice, organization, images.png())
    source, target = acme.images.get(), stage.images.get()
    names = [target.name]

    def rename():
        for number in range(TIMES):
            rename_image(source, f"{number}.png", actor=COMMAND)

    def copy():
        for _ in range(TIMES):
            copy_image(source, stage, overwrite=True, actor=COMMAND)
            names.append(SourceImage.objects.get(pk=target.pk).name)

    assert together(rename, copy) == [None, None]
    replaced = [before for before, after in itertools.pairwise(names) if before != after]
    versions = ImageVersion.objects.filter(image_id=target.pk).order_by("pk")
    assert [version.before["name"] for version in versions if "name" in version.before] == replaced
    assert consistency_errors() == []


def test_what_is_changed_while_a_job_is_undone_stays(acme, alice, monkeypatch):
    monkeypatch.setattr(undo, "BATCH", 2)
    uploaded(alice, acme, *(images.png(seed=seed) for seed in range(8)))
    every = list(acme.images.order_by("id"))
    selection = Selection(acme, in_trash=False)
    job = jobs.run(jobs.start_bulk_action("set_metadata", selection, actor=COMMAND, changes={"title": "All"}).pk)
    undoing = jobs.start_undo(job, actor=COMMAND)

    def change():
        for image in reversed(every):
            change_user_metadata(image, {"title": "Mine"}, actor=COMMAND)

    together(change, lambda: jobs.run(undoing.pk))
    assert [image.user_metadata for image in acme.images.all()] == [{"title": "Mine"}] * 8
    undoing.refresh_from_db()
    assert (undoing.state in ("succeeded", "succeeded_with_errors"), sum(undoing.counts.values())) == (True, 8)
    assert consistency_errors() == []


def test_two_that_undo_the_same_job_do_it_once(acme, alice, monkeypatch):
    monkeypatch.setattr(undo, "BATCH", 2)
    uploaded(alice, acme, *(images.png(seed=seed) for seed in range(8)))
    job = jobs.run(jobs.start_bulk_action("protect", Selection(acme, in_trash=False), actor=COMMAND).pk)
    undoing = jobs.start_undo(job, actor=COMMAND)
    together(*[lambda: jobs.run(undoing.pk)] * 3)
    undoing.refresh_from_db()
    assert (undoing.state, undoing.processed, undoing.counts) == ("succeeded", 8, {"undone": 8})
    assert not acme.images.active().filter(protected=True).exists()
    assert consistency_errors() == []
