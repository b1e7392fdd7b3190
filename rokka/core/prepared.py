"""Queries whose SQL is compiled once. Compiling a query of Django's ORM takes several times as long as running it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import Model, QuerySet
from django.db.models.base import ModelState

M = TypeVar("M", bound=Model)
Parameter = str | UUID

Compiled = tuple[str, list[Any], list[tuple[int, list[Any], Any]]]


class PreparedQuery:
    """A query of which only parameters differ between calls.

    `build` gets a value for each parameter, which it must only use as a value in filters, and returns a queryset with
    `values_list`. `types` are the types of the parameters.
    """

    def __init__(self, build: Callable[..., QuerySet[Any, Any]], *types: type[Parameter]) -> None:
        self._build = build
        self._placeholders = [_placeholder(position, type) for position, type in enumerate(types)]
        self._compiled: Compiled | None = None

    def first(self, *values: Parameter) -> Sequence[Any] | None:
        """The values of the first row, or None."""
        sql, parameters, converters = self._compiled or self._compile()
        bound = list(map(_bound, values))
        with prepared_cursor() as cursor:
            cursor.execute(sql, [bound[one.position] if isinstance(one, _Position) else one for one in parameters])
            found = cursor.fetchone()
        if found is None:
            return None
        row = list(found)
        for position, functions, expression in converters:
            for convert in functions:
                row[position] = convert(row[position], expression, connection)
        return row

    def _compile(self) -> Compiled:
        queryset = self._build(*self._placeholders)[:1]
        compiler = queryset.query.get_compiler(connection=connection)
        sql, compiled_with = compiler.as_sql()
        positions = {_bound(value): _Position(position) for position, value in enumerate(self._placeholders)}
        parameters = [positions.get(one, one) if isinstance(one, Parameter) else one for one in compiled_with]
        by_position = compiler.get_converters([column[0] for column in compiler.select])
        converters = [(position, functions, expression) for position, (functions, expression) in by_position.items()]
        self._compiled = sql, parameters, converters
        return self._compiled


class _Position:
    """The place of a parameter in the list of a statement's parameters."""

    def __init__(self, position: int) -> None:
        self.position = position


def _placeholder(position: int, type: type[Parameter]) -> Parameter:
    """A value to compile a query with, which no other parameter of the query has."""
    return UUID(int=position) if type is UUID else f"parameter {position}"


def _bound(value: Parameter) -> Parameter:
    """The value as a parameter of a statement."""
    return value.hex if isinstance(value, UUID) and not connection.features.has_native_uuid_field else value


def prepared_cursor() -> Any:
    """A cursor for statements that are executed often: the database plans them once for each connection, if it can."""
    return getattr(connection, "prepared_cursor", connection.cursor)()


# --- Rows -------------------------------------------------------------------------------------------------------------


def column_names(model: type[Model], prefix: str = "", *, without: Iterable[str] = ()) -> list[str]:
    """The columns of a model, for `values_list`; `prefix` is the lookup of a joined model, such as `file__`."""
    return [prefix + field.attname for field in model._meta.concrete_fields if field.attname not in without]


def next_instance(model: type[M], values: Iterator[Any], *, without: Iterable[str] = ()) -> M:
    """The row with the next values, which are those of `column_names`."""
    names = column_names(model, without=without)
    return stored_instance(model, dict(zip(names, islice(values, len(names)), strict=True)))


def stored_instance(model: type[M], values: dict[str, Any]) -> M:
    """A row with these values of its columns; columns without a value are loaded when they are read.

    It equals one of `Model.from_db`, of which checks and signals for each value take most of the time.
    """
    one = model.__new__(model)
    one.__dict__.update(values)
    one._state = ModelState()
    one._state.adding, one._state.db = False, connection.alias
    return one
