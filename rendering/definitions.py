"""Validation of operations and stack options against the catalogue, which is also what the API lists.

Values come from stored stacks, from URLs, where all of them are text, and from expressions. They are cast to the type
in the catalogue: an int, float, bool, str or list. None and "" mean that an option is not set.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlencode

from rendering.catalogue import OPERATIONS, STACK_OPTIONS
from rendering.errors import InvalidOperation, InvalidStackOption, OperationUnavailable

UNAVAILABLE = {
    "primitive": "This server can't draw primitives.",
    "face": "This server has no face detection to place images on.",
}
# Other spellings in rokka.io's documentation and in URLs.
OPERATION_OPTION_ALIASES = {
    ("rotate", "background_colour"): "background_color",
    ("composition", "secondary_stack_variabels"): "secondary_stack_variables",
}
STACK_OPTION_ALIASES = {"af": "autoformat", "jpeg.quality": "jpg.quality"}
STORED_ONLY = ("protected", "source_file", "remote_basepath", "remote_fullurl_allow", "remote_fullurl_whitelist")
SIZES = ("width", "height")  # 0 means not set if they are optional
HOST_PATTERNS = "remote_fullurl_whitelist"

NUMBER = re.compile(r"[+-]?(\d{1,15}(\.\d{0,15})?|\.\d{1,15})(e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)
TRUE, FALSE = ("true", "1"), ("false", "0")
MAX_TEXT_LENGTH = 10_000  # characters
MAX_LIST_LENGTH = 100
SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Option:
    """An option of an operation or of a stack, as in the catalogue."""

    name: str
    type: str
    description: str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    items: Mapping[str, Any] = field(default_factory=dict)

    @property
    def free_text(self) -> bool:
        return self.type == "string" and not self.values and self.pattern is None

    @property
    def rule(self) -> str:
        """What a value has to be, to end a message."""
        match self.type:
            case "boolean":
                return "must be true or false"
            case "integer" | "number":
                kind = "an integer" if self.type == "integer" else "a number"
                low, high = self.minimum, self.maximum
                return f"must be {kind}" + ("" if low is None or high is None else f" from {low:g} to {high:g}")
            case "array" if "properties" in self.items:
                return f"must be a list of objects with {', '.join(self.items['properties'])}"
            case "array":
                return "must be a list of strings"
        if self.values:
            return f"must be one of {', '.join(self.values)}"
        return f"must match {self.pattern.pattern}" if self.pattern else "must be a string"


def _option(name: str, definition: Mapping[str, Any]) -> Option:
    """Read one property of the catalogue."""
    return Option(
        name,
        definition["type"],
        definition["description"],
        definition.get("default"),
        definition.get("minimum"),
        definition.get("maximum"),
        tuple(definition.get("values", ())),
        re.compile(definition["pattern"]) if "pattern" in definition else None,
        definition.get("items", {}),
    )


def _options(definitions: Mapping[str, Any]) -> dict[str, Option]:
    return {name: _option(name, definition) for name, definition in definitions.items()}


OPERATION_OPTIONS = {name: _options(operation["properties"]) for name, operation in OPERATIONS.items()}
OPTIONS = _options(STACK_OPTIONS["properties"])


# --- Operations -------------------------------------------------------------------------------------------------------


def operation_defaults(name: str) -> dict[str, Any]:
    """Return the default values of an operation's options; options without a default are omitted."""
    return _defaults(operation_options(name))


def operation_options(name: str) -> dict[str, Option]:
    """Return the options of the operation by name. Raises InvalidOperation, OperationUnavailable."""
    if name not in OPERATION_OPTIONS:
        raise InvalidOperation(f"Unknown operation {name[:80]!r}. {suggestion(name, OPERATION_OPTIONS)}")
    if name in UNAVAILABLE:
        raise OperationUnavailable(f"{name}: {UNAVAILABLE[name]} Remove the operation.")
    return OPERATION_OPTIONS[name]


def operation_option(operation: str, name: str) -> Option:
    """Return the option of this name or alias. Raises InvalidOperation, OperationUnavailable."""
    options = operation_options(operation)
    known = OPERATION_OPTION_ALIASES.get((operation, name), name)
    if known not in options:
        raise InvalidOperation(f"{operation}: unknown option {name[:80]!r}. {suggestion(name, options)}")
    return options[known]


def cast_operation(
    name: str, options: Mapping[str, Any], *, expressions: Iterable[str] = (), from_url: bool = False
) -> dict[str, Any]:
    """Validate the options of an operation and return those that are set, cast. Defaults are not filled in.

    `expressions` names the options that have an expression: they count as set. From a URL, numbers are rounded if
    they must be integers, and required options may be missing, because a URL can override single options.
    Raises InvalidOperation, OperationUnavailable.
    """
    operation_options(name)  # raises even without options
    given = {operation_option(name, key).name for key in expressions}
    cast = _cast_operation_options(name, options, lenient=from_url)
    if not from_url:
        _check_required(name, cast.keys() | given)
    return cast


def resolve_operation(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options for rendering: cast, with defaults. `options` are evaluated, without expressions.

    Options that are not set and have no default are omitted. A disabled operation is not checked further: the result
    is {"enabled": False}. Raises InvalidOperation, OperationUnavailable.
    """
    known = operation_options(name)
    if "enabled" in options and _cast_option(name, known["enabled"], options["enabled"], lenient=True) is False:
        return {"enabled": False}
    resolved = _defaults(known) | _cast_operation_options(name, options, lenient=True)
    _check_required(name, resolved)
    return resolved


def _cast_operation_options(name: str, options: Mapping[str, Any], *, lenient: bool) -> dict[str, Any]:
    """Cast the options that are set. `lenient` is for URLs and the results of expressions."""
    cast: dict[str, Any] = {}
    required = OPERATIONS[name]["required"]
    for key, value in options.items():
        option = operation_option(name, key)
        if lenient and option.free_text and option.name in required and value == "":
            cast[option.name] = ""  # such as an empty text from a variable
            continue
        zero_is_unset = lenient and option.name in SIZES and option.name not in required
        result = _cast_option(name, replace(option, minimum=0) if zero_is_unset else option, value, lenient=lenient)
        if result is not None and not (zero_is_unset and result == 0):
            cast[option.name] = result
    return cast


def _cast_option(operation: str, option: Option, value: Any, *, lenient: bool) -> Any:
    try:
        return cast_value(option, value, lenient=lenient)
    except ValueError as error:
        raise InvalidOperation(f"{operation}: {option.name} {error}") from error


def _check_required(name: str, given: Collection[str]) -> None:
    """Raises InvalidOperation if a required option is missing."""
    definition = OPERATIONS[name]
    if missing := [option for option in definition["required"] if option not in given]:
        raise InvalidOperation(f"{name}: {' and '.join(missing)} required.")
    one_of = definition.get("oneOf", [])
    if one_of and not any(option in given for option in one_of):
        raise InvalidOperation(f"{name}: {' or '.join(one_of)} required.")


# --- Stack options ----------------------------------------------------------------------------------------------------


def stack_option_defaults() -> dict[str, Any]:
    """Return the default values of stack options; options without a default are omitted."""
    return _defaults(OPTIONS)


def cast_stack_options(options: Mapping[str, Any], *, from_url: bool) -> dict[str, Any]:
    """Validate stack options and return those that are set, cast. Defaults are not filled in.

    From a URL, unknown options and STORED_ONLY are ignored. Raises InvalidStackOption.
    """
    cast: dict[str, Any] = {}
    for key, value in options.items():
        name = STACK_OPTION_ALIASES.get(key, key)
        if from_url and (name not in OPTIONS or name in STORED_ONLY):
            continue
        if name not in OPTIONS:
            raise InvalidStackOption(f"Unknown stack option {key[:80]!r}. {suggestion(key, OPTIONS)}")
        try:
            result = cast_value(OPTIONS[name], value, lenient=from_url)
        except ValueError as error:
            raise InvalidStackOption(f"{name} {error}") from error
        if result is not None:
            cast[name] = result
    return cast


# --- Values -----------------------------------------------------------------------------------------------------------


def cast_value(option: Option, value: Any, *, lenient: bool) -> Any:
    """Return the value as the type of the option, or None if it is not set. Raises ValueError with the rule.

    `lenient` rounds numbers that must be integers, and accepts any number as a boolean, as expressions return them.
    """
    if isinstance(value, str) and not option.free_text:
        value = value.strip()
    if value is None or value == "":
        return None
    match option.type:
        case "boolean":
            return _boolean(option, value, lenient)
        case "integer" | "number":
            return _number(option, value, lenient)
        case "array":
            return _list(option, value)
    return _text(option, value)


def _boolean(option: Option, value: Any, lenient: bool) -> bool:
    if isinstance(value, bool):
        return value
    if lenient and isinstance(value, int | float):
        return bool(value)
    text = str(value).lower() if isinstance(value, str | int) else ""
    if text not in TRUE + FALSE:
        raise _invalid(option, value)
    return text in TRUE


def _number(option: Option, value: Any, lenient: bool) -> int | float:
    if isinstance(value, str):
        if not NUMBER.fullmatch(value):
            raise _invalid(option, value)
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15 or math.isnan(value):
        raise _invalid(option, value)
    if option.type == "number":
        _check_range(option, value)
        return int(value) if value == int(value) else value
    if value != int(value) and not lenient:
        raise _invalid(option, value)
    rounded = int(math.copysign(math.floor(abs(value) + 0.5), value))
    _check_range(option, rounded)
    return rounded


def _check_range(option: Option, value: float) -> None:
    too_low = option.minimum is not None and value < option.minimum
    if too_low or (option.maximum is not None and value > option.maximum):
        raise _invalid(option, value)


def _text(option: Option, value: Any) -> str:
    if option.name == "secondary_stack_variables" and isinstance(value, Mapping | list):
        value = _query_string(option, value)
    text = _scalar_text(value)
    if text is None or not is_storable(text) or len(text) > MAX_TEXT_LENGTH:
        raise _invalid(option, value)
    if option.values and text not in option.values:
        raise _invalid(option, text)
    if option.pattern is not None and (not option.pattern.search(text) or "\n" in text):
        raise _invalid(option, text)
    return text


def _query_string(option: Option, value: Mapping[str, Any] | list[Any]) -> str | None:
    """Stack variables that are given as an object, as a query string."""
    if not isinstance(value, Mapping):
        return None if value else ""  # PHP sends an empty object as []
    texts = {name: _scalar_text(one) for name, one in value.items() if one is not None}
    return None if None in texts.values() else urlencode(texts)


def _list(option: Option, value: Any) -> list[Any]:
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list) or len(entries) > MAX_LIST_LENGTH:
        raise _invalid(option, value)
    properties = option.items.get("properties")
    if properties is None:
        texts = [_entry_text(option, entry) for entry in entries]
        if option.name == HOST_PATTERNS:
            _check_patterns(option, texts)
        return texts
    if not all(isinstance(entry, Mapping) and properties.keys() <= entry.keys() for entry in entries):
        raise _invalid(option, value)
    return [{name: _entry_text(option, entry[name]) for name in properties} for entry in entries]


def _entry_text(option: Option, value: Any) -> str:
    text = _scalar_text(value)
    if text is None or not is_storable(text) or len(text) > MAX_TEXT_LENGTH:
        raise _invalid(option, value)
    return text


def _check_patterns(option: Option, texts: Iterable[str]) -> None:
    for text in texts:
        try:
            re.compile(text)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"must have valid regular expressions. {text[:80]!r} is invalid: {error}.") from error


def _scalar_text(value: Any) -> str | None:
    """A string, number or boolean as text; None for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return str(int(value)) if value == int(value) and abs(value) < 1e15 else str(value)
    return str(value) if isinstance(value, str | int) and not _is_huge(value) else None


def _is_huge(value: str | int) -> bool:
    return isinstance(value, int) and abs(value) > 10**15


def is_storable(text: str) -> bool:
    """Return whether databases can store the text: it has no NUL and no unpaired surrogate."""
    return "\0" not in text and not SURROGATES.search(text)


def _invalid(option: Option, value: Any) -> ValueError:
    shown = repr(value) if not _is_huge(value) else "a number"
    example = f" {option.description}" if option.pattern is not None else ""
    return ValueError(f"{option.rule}, not {shown[:80]}.{example}")


def _defaults(options: Mapping[str, Option]) -> dict[str, Any]:
    found = {option.name: option.default for option in options.values() if option.default is not None}
    return {name: list(value) if isinstance(value, list) else value for name, value in found.items()}


def suggestion(name: str, known: Collection[str]) -> str:
    """A sentence with the known names that are closest to this one, or all of them."""
    close = get_close_matches(name[:80], known, n=3)
    if close:
        return f"Did you mean {' or '.join(repr(one) for one in close)}?"
    return f"Use one of {', '.join(known)}."
