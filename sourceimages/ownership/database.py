"""What tells a database from all others, also from its own copies."""

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
    """Which database this is, and how far it has come.

    `build` changes when the tables are made anew, as a restore does. The ids are those that were given out last,
    whether their rows are still there or not; while a dump is being restored, they are those of an empty database.
    """

    identity: str
    build: str
    newest_file: int
    newest_image: int


def identify() -> DatabaseIdentity:
    return _of_postgresql() if connection.vendor == "postgresql" else _of_sqlite()


def _of_postgresql() -> DatabaseIdentity:
    """The cluster has an identifier of its own, which no dump carries along. Not everybody may ask for it."""
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
    where = connection.settings_dict
    server = cluster or f"{where['HOST'] or 'localhost'}:{where['PORT'] or 5432}"
    return DatabaseIdentity(f"postgresql:{server}:{oid}", str(build), newest_file or 0, newest_image or 0)


def _of_sqlite() -> DatabaseIdentity:
    """Where the file is, seen from local files, so that both may move together; beside a bucket, which file it is."""
    path, originals, inode = Path(connection.settings_dict["NAME"]), storage.originals(), 0
    with suppress(OSError):
        inode = path.stat().st_ino
    if isinstance(originals, storage.LocalStorage):
        identity = f"sqlite:{os.path.relpath(path.resolve(), Path(originals.location).resolve())}"
    else:
        identity = f"sqlite:{_machine()}:{inode}"
    (newest_file,) = _row("SELECT MAX(seq) FROM sqlite_sequence WHERE name = %s", [StoredFile._meta.db_table])
    (newest_image,) = _row("SELECT MAX(seq) FROM sqlite_sequence WHERE name = %s", [SourceImage._meta.db_table])
    return DatabaseIdentity(identity, str(inode), newest_file or 0, newest_image or 0)


def _machine() -> str:
    """The machine's own id, where it has one: containers have none, and get another host name each time."""
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return ""


def _row(query: str, values: list[str]) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        row: tuple[Any, ...] = cursor.fetchone()
    return row
