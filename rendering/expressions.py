"""Expressions of stacks and render URLs, such as `$w < 500 ? $w : image.width / 2`. The syntax is in expressions.lark.

They follow Symfony's ExpressionLanguage and PHP 8, with these differences: `$name` is a stack variable; an attribute
that does not exist is null; the text "false" counts as false, as URLs have booleans as text; texts with an exponent are
not numbers, so hashes don't compare as numbers; integers and decimals are one type for `===`; `in` compares like `==`;
`~` binds less than `+` and `-`, and a sign less than `**`. Patterns (`matches`), methods, indexes, hashes and bit
operators are refused.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Protocol, cast

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

from rendering.errors import InvalidExpression

MAX_LENGTH = 1_000  # characters of an expression
MAX_NODES = 200
MAX_DEPTH = 50  # nested operators, functions and lists
MAX_NUMBER = 1e15
MAX_TEXT = 10_000  # characters of a result
MAX_DIGITS = 10  # decimals of round()
CACHED_EXPRESSIONS = 500  # of up to 40 kB each

LOOKS_LIKE_EXPRESSION = re.compile(r"\$[A-Za-z_]|\b(image|options|request)\.")
INVALID_CHARACTER = re.compile("[\0\ud800-\udfff]")  # null characters, and halves of surrogate pairs
NUMERIC = re.compile(r"[ \t\r\n]*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))[ \t\r\n]*")
MAX_NUMERIC_LENGTH = 100  # characters of a text that is read as a number
ESCAPED = re.compile(r"\\(.)", re.DOTALL)
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
CONSTANTS = {"true": True, "TRUE": True, "false": False, "FALSE": False, "null": None, "NULL": None}

Scalar = str | int | float | bool | None
Value = Any  # a scalar, a tuple, a range or a mapping


class _Fault(Exception):
    """What is wrong, and where in the text. Nodes that know the position add it."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


@dataclass(frozen=True, slots=True)
class Scope:
    """The values that an expression can read."""

    names: Mapping[str, Any]
    variables: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CompiledExpression:
    """A parsed expression."""

    text: str
    names: frozenset[str]  # that it reads, such as `image.entropy`
    variables: frozenset[str]  # that it reads, without the dollar sign
    _tree: "Node"

    @property
    def roots(self) -> frozenset[str]:
        """The first parts of the names it reads, such as `image`."""
        return frozenset(name.partition(".")[0] for name in self.names)

    def evaluate(self, names: Mapping[str, Any], variables: Mapping[str, Any]) -> Scalar:
        """The result. `names` has the values of the roots; nested mappings are their attributes.

        Raises InvalidExpression if a root or variable is unknown, a value has the wrong type, or a limit is exceeded.
        """
        try:
            return _checked_result(self._tree.evaluate(Scope(names, variables)))
        except _Fault as fault:
            raise InvalidExpression(_located(self.text, fault)) from None


@lru_cache(maxsize=CACHED_EXPRESSIONS)
def compile(text: str) -> CompiledExpression:
    """The parsed expression. Raises InvalidExpression with the place of the error."""
    if len(text) > MAX_LENGTH:
        raise InvalidExpression(f"The expression has {len(text)} characters; the limit is {MAX_LENGTH}.")
    if invalid := INVALID_CHARACTER.search(text):
        raise InvalidExpression(_located(text, _Fault("the character is not valid.", invalid.start())))
    try:
        tree = cast(Node, _parser().parse(text))  # the transformer builds nodes
        nodes = list(_checked_nodes(tree))
    except UnexpectedInput as error:
        raise InvalidExpression(_located(text, _syntax_fault(error))) from None
    except _Fault as fault:
        raise InvalidExpression(_located(text, fault)) from None
    names = frozenset(".".join(node.path) for node in nodes if isinstance(node, Name))
    variables = frozenset(node.name for node in nodes if isinstance(node, Variable))
    return CompiledExpression(text, names, variables, tree)


@lru_cache(maxsize=CACHED_EXPRESSIONS)
def looks_like_expression(text: str) -> bool:
    """Return whether the text of a stack variable is an expression: it reads a value, and can be parsed."""
    if not LOOKS_LIKE_EXPRESSION.search(text):
        return False
    try:
        compile(text)
    except InvalidExpression:
        return False
    return True


def _checked_nodes(tree: "Node") -> Iterator["Node"]:
    """All nodes. Evaluation is recursive, so their depth is limited here, without recursion."""
    count, pending = 0, [(tree, 1)]
    while pending:
        node, depth = pending.pop()
        count += len(node.path) if isinstance(node, Name) else 1
        if count > MAX_NODES:
            raise _Fault(f"the expression has more than {MAX_NODES} parts; simplify it.", 0)
        if depth > MAX_DEPTH:
            raise _Fault(f"the expression is nested more than {MAX_DEPTH} levels deep; simplify it.", 0)
        yield node
        pending += [(child, depth + 1) for child in node.children]


def _located(text: str, fault: _Fault) -> str:
    position = fault.position or 0
    snippet = text[position : position + 20]
    where = f"column {position + 1}, {snippet!r}" if snippet else "the end"
    return f"Invalid expression at {where}: {fault.message}"


def _syntax_fault(error: UnexpectedInput) -> _Fault:
    expected = getattr(error, "expected", None) or getattr(error, "allowed", None) or set()
    at_end = isinstance(error, UnexpectedEOF) or (isinstance(error, UnexpectedToken) and error.token.type == "$END")
    position = MAX_LENGTH if at_end else error.pos_in_stream
    if isinstance(error, UnexpectedCharacters) and error.char == "=":
        return _Fault("unexpected '='. Compare with ==.", position)
    if "NUMBER" in expected:
        return _Fault("expected a value.", position)
    return _Fault(f"expected an operator{' or )' if 'RPAR' in expected else ''}.", position)


# Nodes. Operators of one level are one node, so that a long sum is not deep.


class Node(Protocol):
    @property
    def children(self) -> tuple["Node", ...]: ...

    def evaluate(self, scope: Scope) -> Value: ...


@dataclass(frozen=True, slots=True)
class Constant:
    value: Scalar

    @property
    def children(self) -> tuple[Node, ...]:
        return ()

    def evaluate(self, scope: Scope) -> Value:
        return self.value


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    position: int

    @property
    def children(self) -> tuple[Node, ...]:
        return ()

    def evaluate(self, scope: Scope) -> Value:
        if self.name not in scope.variables:
            raise _Fault(f"unknown variable ${self.name}.", self.position)
        return _known(scope.variables[self.name], self.position)


@dataclass(frozen=True, slots=True)
class Name:
    path: tuple[str, ...]
    position: int

    @property
    def children(self) -> tuple[Node, ...]:
        return ()

    def evaluate(self, scope: Scope) -> Value:
        root, *attributes = self.path
        if root not in scope.names:
            known = ", ".join(sorted(scope.names))
            message = f"unknown name {root!r}. Use {known}, a variable such as $name, or quotes around a text."
            raise _Fault(message, self.position)
        return _known(_attribute(scope.names[root], attributes), self.position)


@dataclass(frozen=True, slots=True)
class Array:
    children: tuple[Node, ...]

    def evaluate(self, scope: Scope) -> Value:
        return tuple(child.evaluate(scope) for child in self.children)


@dataclass(frozen=True, slots=True)
class Prefixed:
    operator: str
    part: Node
    position: int

    @property
    def children(self) -> tuple[Node, ...]:
        return (self.part,)

    def evaluate(self, scope: Scope) -> Value:
        return _applied(PREFIXES[self.operator], [self.part.evaluate(scope)], self.position)


@dataclass(frozen=True, slots=True)
class Chain:
    """Binary operators of the same level, from left to right."""

    first: Node
    rest: tuple[tuple[str, int, Node], ...]  # operator, its position, right side

    @property
    def children(self) -> tuple[Node, ...]:
        return (self.first, *(part for _, _, part in self.rest))

    def evaluate(self, scope: Scope) -> Value:
        value = self.first.evaluate(scope)
        for operator, position, part in self.rest:
            value = _applied(OPERATORS[operator], [value, part.evaluate(scope)], position)
        return value


@dataclass(frozen=True, slots=True)
class Logical:
    """Whether any or all parts are true; parts after the decisive one are not evaluated."""

    children: tuple[Node, ...]
    decisive: bool  # True for `or`, False for `and`

    def evaluate(self, scope: Scope) -> Value:
        for child in self.children:
            if _is_true(child.evaluate(scope)) is self.decisive:
                return self.decisive
        return not self.decisive


@dataclass(frozen=True, slots=True)
class FirstGiven:
    """The first part that is not null. A variable that is unknown counts as null here, as in PHP."""

    children: tuple[Node, ...]

    def evaluate(self, scope: Scope) -> Value:
        for child in self.children[:-1]:
            if isinstance(child, Variable) and child.name not in scope.variables:
                continue
            if (value := child.evaluate(scope)) is not None:
                return value
        return self.children[-1].evaluate(scope)


@dataclass(frozen=True, slots=True)
class Conditional:
    condition: Node
    then: Node | None  # None: the value of the condition
    otherwise: Node

    @property
    def children(self) -> tuple[Node, ...]:
        return (self.condition, *([self.then] if self.then else []), self.otherwise)

    def evaluate(self, scope: Scope) -> Value:
        value = self.condition.evaluate(scope)
        if not _is_true(value):
            return self.otherwise.evaluate(scope)
        return self.then.evaluate(scope) if self.then else value


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    children: tuple[Node, ...]
    position: int

    def evaluate(self, scope: Scope) -> Value:
        arguments = [child.evaluate(scope) for child in self.children]
        return _applied(FUNCTIONS[self.function].apply, arguments, self.position)


def _applied(operation: Callable[..., Value], operands: list[Value], position: int) -> Value:
    try:
        return operation(*operands)
    except _Fault as fault:
        raise _Fault(fault.message, position if fault.position is None else fault.position) from None


# Values. Conversions follow PHP 8.


def _known(value: Any, position: int) -> Value:
    """A value from outside, if it has a type that expressions can use."""
    if value is None or isinstance(value, bool | str | Mapping):
        return value
    if isinstance(value, int | float):
        return _applied(_checked_number, [value], position)
    if isinstance(value, list | tuple):
        return tuple(value)
    raise _Fault(f"a value of the type {type(value).__name__} can't be used.", position)


def _attribute(value: Any, path: list[str]) -> Any:
    """The attribute, None if it doesn't exist. Names may contain dots: `options.jpg.quality`."""
    if not path:
        return value
    for length in range(len(path), 0, -1):
        name = ".".join(path[:length])
        if isinstance(value, Mapping) and name in value:
            return _attribute(value[name], path[length:])
    return None


def _checked_number(value: float) -> int | float:
    """The number within limits; an integer if it has no decimals."""
    if not abs(value) <= MAX_NUMBER:  # NaN compares false
        raise _Fault(f"a number exceeds {MAX_NUMBER:g}.")
    return int(value) if value == int(value) else value


def _checked_result(value: Value) -> Scalar:
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise _Fault(f"the text has more than {MAX_TEXT} characters.")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise _Fault("the result must be a text, a number, a boolean or null.")


def _is_true(value: Value) -> bool:
    return bool(value) and value not in ("0", "false")


def _as_numeric(value: Value) -> int | float | None:
    """The number that a number or a text means; None for anything else."""
    if isinstance(value, str):
        match = NUMERIC.fullmatch(value) if len(value) <= MAX_NUMERIC_LENGTH else None
        return None if match is None else float(match[1]) if "." in match[1] else int(match[1])
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _number(value: Value) -> int | float:
    """The number for arithmetic: null is 0, true 1."""
    if value is None or isinstance(value, bool):
        return int(value or 0)
    if (number := _as_numeric(value)) is None:
        raise _Fault(f"{_quoted(value)} is not a number.")
    return _checked_number(number)


def _text(value: Value) -> str:
    """The text for concatenation: null and false are empty, true is 1."""
    if value is None or isinstance(value, bool):
        return "1" if value else ""
    if isinstance(value, str | int | float):
        return str(value)
    raise _Fault(f"{_quoted(value)} is not a text.")


def _quoted(value: Value) -> str:
    if isinstance(value, str):
        return repr(value if len(value) <= 20 else f"{value[:20]}…")
    return "a list" if isinstance(value, tuple | range) else "an object"


def _is_equal(left: Value, right: Value) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return _is_true(left) is _is_true(right)
    if left is None or right is None:
        return all(value is None or value in ("", 0) for value in (left, right))
    first, second = _as_numeric(left), _as_numeric(right)
    if first is not None and second is not None:
        return first == second
    return bool(left == right)


def _is_identical(left: Value, right: Value) -> bool:
    return _kind(left) == _kind(right) and bool(left == right)


def _kind(value: Value) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def _is_less(left: Value, right: Value) -> bool:
    """Texts that are not both numbers are compared by their characters, such as dates."""
    if isinstance(left, str) and isinstance(right, str) and None in (_as_numeric(left), _as_numeric(right)):
        return left < right
    return _number(left) < _number(right)


def _contains(values: Value, value: Value) -> bool:
    if isinstance(values, range):
        number = _as_numeric(value)
        return number is not None and number == math.floor(number) and int(number) in values
    if not isinstance(values, tuple):
        raise _Fault("the right side of `in` must be a list, such as [1, 2] or 1..9.")
    return any(_is_equal(value, one) for one in values)


def _interval(low: Value, high: Value) -> range:
    start, end = int(_number(low)), int(_number(high))
    return range(start, end + 1) if start <= end else range(start, end - 1, -1)


def _joined(left: Value, right: Value) -> str:
    joined: str = _text(left) + _text(right)
    _checked_result(joined)
    return joined


def _divided(left: Value, right: Value) -> int | float:
    if not (divisor := _number(right)):
        raise _Fault("division by zero.")
    return _checked_number(_number(left) / divisor)


def _remainder(left: Value, right: Value) -> int | float:
    """Of integers, with the sign of the left one."""
    if not (divisor := int(_number(right))):
        raise _Fault("division by zero.")
    return _checked_number(math.fmod(int(_number(left)), divisor))


def _power(left: Value, right: Value) -> int | float:
    try:
        return _checked_number(math.pow(_number(left), _number(right)))
    except OverflowError:
        raise _Fault(f"the power exceeds {MAX_NUMBER:g}.") from None
    except ValueError:
        raise _Fault("the power is not a real number.") from None


def _no_patterns(left: Value, right: Value) -> Value:
    raise _Fault("`matches` is not supported. Use `contains`, `starts with` or `ends with`.")


PREFIXES: dict[str, Callable[[Value], Value]] = {
    "-": lambda value: _checked_number(-_number(value)),
    "+": _number,
    "!": lambda value: not _is_true(value),
    "not": lambda value: not _is_true(value),
}
OPERATORS: dict[str, Callable[[Value, Value], Value]] = {
    "==": _is_equal,
    "!=": lambda left, right: not _is_equal(left, right),
    "===": _is_identical,
    "!==": lambda left, right: not _is_identical(left, right),
    "<": _is_less,
    ">": lambda left, right: _is_less(right, left),
    "<=": lambda left, right: not _is_less(right, left),
    ">=": lambda left, right: not _is_less(left, right),
    "in": lambda left, right: _contains(right, left),
    "not in": lambda left, right: not _contains(right, left),
    "contains": lambda left, right: _text(right) in _text(left),
    "starts with": lambda left, right: _text(left).startswith(_text(right)),
    "ends with": lambda left, right: _text(left).endswith(_text(right)),
    "matches": _no_patterns,
    "..": _interval,
    "~": _joined,
    "+": lambda left, right: _checked_number(_number(left) + _number(right)),
    "-": lambda left, right: _checked_number(_number(left) - _number(right)),
    "*": lambda left, right: _checked_number(_number(left) * _number(right)),
    "/": _divided,
    "%": _remainder,
    "**": _power,
}


@dataclass(frozen=True, slots=True)
class Function:
    """A function of numbers."""

    compute: Callable[..., float]
    minimum: int = 1
    maximum: int = 1  # arguments

    def apply(self, *arguments: Value) -> int | float:
        try:
            return _checked_number(self.compute(*map(_number, arguments)))
        except ValueError:
            raise _Fault("the function has no value here.") from None


def _rounded(value: float, decimals: float = 0) -> float:
    """Rounded half away from zero, as in PHP."""
    if abs(decimals) > MAX_DIGITS:
        raise _Fault(f"round() takes at most {MAX_DIGITS} decimals.")
    return float(Decimal(str(value)).quantize(Decimal((0, (1,), -int(decimals))), ROUND_HALF_UP))


FUNCTIONS = {
    "abs": Function(abs),
    "atan": Function(math.atan),
    "ceil": Function(math.ceil),
    "cos": Function(math.cos),
    "deg2rad": Function(math.radians),
    "floor": Function(math.floor),
    "max": Function(lambda *values: max(values), maximum=MAX_NODES),
    "min": Function(lambda *values: min(values), maximum=MAX_NODES),
    "rad2deg": Function(math.degrees),
    "round": Function(_rounded, maximum=2),
    "sin": Function(math.sin),
    "sqrt": Function(math.sqrt),
    "tan": Function(math.tan),
}


# Parsing. Nodes are built while parsing, without recursion.


def _chained(first: Node, *rest: Any) -> Node:
    """The operands with the operators between them; a single operand is itself."""
    if not rest:
        return first
    pairs = zip(rest[::2], rest[1::2], strict=True)
    return Chain(first, tuple((" ".join(token.split()), token.start_pos or 0, part) for token, part in pairs))


@v_args(inline=True)
class TreeBuilder(Transformer[Token, Node]):
    def chain(self, first: Node, *rest: Any) -> Node:
        return _chained(first, *rest)

    def conditional(self, condition: Node, then: Node, otherwise: Node | None = None) -> Node:
        return Conditional(condition, then, otherwise or Constant(None))

    def or_else(self, condition: Node, otherwise: Node) -> Node:
        return Conditional(condition, None, otherwise)

    def first_given(self, *parts: Node) -> Node:
        return FirstGiven(parts) if len(parts) > 1 else parts[0]

    def any(self, *parts: Node) -> Node:
        return Logical(parts, decisive=True) if len(parts) > 1 else parts[0]

    def all(self, *parts: Node) -> Node:
        return Logical(parts, decisive=False) if len(parts) > 1 else parts[0]

    def prefixed(self, operator: Token, part: Node) -> Node:
        return Prefixed(str(operator), part, operator.start_pos or 0)

    def number(self, token: Token) -> Node:
        text = token.replace("_", "")
        return Constant(_applied(_checked_number, [int(text) if text.isdigit() else float(text)], token.start_pos or 0))

    def string(self, token: Token) -> Node:
        return Constant(ESCAPED.sub(lambda match: ESCAPES.get(match[1], match[1]), token[1:-1]))

    def variable(self, token: Token) -> Node:
        return Variable(token[1:], token.start_pos or 0)

    def name(self, *tokens: Token) -> Node:
        if len(tokens) == 1 and tokens[0] in CONSTANTS:
            return Constant(CONSTANTS[tokens[0]])
        return Name(tuple(map(str, tokens)), tokens[0].start_pos or 0)

    def array(self, *items: Node | None) -> Node:
        return Array(tuple(item for item in items if item is not None))

    def call(self, name: Token, *arguments: Node | None) -> Node:
        given = tuple(argument for argument in arguments if argument is not None)
        position = name.start_pos or 0
        if not (function := FUNCTIONS.get(name)):
            raise _Fault(f"unknown function {str(name)!r}. Use one of {', '.join(FUNCTIONS)}.", position)
        if not function.minimum <= len(given) <= function.maximum:
            raise _Fault(f"{name}() can't have {len(given)} arguments.", position)
        return Call(str(name), given, position)


@cache
def _parser() -> Lark:
    """Built on first use, because that takes as long as a tenth of the start of a process."""
    return Lark(
        Path(__file__).with_suffix(".lark").read_text(),
        start="expression",
        parser="lalr",
        maybe_placeholders=True,
        transformer=TreeBuilder(),
    )
