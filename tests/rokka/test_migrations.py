"""The last release goes on working while the tables are already those of this version.

An upgrade migrates first and then replaces the processes one after the other. Until then, the last release inserts rows
without the new columns, and uses all columns that it knows.
"""

import re

import pytest
from django.db import connection, migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState

from tests.support import releases

# Migrations since the last release that a rule here refuses, and why the last release works with them all the same.
# Empty it when a version is released.
REVIEWED: dict[str, str] = {}

DESTRUCTIVE = (migrations.RemoveField, migrations.RenameField, migrations.RenameModel, migrations.DeleteModel)
RESTRICTIVE = (migrations.AddConstraint, migrations.AlterUniqueTogether)
OPAQUE = (migrations.RunPython, migrations.RunSQL, migrations.SeparateDatabaseAndState, migrations.AlterModelTable)


def complaint(operation: Operation, app: str, released: ProjectState, current: ProjectState) -> str:
    """Why the last release could fail after this operation, or an empty text. `current` is the state before it."""
    if isinstance(operation, OPAQUE):
        return "its effect is not known from its parameters"
    name = getattr(operation, "model_name", None) or getattr(operation, "name", "")
    model = released.models.get((app, name.lower()))
    if model is None:  # a new model, which the last release does not use
        return ""
    if isinstance(operation, DESTRUCTIVE):
        return "the last release uses it"
    if isinstance(operation, RESTRICTIVE):
        return "the last release may write what it forbids"
    if isinstance(operation, migrations.AddField) and not _can_be_omitted(operation.field):
        return "an INSERT without the column fails: make it nullable, or give it a db_default"
    if isinstance(operation, migrations.AlterField):
        return _changed(operation, app, model, current)
    return ""


def _can_be_omitted(field: models.Field) -> bool:
    return field.null or field.has_db_default() or field.many_to_many or field.generated


def _changed(operation: migrations.AlterField, app: str, model: ModelState, current: ProjectState) -> str:
    if operation.name not in model.fields:
        return "" if _can_be_omitted(operation.field) else "an INSERT without the column fails"
    before = current.models[app, operation.model_name.lower()].fields[operation.name]
    if before.null and not operation.field.null:
        return "the last release may write NULL"
    if type(before) is not type(operation.field) or before.db_column != operation.field.db_column:
        return "the last release expects the column as it was"
    if (before.unique, before.max_length) != (operation.field.unique, operation.field.max_length):
        return "the last release may write what it forbids"
    return ""


@pytest.fixture(scope="module")
def loader():
    return MigrationLoader(None)


@pytest.fixture(scope="module")
def released(loader):
    """The models of the last release, as its migrations define them."""
    return loader.project_state(list(releases.LAST_MIGRATIONS.items()))


def test_the_last_release_works_with_every_later_migration(loader, released):
    before = set().union(*(loader.graph.forwards_plan(node) for node in releases.LAST_MIGRATIONS.items()))
    state, found = released.clone(), {}
    for key in loader.graph._generate_plan(loader.graph.leaf_nodes(), at_end=True):
        migration = loader.graph.nodes[key]
        if key in before:
            continue
        for operation in migration.operations:
            if why := complaint(operation, migration.app_label, released, state):
                found[f"{migration.app_label}.{migration.name}"] = f"{operation.describe()}: {why}"
            operation.state_forwards(migration.app_label, state)
    assert {name: why for name, why in found.items() if name not in REVIEWED} == {}
    assert REVIEWED.keys() <= found.keys(), "not refused, or released"


def test_the_database_has_a_default_for_every_new_column(db, released):
    """What the rule above says of the migrations, seen in the tables that result."""
    apps, required = released.apps, []
    with connection.cursor() as cursor:
        tables = {table.name for table in connection.introspection.get_table_list(cursor)}
        for model in apps.get_models(include_auto_created=True):
            table = model._meta.db_table
            known = {field.column for field in model._meta.local_concrete_fields}
            assert table in tables
            columns = {column.name: column for column in connection.introspection.get_table_description(cursor, table)}
            assert known <= columns.keys(), table
            required += [
                f"{table}.{name}"
                for name in columns.keys() - known
                if not columns[name].null_ok and columns[name].default is None
            ]
    assert required == []


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (migrations.AddField("Organization", "color", models.TextField()), "INSERT"),
        (migrations.AddField("Organization", "color", models.TextField(default="red")), "INSERT"),
        (migrations.AddField("Organization", "color", models.TextField(default="red", db_default="red")), ""),
        (migrations.AddField("Organization", "color", models.TextField(null=True)), ""),
        (migrations.AddField("Stack", "color", models.TextField()), ""),  # a model of this version
        (migrations.RemoveField("Organization", "options"), "uses it"),
        (migrations.RenameField("Organization", "options", "choices"), "uses it"),
        (migrations.RenameModel("Organization", "Company"), "uses it"),
        (migrations.DeleteModel("Organization"), "uses it"),
        (migrations.AlterField("Organization", "name", models.IntegerField()), "as it was"),
        (migrations.AlterField("Organization", "display_name", models.CharField(max_length=5)), "forbids"),
        (migrations.AlterField("AuditEvent", "user", models.UUIDField()), "NULL"),
        (migrations.AddConstraint("Organization", models.UniqueConstraint(fields=["options"], name="x")), "forbids"),
        (migrations.AddIndex("Organization", models.Index(fields=["options"], name="x")), ""),
        (migrations.RunPython(migrations.RunPython.noop), "not known"),
        (migrations.RunSQL("SELECT 1"), "not known"),
    ],
)
def test_what_the_last_release_does_not_survive_is_refused(released, operation, why):
    said = complaint(operation, "organizations", released, released)
    assert bool(said) == bool(why)
    assert why in said


@pytest.mark.any_database
def test_the_migrations_of_the_last_release_are_known(tmp_path):
    releases.unpack(tmp_path)
    last = {
        app.name: max(file.stem for file in (app / "migrations").glob("[0-9]*.py"))
        for app in tmp_path.iterdir()
        if (app / "migrations").is_dir()
    }
    assert last == releases.LAST_MIGRATIONS


@pytest.mark.any_database
def test_no_migration_of_the_last_release_has_changed(tmp_path, loader):
    """Installations have applied it: a change would be in no database but new ones."""
    releases.unpack(tmp_path)
    comment = re.compile(r"^\s*#.*\n", re.MULTILINE)
    for app in releases.LAST_MIGRATIONS:
        for file in (tmp_path / app / "migrations").glob("[0-9]*.py"):
            now = releases.ROOT / app / "migrations" / file.name
            assert comment.sub("", now.read_text()) == comment.sub("", file.read_text()), file.name
