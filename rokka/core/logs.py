"""Structured logs: JSON lines, or columns at a terminal. Every line of a request has its request id.

Lines of Django and of libraries, which use `logging`, have the same format.
"""

import logging.config
import re
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, TextIO, cast

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
    rf"{START}((?:sig|signature|key|api_?key|token|totp|password|secret)(?:=|%3[Dd]))[^&\s\"'\\]+", re.IGNORECASE
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


class StandardError:
    """Standard error. A line that can't be written, as to a file on a full disk, is lost; nothing fails."""

    def write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


COLUMNS: list[structlog.typing.Processor] = [
    structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    redact_processor,
]
JSON: list[structlog.typing.Processor] = [TRACEBACKS, redact_processor, structlog.processors.JSONRenderer()]


def formatter(*renderers: structlog.typing.Processor) -> logging.Formatter:
    """A formatter for the lines of libraries. Without renderers, it writes JSON, as deploy/granian.json says."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            *SHARED,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(allow={"status_code"}),
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *(renderers or JSON)],
    )


class NormalStartFilter(logging.Filter):
    """Drops warnings of libraries at a start that is as it should be."""

    MESSAGES = (
        "Configuration allows spawning up to",  # of granian, about threads: those of rokka mostly wait
        "DB Reset: Account for new",  # of beat, without a schedule of an earlier run
    )

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self.MESSAGES)


def log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log the exception that ends this process; Ctrl-C is not an error."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        structlog.get_logger().critical("process.failed", exc_info=(kind, error, trace))


def log_uncaught_in_thread(failed: threading.ExceptHookArgs) -> None:
    """Log the exception that ends a thread."""
    if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
        details = (failed.exc_type, failed.exc_value, failed.exc_traceback)
        structlog.get_logger().error("thread.failed", exc_info=details)


def configure(*, level: str, console: bool) -> None:
    """Write every line of this level or above to standard error: in columns for a console, else as JSON.

    In JSON, warnings of Python and the tracebacks of a process that ends are lines too.
    """
    renderers = COLUMNS if console else JSON
    if not console:
        logging.captureWarnings(True)
        sys.excepthook, threading.excepthook = log_uncaught, log_uncaught_in_thread
    structlog.configure(
        processors=[*SHARED, *renderers],
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, StandardError())),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": lambda: formatter(*renderers)}},
            "filters": {"normal_start": {"()": NormalStartFilter}},
            "handlers": {
                "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["normal_start"]}
            },
            "root": {"handlers": ["stderr"], "level": level},
            # Django's request logger repeats RequestLogMiddleware; only its errors add a traceback.
            "loggers": {
                "django.request": {"level": "ERROR"},
                "django.security.DisallowedHost": {"level": "CRITICAL"},  # it quotes the header
                "botocore": {"level": "WARNING"},
            },
        }
    )
