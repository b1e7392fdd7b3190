"""Reading what requests hold: JSON under any content type, and flags in queries."""

import json
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from rokka.core.errors import Invalid, TooLarge

MAX_JSON = 1_000_000  # bytes
TRUE, FALSE = {"true", "1"}, {"false", "0", ""}


def boolean(name: str, text: str) -> bool:
    """A flag in a query, as JavaScript, PHP and Python write it."""
    if text.lower() in TRUE | FALSE:
        return text.lower() in TRUE
    raise Invalid(f"{name}: it must be true or false.")


class OnlyJSON(BaseContentNegotiation):
    """Answers are JSON, whatever `Accept` says; what a request holds is up to its parser, whatever it calls itself."""

    def select_parser(self, request: Request, parsers: list[BaseParser]) -> BaseParser:  # type: ignore[override]
        return parsers[0]

    def select_renderer(  # type: ignore[override]
        self, request: Request, renderers: list[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class AnyJSONParser(BaseParser):
    """JSON under any content type, as some clients send it as text; an empty body is None."""

    media_type = "*/*"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        body = stream.read(MAX_JSON + 1)
        if len(body) > MAX_JSON:
            raise TooLarge(f"The body has more than {MAX_JSON:,} bytes.")
        return loads(body, "The body") if body.strip() else None


def json_or_text(request: Request) -> Any:
    """The body of a request: JSON, or what some clients send for a JSON string, the text itself; empty, the empty text.

    Call it before anything asks for `request.data`. Raises Invalid, TooLarge.
    """
    body = request._request.body
    if len(body) > MAX_JSON:
        raise TooLarge(f"The body has more than {MAX_JSON:,} bytes.")
    try:
        return loads(body, "The body")
    except Invalid:
        try:
            return body.decode()
        except UnicodeDecodeError as error:
            raise Invalid("The body is neither JSON nor text in UTF-8.") from error


def loads(text: str | bytes, label: str) -> Any:
    """JSON as the standard says: no NaN, no endless nesting. Raises Invalid with the label."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{label} is not valid JSON.") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
