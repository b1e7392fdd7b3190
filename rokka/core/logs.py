"""Log lines as data: JSON for machines, columns for a person at a terminal; every line carries its request id.

Our own lines are written directly; those of Django and the libraries, which come through `logging`, look the same.
"""

import logging.config
import re
import sys
from collections.abc import Mapping
from typing import Any

import structlog

SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
# Whatever looks like a key, a token or a signature: long runs without structure, as no hash, path or name has them.
TOKEN_LIKE = re.compile(r"[A-Za-z0-9_-]{32,}")
SIGNATURE_PARAM = re.compile(r"((?:sig|key)(?:=|%3[Dd]))[^&\s\"'\\]+", re.IGNORECASE)
HEX_OR_UUID = re.compile(r"[0-9a-f-]+\Z")  # hashes, ids, keys of files
REDACTED = "…"


def redact(text: str) -> str:
    """The text with keys, tokens and signatures hidden. Hashes, ids and keys of files are lower-case hex, and stay."""
    return TOKEN_LIKE.sub(_hidden_if_secret, SIGNATURE_PARAM.sub(rf"\1{REDACTED}", text))


def looks_secret(text: str) -> bool:
    """32 or more random letters and digits have a digit or many capitals; a name in a traceback has neither."""
    if len(text) < 32 or HEX_OR_UUID.match(text):
        return False
    return any(map(str.isdigit, text)) or sum(map(str.isupper, text)) >= 8


def _hidden_if_secret(run: re.Match[str]) -> str:
    return REDACTED if looks_secret(run[0]) else run[0]


def redact_processor(logger: Any, method: str, line: Any) -> Any:
    """The last word on every line, whoever wrote it; before JSON escapes characters and so divides what it holds."""
    match line:
        case None | bool() | int() | float():
            return line
        case Mapping():
            return {redact(str(name)): redact_processor(logger, method, value) for name, value in line.items()}
        case list() | tuple():
            return [redact_processor(logger, method, value) for value in line]
    return redact(str(line))


# Without the values of local variables, among which are keys and passwords.
TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=30)
)


def configure(*, level: str, for_people: bool) -> None:
    """Send every line of this level or above to standard error."""
    renderers: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback), redact_processor]
        if for_people
        else [TRACEBACKS, redact_processor, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*SHARED, *renderers],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "line": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": [*SHARED, structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder()],
                    "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": level},
            # Django's request logger repeats what RequestLog says in its own line; only its errors add a traceback.
            "loggers": {"django.request": {"level": "ERROR"}, "botocore": {"level": "WARNING"}},
        }
    )
