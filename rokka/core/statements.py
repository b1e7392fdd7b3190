"""Handwritten statements of PostgreSQL that write rows of several models at once.

Columns come from the models, so that a new field needs no change here.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import cache, cached_property
from types import NoneType
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import BooleanField, CharField, DateTimeField, Field, ForeignKey, Model, UUIDField

from rokka.core.fields import BytewiseCharField
from rokka.core.prepared import prepared_cursor

# Fields and types of values that Django passes to psycopg as they are, which it finds out by several calls each.
PLAIN_FIELDS = {BooleanField, CharField, BytewiseCharField, DateTimeField, ForeignKey, UUIDField}
PLAIN_VALUES = {str, bool, UUID, datetime, NoneType}


class Statement:
    """A statement with named parameters, which returns at most one row.

    `{name}` in the text is replaced with the SQL of `parts`, which is built when it is first used: it depends on the
    columns of models.
    """

    def __init__(self, text: str, **parts: Any) -> None:
        self._text, self._parts = text, parts

    @cached_property
    def sql(self) -> str:
        return self._text.format(**{name: part() for name, part in self._parts.items()})

    def first(self, parameters: Mapping[str, Any]) -> Any:
        """Execute it; the row, or None."""
        with prepared_cursor() as cursor:
            cursor.execute(self.sql, parameters)
            return cursor.fetchone()


def insert(model: type[Model], source: str, **computed: str) -> Any:
    """A part that inserts one row of the model for each row of `source`, a FROM clause.

    The values are parameters, named by table and column, except those of `computed`, which are SQL expressions.
    """

    def sql() -> str:
        fields = _inserted_fields(model)
        values = [computed.get(str(field.column)) or _parameter(field) for field in fields]
        columns = ", ".join(f'"{field.column}"' for field in fields)
        return f'INSERT INTO "{model._meta.db_table}" ({columns}) SELECT {", ".join(values)} FROM {source}'  # noqa: S608

    return sql


def parameters_of(row: Model) -> dict[str, Any]:
    """The parameters of `insert` for an unsaved row."""
    parameters = {}
    for name, field, is_plain in _parameters(type(row)):
        value = field.pre_save(row, True)
        if not (is_plain and type(value) in PLAIN_VALUES):
            value = field.get_db_prep_save(value, connection)
        parameters[name] = value
    return parameters


@cache
def _parameters(model: type[Model]) -> list[tuple[str, "Field[Any, Any]", bool]]:
    """The name of each parameter, its field, and whether the field leaves PLAIN_VALUES as they are."""
    return [(_name(field), field, type(field) in PLAIN_FIELDS) for field in _inserted_fields(model)]


def _inserted_fields(model: type[Model]) -> list["Field[Any, Any]"]:
    """The columns of which the database does not generate the values."""
    return [field for field in model._meta.concrete_fields if field.get_internal_type() != "BigAutoField"]


def _name(field: "Field[Any, Any]") -> str:
    return f"{field.model._meta.db_table}_{field.column}"


def _parameter(field: "Field[Any, Any]") -> str:
    """The parameter with its type; without its length, which the column checks: a cast would truncate the value."""
    type = str(field.db_type(connection)).partition("(")[0]
    return f"%({_name(field)})s::{type}"
