"""Structured logs: JSON lines, or columns at a terminal. Every line of a request has its request id.

Lines of Django and of libraries, which use `logging`, have the same format.
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
REDACTED = "…"
# The start of a word, also after a percent-encoded or an escaped character.
START = r"(?:(?<![0-9A-Za-z])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt]))"
# Where secrets are, by rule: fields of log lines that are named after one, parameters of URLs, and strings of the form
# of a credential. Names, hashes, ids and paths don't have these forms, however long they are.
SECRET_FIELDS = re.compile(r"authorization|cookie|password|secret|token|api[_-]?key|signing_key|csrf", re.IGNORECASE)
SECRET_PARAMETERS = re.compile(
    rf"{START}((?:sig|signature|key|api_?key|token|password|secret)(?:=|%3[Dd]))[^&\s\"'\\]+", re.IGNORECASE
)
CREDENTIALS = re.compile(
    # A token: three parts of base64url, of which the first is a JSON object (RFC 7519).
    r"eyJ[\w-]+(?:\.[\w-]+)+"
    # An API key: the id of a user in hex, and 32 letters and digits, whatever follows them.
    rf"|{START}[0-9a-f]{{32}}(?=[0-9A-Za-z]*[A-Z])[0-9A-Za-z]{{32,}}"
    # Imported API keys (32 or 64) and signing keys (43): letters of both cases and digits, of exactly this length.
    rf"|{START}(?=[0-9A-Za-z]*[a-z])(?=[0-9A-Za-z]*[A-Z])[0-9A-Za-z]{{32}}(?:[0-9A-Za-z]{{11}}|[0-9A-Za-z]{{32}})?"
    r"(?![0-9A-Za-z])"
)


def redact(text: str) -> str:
    """The text with API keys, tokens, signing keys and signatures replaced by REDACTED."""
    return CREDENTIALS.sub(REDACTED, SECRET_PARAMETERS.sub(rf"\1{REDACTED}", text))


def redact_processor(logger: Any, method: str, line: Any) -> Any:
    """Redact every line, including those of libraries, before JSON escapes characters and so divides credentials."""
    match line:
        case None | bool() | int() | float():
            return line
        case Mapping():
            return {redact(str(name)): _redact_field(str(name), value) for name, value in line.items()}
        case list() | tuple():
            return [redact_processor(logger, method, value) for value in line]
    return redact(str(line))


def _redact_field(name: str, value: Any) -> Any:
    return REDACTED if SECRET_FIELDS.search(name) else redact_processor(None, "", value)


# Without the values of local variables, which include keys and passwords.
TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=30)
)


def configure(*, level: str, console: bool) -> None:
    """Write every line of this level or above to standard error, in columns for a console."""
    renderers: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback), redact_processor]
        if console
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
                    "foreign_pre_chain": [
                        *SHARED,
                        structlog.stdlib.add_logger_name,
                        structlog.stdlib.ExtraAdder(allow={"status_code"}),
                    ],
                    "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": level},
            # Django's request logger repeats RequestLogMiddleware; only its errors add a traceback.
            "loggers": {
                "django.request": {"level": "ERROR"},
                "django.security.DisallowedHost": {"level": "CRITICAL"},  # it quotes the header
                "botocore": {"level": "WARNING"},
            },
        }
    )
