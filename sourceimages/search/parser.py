"""The query language: `q`, and values of filters. The grammar is in grammar.lark.

`q` is also used for search boxes: if it is not a valid query, it is searched as words.
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken, VisitError

from rokka.core.errors import InvalidInput
from sourceimages.metadata.stemming import is_unspaced, words
from sourceimages.search.ast import And, Condition, Equals, Expression, Not, Or, Phrase, Prefix, Range, Value, Within

MAX_QUERY_LENGTH = 10_000  # characters of `q`
MAX_CONDITIONS = 50  # conditions
MAX_DEPTH = 20  # nested parentheses
MAX_WORDS = 50  # searched if `q` is not a query
FREE_TEXT = "any_text"  # the field searched by words without a field
# `and`, `or` and `not` are operators only in queries with a field: "do not enter" is three words.
WITH_FIELD = re.compile(r"[A-Za-z0-9_]:\S")
PIECE = re.compile(r"""[(\[{]*(?P<minus>-(?=[^\s-]))?(?:"(?P<quoted>[^"]*)"|(?P<word>[^\s"]+))""")
OPERATORS = {"AND", "OR", "NOT"}


@cache
def _parser(*, any_case: bool = False) -> Lark:
    """The parser, whose operators are in upper case or in any. Built on first use, because that takes a while."""
    grammar = Path(__file__).with_name("grammar.lark").read_text()
    return Lark(
        grammar.replace("|$)/", "|$)/i") if any_case else grammar,
        start=["expression", "range", "near"],
        parser="lalr",
        lexer="contextual",
        maybe_placeholders=True,
        propagate_positions=True,
    )


EXPECTED = {  # user-readable names of terminals
    "FIELD": "a field and a colon",
    "WORD": "a word",
    "_AND": "AND",
    "_OR": "OR",
    "_NOT": "NOT",
    "_MINUS": "-",
    "QUOTED": "a quoted text",
    "PREFIX": "a prefix and *",
    "NEAR": "a location and a distance",
    "BOUND": "a value",
    "OPEN": "[ or {",
    "CLOSE": "] or }",
    "LPAR": "(",
    "RPAR": ")",
    "_SEPARATOR": "a comma or TO",
    "$END": "the end",
}


class TooComplex(InvalidInput):
    """A query that exceeds a limit, also when searched as words."""


def parse(text: str) -> Expression | None:
    """The expression for `q`; None if it has no words.

    Raises InvalidInput with the position of a syntax error, TooComplex.
    """
    if len(text) > MAX_QUERY_LENGTH:
        raise TooComplex(f"q: the query has {len(text)} characters; the limit is {MAX_QUERY_LENGTH}.")
    if nesting_depth(text) > MAX_DEPTH:
        raise TooComplex(f"q: parentheses are nested too deeply; the limit is {MAX_DEPTH} levels.")
    parser = _parser(any_case=bool(WITH_FIELD.search(text)))
    expression: Expression | None = _parsed("q", text, "expression", parser)
    found = list(conditions(expression)) if expression else []
    if len(found) > MAX_CONDITIONS:
        only_words = all(one.field == FREE_TEXT for one in found)
        raise (InvalidInput if only_words else TooComplex)(
            f"q: the query has {len(found)} conditions; the limit is {MAX_CONDITIONS}."
        )
    return expression


def as_words(text: str) -> tuple[Expression | None, bool]:
    """`q` as words, all of which must match, and whether all were used; at most MAX_WORDS are.

    A hyphen excludes the word after it, double quotes make a phrase, and an asterisk after a word makes it a prefix.
    """
    parts: list[Expression] = []
    remaining = MAX_WORDS
    for piece in PIECE.finditer(text):
        sought = piece["word"] if piece["quoted"] is None else piece["quoted"]
        if sought in OPERATORS or not (found := words(sought)):
            continue
        weight = sum(len(word) if is_unspaced(word) else 1 for word in found)
        if weight > remaining:
            if not parts and not piece["minus"]:
                parts.append(_shortened(found))
            return (And(tuple(parts)) if parts else None), False
        remaining -= weight
        begins = piece["quoted"] is None and sought.endswith("*")
        wanted = Condition(FREE_TEXT, Prefix(sought) if begins else Phrase(sought))
        parts.append(Not(wanted) if piece["minus"] else wanted)
    return (And(tuple(parts)) if parts else None), True


def _shortened(found: list[str]) -> Expression:
    """The words that fit within MAX_WORDS, as one phrase."""
    selected, remaining = [], MAX_WORDS
    for word in found:
        selected.append(word[:remaining] if is_unspaced(word) else word)
        remaining -= len(selected[-1]) if is_unspaced(word) else 1
        if remaining <= 0:
            break
    return Condition(FREE_TEXT, Phrase(" ".join(selected)))


def value(name: str, text: str) -> Value:
    """The value of a filter: a range, a prefix with *, a location with a distance, or an exact value."""
    if text[:1] in ("[", "{") and text[-1:] in ("]", "}") and len(text) > 1:
        found: Value = _parsed(name, text, "range")
        return found
    if "~" in text and text.rpartition("~")[2].rstrip("km").replace(".", "").isdigit():
        return _parsed(name, text, "near")  # type: ignore[no-any-return]
    if text.endswith("*") and len(text) > 1:
        return Prefix(text[:-1])
    return Equals(unquoted(text))


def unquoted(text: str) -> str:
    return str(text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text)


def nesting_depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        deepest = max(deepest, depth)
    return deepest


def _parsed(name: str, text: str, start: str, parser: Lark | None = None) -> Any:
    try:
        return TreeBuilder().transform((parser or _parser()).parse(text, start=start))
    except UnexpectedInput as error:
        raise InvalidInput(f"{name}: {_reason(error, text)}") from None
    except VisitError as error:
        raise error.orig_exc from None


def _reason(error: UnexpectedInput, text: str) -> str:
    names = error.accepts if isinstance(error, UnexpectedToken) else getattr(error, "allowed", None)
    names = names or getattr(error, "expected", None) or set()
    wanted = sorted({EXPECTED.get(name, name) for name in names})
    at_end = isinstance(error, UnexpectedEOF) or (isinstance(error, UnexpectedToken) and error.token.type == "$END")
    at = error.pos_in_stream or 0
    where = "at the end" if at_end else f"at position {at + 1}, {text[at:][:20]!r}"
    if isinstance(error, UnexpectedCharacters | UnexpectedToken | UnexpectedEOF) and wanted:
        return f"{where}: expected {', '.join(wanted)}."
    return f"{where}: unexpected input."


def conditions(expression: Expression) -> Iterable[Condition]:
    match expression:
        case Condition():
            yield expression
        case Not(part):
            yield from conditions(part)
        case And(parts) | Or(parts):
            for part in parts:
                yield from conditions(part)


@v_args(inline=True)
class TreeBuilder(Transformer[Token, Any]):
    """Builds the syntax tree. None stands for parts without words, which are omitted: `harbor & lake`."""

    def any(self, *parts: Expression | None) -> Expression | None:
        return self._joined(Or, parts)

    def all(self, *parts: Expression | None) -> Expression | None:
        return self._joined(And, parts)

    def _joined(self, join: type[And | Or], parts: Iterable[Expression | None]) -> Expression | None:
        found = tuple(part for part in parts if part is not None)
        return join(found) if len(found) > 1 else (found[0] if found else None)

    def negated(self, part: Expression | None) -> Expression | None:
        return None if part is None else Not(part)

    def condition(self, field: Token, value: Value) -> Expression:
        return Condition(str(field[:-1]), value, (field.start_pos or 0) + 1)

    def word(self, text: Token) -> Expression | None:
        return self._sought(Phrase(unquoted(text)), text)

    def beginning(self, text: Token) -> Expression | None:
        return self._sought(Prefix(unquoted(text[:-1])), text)

    def _sought(self, value: Phrase | Prefix, text: Token) -> Expression | None:
        return Condition(FREE_TEXT, value, (text.start_pos or 0) + 1) if words(value.text) else None

    def text(self, text: Token) -> Value:
        return Equals(unquoted(text))

    def prefix(self, text: Token) -> Value:
        return Prefix(unquoted(text[:-1]))

    def near(self, text: Token) -> Value:
        location, _, distance = text.partition("~")
        latitude, _, longitude = location.partition(",")
        factor = 1000 if distance.endswith("km") else 1
        try:
            return Within(float(latitude), float(longitude), float(distance.rstrip("km")) * factor)
        except ValueError:
            raise InvalidInput(
                f"{text!r} is not a valid location and distance. Use a value like 47.38,8.52~10km."
            ) from None

    def range(self, low_bracket: Token, low: str | None, high: str | None, high_bracket: Token) -> Value:
        return Range(low, high, include_low=low_bracket == "[", include_high=high_bracket == "]")

    def bound(self, text: Token) -> str:
        return unquoted(text)
