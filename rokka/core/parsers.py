"""Reading what requests hold: JSON under any content type, and flags in queries."""

import json
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from rokka.core.errors import InvalidInput, TooLarge

MAX_JSON_BYTES = 1_000_000  # bytes
TRUE, FALSE = {"true", "1"}, {"false", "0", ""}


def parse_flag(name: str, text: str) -> bool:
    """A flag in a query, as JavaScript, PHP and Python write it."""
    if text.lower() in TRUE | FALSE:
        return text.lower() in TRUE
    raise InvalidInput(f"{name}: it must be true or false.")


class JSONOnlyNegotiation(BaseContentNegotiation):
    """Answers are JSON, whatever `Accept` says; what a request holds is up to its parser, whatever it calls itself."""

    def select_parser(self, request: Request, parsers: list[BaseParser]) -> BaseParser:  # type: ignore[override]
        return parsers[0]

    def select_renderer(  # type: ignore[override]
        self, request: Request, renderers: list[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class LenientJSONParser(BaseParser):
    """JSON under any content type, as some clients send it as text; an empty body is None."""

    media_type = "*/*"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        body = stream.read(MAX_JSON_BYTES + 1)
        if len(body) > MAX_JSON_BYTES:
            raise TooLarge(f"The body has more than {MAX_JSON_BYTES:,} bytes.")
        return parse_json(body, "The body") if body.strip() else None


def json_or_text(request: Request) -> Any:
    """The body of a request: JSON, or what some clients send for a JSON string, the text itself; empty, the empty text.

    Call it before anything asks for `request.data`. Raises Invalid, TooLarge.
    """
    body = request._request.body
    if len(body) > MAX_JSON_BYTES:
        raise TooLarge(f"The body has more than {MAX_JSON_BYTES:,} bytes.")
    try:
        return parse_json(body, "The body")
    except InvalidInput:
        try:
            return body.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput("The body is neither JSON nor text in UTF-8.") from error


def parse_json(text: str | bytes, label: str) -> Any:
    """JSON as the standard says: no NaN, no endless nesting. Raises Invalid with the label."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{label} is not valid JSON.") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
