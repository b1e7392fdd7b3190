"""Parsing of environment variables. An invalid value raises ImproperlyConfigured naming the variable."""

import ipaddress
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

Value = TypeVar("Value")

SECRET_VARIABLES = {
    "SECRET_KEY",
    "TOKEN_SECRETS",
    "DATABASE_URL",
    "REDIS_URL",
    "STORAGE_URL",
}  # values that are or contain secrets


class InvalidValue(ValueError):
    """The value is invalid. The message must not contain the value, which may be secret."""


def env(name: str, read: Callable[[str], Value], default: Value | None = None) -> Value:
    """Return an environment variable parsed by `read`. Empty counts as missing; without a default it is required."""
    text = os.environ.get(name, "").strip()
    if not text:
        if default is None:
            raise ImproperlyConfigured(f"{name} must be set when ROKKA_MODE is production.")
        return default
    try:
        return read(text)
    except (ValueError, KeyError) as error:
        value, reason = repr(text), str(error)
        if name in SECRET_VARIABLES:  # other messages may quote the value
            value, reason = "…", str(error) if isinstance(error, InvalidValue) else "malformed."
        raise ImproperlyConfigured(f"Invalid {name}={value}: {reason}") from None


def choice(*options: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in options:
            raise InvalidValue(f"must be one of {', '.join(options)}.")
        return text

    return read


def boolean(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[choice("true", "false", "1", "0")(text.lower())]


def positive_int(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise InvalidValue("must be a positive integer.")
    return int(text)


def non_negative_int(text: str) -> int:
    return 0 if text == "0" else positive_int(text)


EMPTY_LIST: list[str] = []


def comma_list(text: str) -> list[str]:
    return [word for part in text.split(",") if (word := part.strip())]


def networks(text: str) -> list[str]:
    return [str(ipaddress.ip_network(word, strict=False)) for word in comma_list(text)]


def secret(text: str) -> str:
    if len(text) < 32:
        raise InvalidValue("must have at least 32 characters.")
    return text


SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
}


def database_config(url: str) -> dict[str, Any]:
    choice("sqlite", "postgres", "postgresql")(urlsplit(url).scheme)
    config: dict[str, Any] = environ.Env.db_url_config(url) | {"CONN_MAX_AGE": 300, "CONN_HEALTH_CHECKS": True}
    if urlsplit(url).scheme == "sqlite":
        return {**config, "ENGINE": "rokka.core.sqlite3", "OPTIONS": SQLITE_OPTIONS}
    return config


def storage_config(url: str, *, temp_dir: Path) -> dict[str, Any]:
    """Parse `file:///folder?hardlinks=…` or `s3://key:secret@host:port/bucket?region=…&secure=…` (URL-quoted)."""
    parts, query = urlsplit(url), dict(parse_qsl(urlsplit(url).query))
    known = ["hardlinks"] if parts.scheme == "file" else ["region", "secure"]
    if not set(query) <= set(known):
        raise InvalidValue(f"unknown parameter. Use {' and '.join(known)}.")
    if parts.scheme == "file" and parts.path and not parts.netloc:
        options = {"location": unquote(parts.path), "links": boolean(query.get("hardlinks", "true"))}
        return {"BACKEND": "sourceimages.storage.LocalStorage", "OPTIONS": options}
    bucket = parts.path.strip("/")
    if parts.scheme != "s3" or not (parts.hostname and parts.username and parts.password and bucket):
        raise InvalidValue("must be file:///folder or s3://key:secret@host/bucket.")
    scheme = "https" if boolean(query.get("secure", "true")) else "http"
    return {
        "BACKEND": "sourceimages.storage.S3Storage",
        "OPTIONS": {
            "access_key": unquote(parts.username),
            "secret_key": unquote(parts.password),
            "endpoint_url": f"{scheme}://{parts.netloc.rpartition('@')[2]}",
            "bucket_name": bucket,
            "region_name": query.get("region", "us-east-1"),
            "temp_dir": temp_dir,
        },
    }


def check_separate_folders(
    storage: dict[str, Any], *, database: dict[str, Any], data_dir: Path, others: Sequence[Path]
) -> None:
    """Raise ImproperlyConfigured if the storage folder contains other data, or is inside one of `others`.

    Garbage collection deletes unknown files in the storage, which would include the database and secrets.
    """
    if "location" not in storage["OPTIONS"]:
        return
    folder = Path(storage["OPTIONS"]["location"]).resolve()
    inside = {"DATA_DIR": data_dir.resolve()}
    if database["ENGINE"] == "rokka.core.sqlite3" and ":memory:" not in str(database["NAME"]):
        inside["the database of DATABASE_URL"] = Path(database["NAME"]).resolve()
    for name, path in inside.items():
        if path.is_relative_to(folder):
            raise ImproperlyConfigured(
                f"STORAGE_URL: the folder {folder} contains {name} ({path}). "
                f"Use a separate folder, such as {data_dir / 'files'}."
            )
    for other in others:
        if folder.is_relative_to(other.resolve()):
            raise ImproperlyConfigured(
                f"STORAGE_URL: the folder {folder} is in {other.resolve()}, where files are deleted automatically. "
                f"Use a separate folder, such as {data_dir / 'files'}."
            )


def redis_url(text: str) -> str:
    choice("redis", "rediss", "unix")(urlsplit(text).scheme)
    return text
