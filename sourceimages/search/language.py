"""The query language: `q` as a whole, and values of single filters. The grammar is in grammar.lark."""

from pathlib import Path
from typing import Any as Anything

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

from rokka.errors import Invalid
from sourceimages.search.values import All, Any, Begins, Between, Condition, Equals, Expression, Near, Not, Value

LONGEST = 10_000  # characters of q
MOST = 50  # conditions
DEEPEST = 20  # levels of brackets
FREE_TEXT = "name_text"  # what a word without a field is looked for in

_parser = Lark(
    Path(__file__).with_name("grammar.lark").read_text(),
    start=["expression", "range", "near"],
    parser="lalr",
    lexer="contextual",
    maybe_placeholders=True,
)
EXPECTED = {  # what the names of the grammar mean to people
    "FIELD": "a field and a colon",
    "WORD": "a word",
    "QUOTED": "a text in quotes",
    "PREFIX": "a beginning and *",
    "NEAR": "a place and a distance",
    "BOUND": "a value",
    "OPEN": "[ or {",
    "CLOSE": "] or }",
    "LPAR": "(",
    "RPAR": ")",
    "_SEPARATOR": "a comma or TO",
    "$END": "the end",
}


def parse(text: str) -> Expression:
    """What `q` asks for. Raises Invalid with the position of what it does not understand."""
    if len(text) > LONGEST:
        raise Invalid(f"q: it has {len(text)} characters; the limit is {LONGEST}.")
    if deepest(text) > DEEPEST:
        raise Invalid(f"q: brackets are nested deeper than {DEEPEST} levels.")
    expression: Expression = _parsed("q", text, "expression")
    if (count := _conditions(expression)) > MOST:
        raise Invalid(f"q: it has {count} conditions; the limit is {MOST}.")
    return expression


def value(name: str, text: str) -> Value:
    """The value of a filter: a range, a beginning with *, a place with a distance, or all of it as it is."""
    if text[:1] in ("[", "{") and text[-1:] in ("]", "}") and len(text) > 1:
        found: Value = _parsed(name, text, "range")
        return found
    if "~" in text and text.rpartition("~")[2].rstrip("km").replace(".", "").isdigit():
        return _parsed(name, text, "near")  # type: ignore[no-any-return]
    if text.endswith("*") and len(text) > 1:
        return Begins(text[:-1])
    return Equals(unquoted(text))


def unquoted(text: str) -> str:
    return str(text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text)


def deepest(text: str) -> int:
    depth = most = 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        most = max(most, depth)
    return most


def _parsed(name: str, text: str, start: str) -> Anything:
    try:
        return Builder().transform(_parser.parse(text, start=start))
    except UnexpectedInput as error:
        raise Invalid(f"{name}: {_reason(error, text)}") from None


def _reason(error: UnexpectedInput, text: str) -> str:
    names = error.accepts if isinstance(error, UnexpectedToken) else getattr(error, "allowed", None)
    names = names or getattr(error, "expected", None) or set()
    wanted = sorted({EXPECTED.get(name, name) for name in names})
    at_end = isinstance(error, UnexpectedEOF) or (isinstance(error, UnexpectedToken) and error.token.type == "$END")
    where = "at the end" if at_end else f"at position {error.column}, {text[error.column - 1 :][:20]!r}"
    if isinstance(error, UnexpectedCharacters | UnexpectedToken | UnexpectedEOF) and wanted:
        return f"{where}: expected {', '.join(wanted)}."
    return f"{where}: this is not understood."


def _conditions(expression: Expression) -> int:
    match expression:
        case Condition():
            return 1
        case Not(part):
            return _conditions(part)
        case All(parts) | Any(parts):
            return sum(map(_conditions, parts))


@v_args(inline=True)
class Builder(Transformer[Token, Anything]):
    """Trees of the grammar as conditions."""

    def any(self, *parts: Expression) -> Expression:
        return Any(parts) if len(parts) > 1 else parts[0]

    def all(self, *parts: Expression) -> Expression:
        return All(parts) if len(parts) > 1 else parts[0]

    def negated(self, part: Expression) -> Expression:
        return Not(part)

    def condition(self, field: Token, value: Value) -> Expression:
        return Condition(str(field[:-1]), value)

    def word(self, text: Token) -> Expression:
        return Condition(FREE_TEXT, Equals(unquoted(text)))

    def text(self, text: Token) -> Value:
        return Equals(unquoted(text))

    def prefix(self, text: Token) -> Value:
        return Begins(unquoted(text[:-1]))

    def near(self, text: Token) -> Value:
        place, _, distance = text.partition("~")
        latitude, _, longitude = place.partition(",")
        factor = 1000 if distance.endswith("km") else 1
        try:
            return Near(float(latitude), float(longitude), float(distance.rstrip("km")) * factor)
        except ValueError:
            raise Invalid(f"{text!r} is no place with a distance, like 47.38,8.52~10km.") from None

    def range(self, low_bracket: Token, low: str | None, high: str | None, high_bracket: Token) -> Value:
        return Between(low, high, with_low=low_bracket == "[", with_high=high_bracket == "]")

    def bound(self, text: Token) -> str:
        return unquoted(text)
