from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    TextField = models.CharField[str, str]
else:
    TextField = models.CharField  # cannot be subscripted at run time


class BytewiseCharField(TextField):
    """Text that is compared byte by byte, so that order and prefixes are the same on every database.

    PostgreSQL needs the collation C for it. SQLite compares bytes by default and has no such collation.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters: dict[str, Any] = super().db_parameters(connection)
        if connection.vendor == "postgresql":
            parameters["collation"] = "C"
        return parameters
