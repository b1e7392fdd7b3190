import json
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.lookups import In

if TYPE_CHECKING:
    TextField = models.CharField[str, str]
    JSONTextField = models.TextField[Any, Any]
else:
    TextField = models.CharField  # cannot be subscripted at run time
    JSONTextField = models.TextField


class BytewiseCharField(TextField):
    """Text that is compared byte by byte, so that order and prefixes are the same on every database.

    PostgreSQL needs the collation C for it. SQLite compares bytes by default and has no such collation.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters: dict[str, Any] = super().db_parameters(connection)
        if connection.vendor == "postgresql":
            parameters["collation"] = "C"
        return parameters


class OrderedJSONField(JSONTextField):
    """JSON that keeps the order of keys. PostgreSQL's jsonb, which JSONField uses, sorts them."""

    def from_db_value(self, value: str | None, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        return None if value is None else json.loads(value)

    def get_prep_value(self, value: Any) -> str:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@models.ForeignKey.register_lookup
@models.Field.register_lookup
class OneOf(In):
    """`field__one_of=[…]` is `field__in=[…]` for thousands of values.

    On PostgreSQL they are one parameter, which is JSON. With a parameter for each of them, building the statement takes
    several times as long as executing it. The planner doesn't see how many they are, and looks each of them up in an
    index. On SQLite it is the same as `in`.
    """

    lookup_name = "one_of"

    def get_prep_lookup(self) -> Any:
        return list(self.rhs)  # of the type of the column: converting thousands of values takes time too

    def as_postgresql(self, compiler: Any, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        field = getattr(self.lhs.output_field, "target_field", self.lhs.output_field)  # of a foreign key
        type = str(field.db_type(connection)).partition("(")[0]
        lhs, parameters = self.process_lhs(compiler, connection)
        values = f"SELECT CAST(value AS {type}) FROM json_array_elements_text(%s) AS one(value)"  # noqa: S608 (a type)
        return f"{lhs} = ANY(ARRAY({values}))", [*parameters, json.dumps(self.rhs, default=str)]


class Unseen(models.Func):
    """A value that PostgreSQL's planner doesn't see, so that it plans for an average one.

    It knows from statistics how many rows have a value. For a value that is newer than the statistics, such as the ID
    of an organization that was empty a minute ago, it assumes one row at most, and reads all that have it by any index.
    """

    template = "(SELECT %(expressions)s)"

    def __init__(self, value: Any, field: "models.Field[Any, Any]") -> None:
        super().__init__(models.Value(value, output_field=field), output_field=field)
