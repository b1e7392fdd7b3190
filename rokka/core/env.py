"""Parsing of environment variables. An invalid value ends the process with a sentence naming the variable."""

import ipaddress
import os
import re
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import environ

Value = TypeVar("Value")

MIN_SECRET_LENGTH = 32  # characters
SECRET_VARIABLES = {
    "SECRET_KEY",
    "SECRET_KEY_FALLBACKS",
    "TOKEN_SECRETS",
    "DATABASE_URL",
    "REDIS_URL",
    "STORAGE_URL",
    "RENDER_CACHE_URL",
}  # values that are or contain secrets; each can also be read from the file that {name}_FILE names


class InvalidValue(ValueError):
    """The value is invalid. The message must not contain the value, which may be secret."""


def refuse_to_start(reason: str) -> NoReturn:
    """End the process with only the reason on standard error and exit code 78 (EX_CONFIG of sysexits.h).

    Every process reads the settings first. Django, Celery and granian catch exceptions and log them with a traceback,
    but let SystemExit through.
    """
    sys.stderr.write(f"{reason}\n")
    raise SystemExit(os.EX_CONFIG)


def is_set(name: str) -> bool:
    """Whether the variable has a value, in the environment or in a file."""
    return any(os.environ.get(form, "").strip() for form in (name, f"{name}_FILE"))


def env(name: str, read: Callable[[str], Value], default: Value | None = None) -> Value:
    """Return an environment variable parsed by `read`. Empty counts as missing; without a default it is required.

    Secrets can be in a file instead, which a second variable names: SECRET_KEY_FILE.
    """
    text = os.environ.get(name, "").strip()
    file = os.environ.get(f"{name}_FILE", "").strip() if name in SECRET_VARIABLES else ""
    if not text and not file:
        if default is None:
            names = f"{name} or {name}_FILE" if name in SECRET_VARIABLES else name
            refuse_to_start(f"{names} must be set when ROKKA_MODE is production.")
        return default
    if text and file:
        refuse_to_start(f"{name} and {name}_FILE are both set. Set only one of them.")
    shown = f"{name}_FILE={file}" if file else f"{name}={'…' if name in SECRET_VARIABLES else repr(text)}"
    try:
        return read(_content(f"{name}_FILE", file) if file else text)
    except (ValueError, KeyError) as error:
        # Messages of libraries may quote the value.
        safe = name not in SECRET_VARIABLES or isinstance(error, InvalidValue)
        refuse_to_start(f"Invalid {shown}: {error if safe else 'malformed.'}")


def _content(variable: str, path: str) -> str:
    """The text of a file without the spaces and line breaks around it."""
    if not path.startswith("/"):  # not quoted, as it may be the secret itself
        refuse_to_start(f"Invalid {variable}=…: must be the absolute path of a file.")
    try:
        text = Path(path).read_text().strip()
    except OSError as error:
        refuse_to_start(f"Invalid {variable}={path}: the file can't be read: {error.strerror}.")
    if not text:
        raise InvalidValue("the file is empty.")
    return text


SERVERS = {
    "DATABASE_URL": ("postgres", "postgresql"),
    "REDIS_URL": ("redis", "rediss", "unix"),
    "STORAGE_URL": ("s3",),
    "RENDER_CACHE_URL": ("s3",),
}  # schemes of addresses of servers


def check_mode_is_explicit() -> None:
    """Refuse to start with addresses of servers but without ROKKA_MODE.

    Standalone mode is the default, and allows sign-up: a production without the variable would be open.
    """
    if env("ROKKA_MODE", str, ""):
        return
    for name, schemes in SERVERS.items():
        if env(name, str, "").partition(":")[0] in schemes:
            refuse_to_start(
                f"{name} is the address of a server, but ROKKA_MODE is not set. Set ROKKA_MODE=production, or "
                "ROKKA_MODE=standalone, in which anyone can sign up unless SIGNUP_ENABLED=false."
            )


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
    words = [word for part in text.split(",") if (word := part.strip())]
    if not words:  # " , " is more likely a mistake of a script than a request for the default
        raise InvalidValue("must have at least one value between the commas.")
    return words


def networks(text: str) -> list[str]:
    return [str(ipaddress.ip_network(word, strict=False)) for word in comma_list(text)]


def secret(text: str) -> str:
    if len(text) < MIN_SECRET_LENGTH:
        raise InvalidValue(f"must have at least {MIN_SECRET_LENGTH} characters.")
    return text


def secrets(text: str) -> list[str]:
    return [secret(word) for word in comma_list(text)]


SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
}


def check_ports(url: str) -> None:
    """Raise InvalidValue unless the port of each host is missing or from 1 to 65535. Hosts are separated by commas."""
    location = url.partition("//")[2].rpartition("@")[2]  # a password may contain unquoted characters
    for host in re.split("[/?]", location)[0].split(","):
        _, colon, port = host.rpartition("]")[2].partition(":")
        if colon:
            check_port(port)


def check_port(text: str) -> None:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise InvalidValue("the port must be a number from 1 to 65535.")


PREPARE_THRESHOLD = 5  # how often a statement is executed in a connection before psycopg prepares it


def database_config(url: str) -> dict[str, Any]:
    """Parse `sqlite:////file` or `postgres://user:password@host:port/name`."""
    parts = urlsplit(url)
    choice("sqlite", "postgres", "postgresql")(parts.scheme)
    if parts.scheme == "sqlite" and (parts.netloc or not parts.path.strip("/")):
        raise InvalidValue("must be sqlite:////folder/file, with four slashes, or with three a path from here.")
    check_ports(url)
    config: dict[str, Any] = environ.Env.db_url_config(url) | {"CONN_MAX_AGE": 300, "CONN_HEALTH_CHECKS": True}
    if not config["NAME"]:
        raise InvalidValue("must end with the name of the database: postgres://user:password@host/name.")
    if parts.scheme == "sqlite":
        return {**config, "ENGINE": "rokka.core.sqlite3", "OPTIONS": SQLITE_OPTIONS}
    options = config.get("OPTIONS", {}) | {"prepare_threshold": PREPARE_THRESHOLD}
    return {**config, "ENGINE": "rokka.core.postgresql", "OPTIONS": options}


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
    if "/" in bucket:
        raise InvalidValue("must end with the bucket: a path below it is not supported. Use a bucket for rokka alone.")
    check_ports(url)
    scheme = "https" if boolean(query.get("secure", "true")) else "http"
    return {
        "BACKEND": "sourceimages.storage.s3.S3Storage",
        "OPTIONS": {
            "access_key": unquote(parts.username),
            "secret_key": unquote(parts.password),
            "endpoint_url": f"{scheme}://{parts.netloc.rpartition('@')[2]}",
            "bucket_name": bucket,
            "region_name": query.get("region", "us-east-1"),
            "temp_dir": temp_dir,
        },
    }


def render_cache_config(url: str, *, temp_dir: Path) -> dict[str, Any]:
    """Parse `file:///folder` or the URL of an S3 bucket, as for originals."""
    config = storage_config(url, temp_dir=temp_dir)
    if "location" in config["OPTIONS"]:
        return {
            "BACKEND": "rendering.cache.local.LocalRenderCache",
            "OPTIONS": {"location": config["OPTIONS"]["location"]},
        }
    return config | {"BACKEND": "rendering.cache.s3.S3RenderCache"}


def local_folders(config: dict[str, Any]) -> list[Path]:
    """The folder of the storage or render cache, if it is a local one."""
    location = config["OPTIONS"].get("location")
    return [Path(location)] if location else []


LABEL = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
DOMAIN = rf"({LABEL}\.)*{LABEL}"


def domain_name(text: str) -> str:
    """A domain that can have subdomains, with a port if there is one: `images.example.org`, `localhost:8000`."""
    name, colon, port = text.lower().partition(":")
    name = name.strip(".")
    if not re.fullmatch(DOMAIN, name):
        raise InvalidValue("must be a domain name without scheme or path, such as images.example.org.")
    if name.rpartition(".")[2].isdigit():
        raise InvalidValue("must be a domain name, not an address: hosts of organizations are subdomains of it.")
    if colon:
        check_port(port)
    return name + colon + port


def hosts(text: str) -> list[str]:
    """Patterns of Django's ALLOWED_HOSTS: names, addresses, `.example.org` with all subdomains, `*`."""
    for word in comma_list(text):
        address = word[1:-1] if word.startswith("[") and word.endswith("]") else ""
        if not (word == "*" or re.fullmatch(rf"\.?{DOMAIN}", word.lower()) or _is_ipv6(address)):
            raise InvalidValue(
                "must be host names without scheme, port or path, such as images.example.org, "
                "or .example.org for the domain and all subdomains."
            )
    return comma_list(text)


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def check_folder(name: str, folder: Path) -> None:
    """Refuse to start if the folder is a file, or is missing and can't be created.

    It is not created here: a storage on a disk that is not mounted has to stay missing.
    """
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not existing.is_dir():
        refuse_to_start(f"{name}: {existing} is not a folder. Remove it, or use another folder than {folder}.")
    if existing != folder and not os.access(existing, os.W_OK | os.X_OK):
        refuse_to_start(f"{name}: {folder} can't be created by user {os.geteuid()}, who can't write to {existing}.")


def make_database_folder(database: dict[str, Any]) -> None:
    """Create the folder of an SQLite database, which SQLite does not do. Refuse to start if that is impossible."""
    if database["ENGINE"] == "rokka.core.sqlite3":
        folder = Path(database["NAME"]).absolute().parent
        check_folder("DATABASE_URL", folder)
        folder.mkdir(parents=True, exist_ok=True)


def redis_prefix(text: str) -> str:
    """Check the prefix of keys in Redis."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", text):
        raise InvalidValue("must be 1 to 40 letters, digits, dots, hyphens and underscores.")
    return text


def default_redis_prefix(database: dict[str, Any], secret_keys: Sequence[str]) -> str:
    """A prefix that all processes of an installation have in common, but no two installations.

    Copies of an installation have another database, and databases of the same address another secret key. The oldest of
    the secret keys counts, so that a rotation does not change the prefix as long as it lasts.
    """
    identity = [secret_keys[-1], *(str(database[part]) for part in ("ENGINE", "HOST", "PORT", "NAME"))]
    return f"rokka-{sha256(chr(0).join(identity).encode()).hexdigest()[:10]}"


def check_separate_folders(
    storage: dict[str, Any], *, database: dict[str, Any], data_dir: Path, others: Sequence[Path]
) -> None:
    """Refuse to start if the storage folder contains other data, or is inside one of `others`.

    Garbage collection deletes unknown files in the storage, which would include the database and secrets.
    """
    if "location" not in storage["OPTIONS"]:
        return
    folder = Path(storage["OPTIONS"]["location"]).resolve()
    inside = {"DATA_DIR": data_dir.resolve()}
    if database["ENGINE"] == "rokka.core.sqlite3":
        inside["the database of DATABASE_URL"] = Path(database["NAME"]).resolve()
    for name, path in inside.items():
        if path.is_relative_to(folder):
            refuse_to_start(
                f"STORAGE_URL: the folder {folder} contains {name} ({path}). "
                f"Use a separate folder, such as {data_dir / 'files'}."
            )
    for other in others:
        if folder.is_relative_to(other.resolve()):
            refuse_to_start(
                f"STORAGE_URL: the folder {folder} is in {other.resolve()}, where files are deleted automatically. "
                f"Use a separate folder, such as {data_dir / 'files'}."
            )


def redis_url(text: str) -> str:
    """Check `redis://host:port/number`, `rediss://…` or `unix:///socket`."""
    parts = urlsplit(text)
    choice("redis", "rediss", "unix")(parts.scheme)
    if parts.scheme == "unix":
        if not parts.path.strip("/"):
            raise InvalidValue("must be unix:///socket?db=number.")
    elif not parts.hostname or not (parts.path.strip("/") or "0").isdigit():
        raise InvalidValue("must be redis://host:port/number.")
    else:
        check_ports(text)
    return text
