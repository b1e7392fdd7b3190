"""Parsers of request bodies (JSON under any content type) and of query parameters."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import IO, Any
from uuid import UUID

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from rokka.core.errors import InvalidInput, TooLarge

MAX_JSON_BYTES = 1_000_000
TRUE, FALSE = {"true", "1"}, {"false", "0", ""}


def parse_flag(name: str, text: str) -> bool:
    """Parse a boolean query parameter, in the spellings of JavaScript, PHP and Python. Raises InvalidInput."""
    if text.lower() in TRUE | FALSE:
        return text.lower() in TRUE
    raise InvalidInput(f"{name}: must be true or false.")


def parse_uuid(name: str, text: str, *, error: Exception | None = None) -> UUID:
    """Parse a UUID. Raises `error` if it is malformed, by default InvalidInput naming the parameter."""
    try:
        return UUID(text)
    except ValueError:
        raise (error or InvalidInput(f"{name}: must be a UUID.")) from None


class JSONOnlyNegotiation(BaseContentNegotiation):
    """Responds in JSON whatever `Accept` says, and uses the view's parser whatever the request's content type says."""

    def select_parser(self, request: Request, parsers: list[BaseParser]) -> BaseParser:  # type: ignore[override]
        return parsers[0]

    def select_renderer(  # type: ignore[override]
        self, request: Request, renderers: list[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class LenientJSONParser(BaseParser):
    """Parses JSON under any content type, because some clients send it as text. An empty body is None."""

    media_type = "*/*"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        body = stream.read(MAX_JSON_BYTES + 1)
        if len(body) > MAX_JSON_BYTES:
            raise TooLarge(f"The body exceeds the limit of {MAX_JSON_BYTES:,} bytes.")
        return parse_json(body, "The body") if body.strip() else None


def json_or_text(request: Request) -> Any:
    """Read a request body as JSON or, if that fails, as plain text, which some clients send for a JSON string.

    An empty body is an empty string. Call this before `request.data` is accessed. Raises InvalidInput, TooLarge.
    """
    body = request._request.body
    if len(body) > MAX_JSON_BYTES:
        raise TooLarge(f"The body exceeds the limit of {MAX_JSON_BYTES:,} bytes.")
    try:
        return parse_json(body, "The body")
    except RepeatedName:
        raise
    except InvalidInput:
        try:
            return body.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput("The body must be JSON or UTF-8 text.") from error


def parse_json(text: str | bytes, label: str) -> Any:
    """Parse strict JSON: no NaN, no excessive nesting, no name twice in an object.

    Raises InvalidInput naming the label, or RepeatedName.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_names)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{label} is not valid JSON.") from error


class RepeatedName(InvalidInput):
    """An object in JSON has a name twice: json.loads would ignore the first value, which could be a restriction."""


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise RepeatedName(f"{name[:80]!r} is twice in an object of the JSON. Send it once.")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
