"""The content of a stack (operations, options, expressions, variables), read from JSON in all forms that clients send.

rokka.io's clients differ: short or long names of the keys, `[]` for an empty object, texts for numbers, unknown keys.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any, TypeVar

from rendering.definitions import STORED_ONLY, cast_operation, cast_stack_options, is_storable, operation_option
from rendering.definitions import stack_option_defaults as option_defaults
from rendering.errors import InvalidExpression, InvalidOperation, InvalidStack, InvalidStackOption, OperationUnavailable
from rendering.limits import MAX_OPERATIONS

MAX_EXPRESSIONS = 100
MAX_VARIABLES = 100
MAX_BYTES = 50_000  # of the content as JSON
MAX_DESCRIPTION_LENGTH = 2_000  # characters
MAX_VARIABLE_NAME_LENGTH = 100
MAX_NUMBER = 10**15
MAX_DEPTH = 20
BESIDE_SOURCE_FILE = ("source_file", "protected", "content_disposition")
NOT_OVERRIDABLE = (*STORED_ONLY, "basestack")

Json = Any
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StackContent:
    """What a stack contains: valid, cast, and without values that are not set."""

    operations: list[dict[str, Any]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    expressions: list[dict[str, Any]] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=dict)  # in the order in which they are evaluated
    description: str = ""

    @property
    def protected(self) -> bool:
        return bool(self.options.get("protected", False))

    @property
    def basestack(self) -> str | None:
        return self.options.get("basestack")

    @property
    def digest(self) -> str:
        """SHA-256 of everything but the description, in hex. Equal digests mean equal renders."""
        content = self.as_json()
        del content["description"]
        return hashlib.sha256(_to_json(content)).hexdigest()

    @property
    def size(self) -> int:
        """The number of bytes as JSON."""
        return len(_to_json(self.as_json()))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def parse_content(body: Json) -> StackContent:
    """Read the content of a stack from the body of a request.

    Raises InvalidStack, InvalidOperation, InvalidStackOption, InvalidExpression, OperationUnavailable. The message
    names the place.
    """
    if isinstance(body, list):
        body = {"operations": body}
    if not isinstance(body, Mapping):
        raise InvalidStack('The body must be a JSON object such as {"operations": […]}, or a list of operations.')
    _check_values(body)
    content = StackContent(
        operations=_each("operations", _part(body, "operations", _list), _operation, MAX_OPERATIONS),
        options=cast_stack_options(_part(body, "options", _object), from_url=False),
        expressions=_each("expressions", _part(body, "expressions", _list), _stack_expression, MAX_EXPRESSIONS),
        variables=_variables(_part(body, "variables", _object)),
        description=_description(body.get("description")),
    )
    if content.size > MAX_BYTES:
        raise InvalidStack(f"The stack is too large: its JSON must have at most {MAX_BYTES:,} bytes.")
    _check_source_file(content)
    return content


def _part(body: Mapping[str, Json], name: str, read: Callable[[str, Json], T]) -> T:
    """A part under its short name or, if that is missing, under its long one, such as `stack_operations`."""
    value = body.get(name)
    return read(name, body.get(f"stack_{name}") if value is None else value)


def _object(place: str, value: Json) -> Mapping[str, Json]:
    if value in (None, "", []):
        return {}
    if not isinstance(value, Mapping):
        raise InvalidStack(f"{place}: must be an object.")
    return value


def _list(place: str, value: Json) -> list[Json]:
    if value in (None, "", {}):
        return []
    if not isinstance(value, list):
        raise InvalidStack(f"{place}: must be a list.")
    return value


def _each(place: str, values: list[Json], read: Callable[[Json], dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """Read each entry. Errors name its position, counted from 0."""
    if len(values) > limit:
        raise InvalidStack(f"{place}: a stack can have at most {limit}, not {len(values)}.")
    entries = []
    for position, value in enumerate(values):
        with _located(f"{place}[{position}]"):
            entries.append(read(value))
    return entries


@contextmanager
def _located(place: str) -> Iterator[None]:
    """Prefix the messages of errors with the place."""
    try:
        yield
    except (InvalidStack, InvalidOperation, InvalidStackOption, InvalidExpression, OperationUnavailable) as error:
        raise type(error)(f"{place}: {error.message}") from error


# --- Operations -------------------------------------------------------------------------------------------------------


def _operation(value: Json) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise InvalidOperation('must be an object with a name, such as {"name": "resize", "options": {"width": 200}}.')
    name = value["name"]
    expressions = _operation_expressions(name, value.get("expressions"))
    options = cast_operation(name, _object("options", value.get("options")), expressions=expressions)
    return {"name": name, "options": options} | ({"expressions": expressions} if expressions else {})


def _operation_expressions(name: str, value: Json) -> dict[str, Any]:
    """The expressions by option. rokka.io's documentation gives those of svgdynamic as a list, which is `changes`."""
    if name == "svgdynamic" and isinstance(value, list) and value:
        value = {"changes": value}
    compiled = {}
    for key, expression in _object("expressions", value).items():
        option = operation_option(name, key).name
        with _located(f"expressions.{option}"):
            if expression not in (None, "", []):
                compiled[option] = _option_expression(option, expression)
    return compiled


def _option_expression(option: str, value: Json) -> Any:
    """One expression; an object of them for variables of a secondary stack; a list for changes of an SVG."""
    if option == "secondary_stack_variables" and isinstance(value, Mapping):
        return {_variable_name(name): _expression(text) for name, text in value.items()}
    if option == "changes" and isinstance(value, list):
        return [_change(change) for change in value]
    return _expression(value)


def _change(value: Json) -> dict[str, str]:
    if not isinstance(value, Mapping) or not {"id", "attr", "value"} <= value.keys():
        raise InvalidOperation("must be a list of objects with id, attr and value.")
    if not isinstance(value["id"], str) or not isinstance(value["attr"], str):
        raise InvalidOperation("id and attr must be strings; only value is an expression.")
    return {"id": value["id"], "attr": value["attr"], "value": _expression(value["value"])}


def _expression(value: Json) -> str:
    """The text of an expression that can be parsed. Numbers and booleans are expressions too."""
    text = json.dumps(value) if isinstance(value, bool | int | float) else value
    if not isinstance(text, str):
        raise InvalidExpression("must be a string.")
    from rendering import expressions

    expressions.compile(text)
    return text


# --- Stack expressions and variables ----------------------------------------------------------------------------------


def _stack_expression(value: Json) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidStack("must be an object with expression and overrides.")
    given = _object("overrides", value.get("overrides"))
    options = cast_stack_options(_object("overrides.options", given.get("options")), from_url=False)
    if fixed := [name for name in NOT_OVERRIDABLE if name in options]:
        raise InvalidStackOption(f"overrides.options: {fixed[0]} can't depend on an expression. Set it in options.")
    overrides: dict[str, Any] = {}
    if "options" in given:
        overrides["options"] = options
    if "variables" in given:
        overrides["variables"] = _variables(_object("overrides.variables", given["variables"]))
    return {"expression": _expression(value.get("expression")), "overrides": overrides}


def _variables(values: Mapping[str, Json]) -> dict[str, Any]:
    """Variables in the given order. Their texts are not parsed: a text that is not an expression is a literal."""
    if len(values) > MAX_VARIABLES:
        raise InvalidStack(f"variables: a stack can have at most {MAX_VARIABLES}, not {len(values)}.")
    if wrong := [name for name, value in values.items() if isinstance(value, Mapping | list)]:
        raise InvalidStack(f"variables: {wrong[0][:80]!r} must be a string, a number, true, false or null.")
    return {_variable_name(name): value for name, value in values.items()}


def _variable_name(name: str) -> str:
    if not (name.isascii() and name.replace("_", "a").isalnum() and len(name) <= MAX_VARIABLE_NAME_LENGTH):
        raise InvalidStack(f"variables: invalid name {name[:80]!r}. Use letters, digits and underscores.")
    return name


# --- The whole --------------------------------------------------------------------------------------------------------


def _description(value: Json) -> str:
    text = "" if value is None else value
    if not isinstance(text, str) or len(text) > MAX_DESCRIPTION_LENGTH:
        raise InvalidStack(f"description: must be a string of at most {MAX_DESCRIPTION_LENGTH:,} characters.")
    return text


def _check_values(value: Json, depth: int = 0) -> None:
    """Raises InvalidStack for texts and numbers that a database or another client can't represent."""
    if depth > MAX_DEPTH:
        raise InvalidStack(f"The body must not be nested deeper than {MAX_DEPTH} levels.")
    match value:
        case str() if not is_storable(value):
            raise InvalidStack("Texts must not contain NUL characters or unpaired surrogates.")
        case int() | float() if abs(value) > MAX_NUMBER:
            raise InvalidStack(f"Numbers must be between -{MAX_NUMBER:.0e} and {MAX_NUMBER:.0e}.")
        case Mapping() | list():
            for one in chain(value, value.values() if isinstance(value, Mapping) else ()):
                _check_values(one, depth + 1)


def _check_source_file(content: StackContent) -> None:
    """Raises InvalidStack if a stack that delivers original files does something else too.

    Options with their default values are accepted, because the dashboard sends them.
    """
    if not content.options.get("source_file"):
        return
    if content.operations or content.expressions:
        raise InvalidStack("A stack with source_file delivers original files. It can't have operations or expressions.")
    defaults = option_defaults()
    others = {name: value for name, value in content.options.items() if name not in BESIDE_SOURCE_FILE}
    if wrong := [name for name, value in others.items() if value and value != defaults.get(name)]:
        raise InvalidStack(
            f"A stack with source_file can't have the option {wrong[0]}. Only protected and content_disposition apply."
        )


def _to_json(value: Json) -> bytes:
    """Compact JSON that keeps the order of keys, which is the order in which variables are evaluated."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
