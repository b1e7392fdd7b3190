"""Commands count images, ask for confirmation, and take filters."""

import pytest
from django.core.management import CommandError, call_command

from organizations.models import Job, Organization
from tests.conftest import consistency_errors
from tests.sourceimages.management.conftest import active_hashes, nothing_happened, raising, size_of, state
from tests.support import images

pytestmark = pytest.mark.any_database

# --- Confirmation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("copy_all", "acme", "other"), ("delete_all", "acme")])
def test_nothing_happens_without_confirmation(acme, other, six, run, refused, monkeypatch, command):
    assert "pass --yes to confirm" in refused(*command)
    for typed in ("n\n", "\n", "", "maybe\n"):
        assert "Nothing was changed" in refused(*command, typed=typed)
    monkeypatch.setattr("builtins.input", raising(KeyboardInterrupt()))
    assert "Nothing was changed" in refused(*command, typed="")
    monkeypatch.undo()
    assert nothing_happened()
    assert len(active_hashes(acme)) == 6
    assert active_hashes(other) == set()


def test_without_standard_input_nothing_happens(acme, six, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(CommandError, match="pass --yes to confirm"):
        call_command("delete_all", "acme")
    assert nothing_happened()


def test_the_confirmation_names_the_images(acme, other, six, run):
    assert f"copy 6 images ({size_of(six)}) from acme to other. Continue?" in run(
        "copy_all", "acme", "other", typed="y\n"
    )
    assert "move 6 images" in run("delete_all", "acme", typed="Yes\n")
    assert str(acme.tombstones.get().pk) in run("restore_all", "acme", typed="y\n")
    assert active_hashes(acme) == active_hashes(other) == {image.hash for image in six}


def test_restoring_asks_too(acme, six, run, refused):
    run("delete_all", "acme", "--yes")
    before = state(acme)
    assert "pass --yes to confirm" in refused("restore_all", "acme")
    assert "Nothing was changed" in refused("restore_all", "acme", typed="n\n")
    assert state(acme) == before
    assert Job.objects.count() == 1


def test_a_dry_run_changes_nothing(acme, other, six, run):
    assert f"copy 6 images ({size_of(six)})" in run("copy_all", "acme", "other", "--dry-run")
    assert "copy 1 image (" in run("copy_all", "acme", "other", "--dry-run", "--name", "3")
    assert f"move 6 images ({size_of(six)})" in run("delete_all", "acme", "--dry-run")
    assert nothing_happened()
    assert len(active_hashes(acme)) == 6
    run("delete_all", "acme", "--yes")
    assert f"restore 6 images ({size_of(six)})" in run("restore_all", "acme", "--dry-run")
    assert active_hashes(acme) == active_hashes(other) == set()
    assert Job.objects.count() == 1


# --- Filters ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def years(acme, alice) -> Organization:
    """One image of each year from 2001 to 2004; the last one is a JPEG."""
    alice.upload(acme, images.png(seed=1), name="ant.png")
    alice.upload(acme, images.png(seed=2), name="antelope.png")
    alice.upload(acme, images.png(seed=3), name="Ant.png")
    alice.upload(acme, images.jpeg(seed=4), name="bee.jpg")
    for year, image in enumerate(acme.images.order_by("id"), start=2001):
        acme.images.filter(pk=image.pk).update(created=f"{year}-01-01T00:00:00Z")
    return acme


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--format", "jpg"], {"bee.jpg"}),
        (["--format", "gif"], set()),
        (["--created-before", "2002-01-01"], {"ant.png"}),
        (["--created-before", "2002-01-01T00:00:01"], {"ant.png", "antelope.png"}),
        (["--created-before", "2002-01-01T01:00:00+01:00"], {"ant.png"}),
        (["--created-before", "2002-01-01T00:59:59.5+01:00"], {"ant.png"}),
        (["--created-before", "2002"], {"ant.png"}),
        (["--created-before", "2002-02"], {"ant.png", "antelope.png"}),
        (["--created-after", "2003"], {"bee.jpg"}),
        (["--created-after", "2002-12"], {"Ant.png", "bee.jpg"}),
        (["--created-after", "2003-01"], {"bee.jpg"}),
        (["--created-after", "2003-01-01"], {"bee.jpg"}),
        (["--created-after", "2003-01-01T00:00:00Z"], {"bee.jpg"}),
        (["--created-after", "2003-01-01T00:59:59+01:00"], {"Ant.png", "bee.jpg"}),
        (["--created-after", "2001-06-01", "--created-before", "2003-06-01"], {"antelope.png", "Ant.png"}),
        (["--created-after", "0001-01-01", "--created-before", "2004-01-01"], {"ant.png", "antelope.png", "Ant.png"}),
        (["--name", "ant"], {"ant.png", "antelope.png"}),
        (["--name", "ant", "--format", "jpg"], set()),
        (["--name", "%"], set()),
    ],
)
def test_only_some_are_taken(years, other, run, filters, expected):
    run("copy_all", "acme", "other", "--yes", *filters)
    assert {image.name for image in other.images.all()} == expected
    run("delete_all", "acme", "--yes", *filters)
    assert {image.name for image in years.images.in_trash()} == expected
    assert consistency_errors() == []


@pytest.mark.parametrize("command", [("copy_all", "acme", "other"), ("delete_all", "acme")])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--format", "jpeg2000"),
        ("--format", ""),
        ("--created-before", "yesterday"),
        ("--created-before", ""),
        ("--created-after", "2001-02-30"),
        ("--created-after", "0001-01-01T00:00:00+14:00"),
        ("--created-after", "9999-12-31T23:59:59-14:00"),
        ("--name", ""),
        ("--name", "a\0"),
        ("--name", "\udcff"),
    ],
)
def test_filters_that_cannot_be_are_refused(acme, other, six, refused, command, option, value):
    assert refused(*command, "--yes", option, value).startswith(f"{option}=")
    assert nothing_happened()
    assert active_hashes(other) == set()
