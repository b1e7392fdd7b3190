"""The identity of a database, which differs even from that of its copies."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import connection

from sourceimages import storage
from sourceimages.models import Instance, SourceImage, StoredFile


@dataclass(frozen=True, slots=True)
class DatabaseIdentity:
    """Which database this is, and the latest IDs that it has assigned.

    `build` changes when the tables are created again, as by a restore. The IDs count deleted rows too; while a dump is
    being restored, they are those of an empty database.
    """

    name: str  # such as "postgresql:7312…:16384"
    build: str
    newest_file: int
    newest_image: int


def identify() -> DatabaseIdentity:
    return _of_postgresql() if connection.vendor == "postgresql" else _of_sqlite()


def _of_postgresql() -> DatabaseIdentity:
    """By the identifier of the cluster, which no dump includes, or by its address if the user has no access to it."""
    tables = [model._meta.db_table for model in (Instance, StoredFile, SourceImage)]
    cluster, oid, build, newest_file, newest_image = _row(
        """
        SELECT CASE WHEN has_function_privilege('pg_control_system()', 'execute')
                    THEN (SELECT system_identifier::text FROM pg_control_system()) END,
               (SELECT oid FROM pg_database WHERE datname = current_database()),
               to_regclass(%s)::oid,
               pg_sequence_last_value(pg_get_serial_sequence(%s, 'id')::regclass),
               pg_sequence_last_value(pg_get_serial_sequence(%s, 'id')::regclass)
        """,
        tables,
    )
    config = connection.settings_dict
    server = cluster or f"{config['HOST'] or 'localhost'}:{config['PORT'] or 5432}"
    return DatabaseIdentity(f"postgresql:{server}:{oid}", str(build), newest_file or 0, newest_image or 0)


def _of_sqlite() -> DatabaseIdentity:
    """By the path of the file relative to a local storage, so that both can be moved together; else by its inode."""
    path, originals, inode = Path(connection.settings_dict["NAME"]), storage.originals(), 0
    with suppress(OSError):
        inode = path.stat().st_ino
    if isinstance(originals, storage.LocalStorage):
        name = f"sqlite:{os.path.relpath(path.resolve(), Path(originals.location).resolve())}"
    else:
        name = f"sqlite:{_machine_id()}:{inode}"
    (newest_file,) = _row("SELECT MAX(seq) FROM sqlite_sequence WHERE name = %s", [StoredFile._meta.db_table])
    (newest_image,) = _row("SELECT MAX(seq) FROM sqlite_sequence WHERE name = %s", [SourceImage._meta.db_table])
    return DatabaseIdentity(name, str(inode), newest_file or 0, newest_image or 0)


def _machine_id() -> str:
    """The machine ID, or "" in a container, which has none; its host name changes with each start."""
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return ""


def _row(query: str, values: list[str]) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        row: tuple[Any, ...] = cursor.fetchone()
    return row
