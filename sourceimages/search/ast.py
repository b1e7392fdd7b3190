"""What a filter asks of a field: to be something, to begin with it, to lie in a range, or near a place."""

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Equals:
    text: str


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that stand side by side, in this order."""

    text: str


@dataclass(frozen=True, slots=True)
class Prefix:
    text: str


@dataclass(frozen=True, slots=True)
class Range:
    """None is an open end."""

    low: str | None
    high: str | None
    with_low: bool
    with_high: bool


@dataclass(frozen=True, slots=True)
class Within:
    latitude: float
    longitude: float
    metres: float


Value = Equals | Phrase | Prefix | Range | Within


@dataclass(frozen=True, slots=True)
class Condition:
    field: str
    value: Value
    position: int = dataclasses.field(default=0, compare=False)  # in `q`, from 1; 0 elsewhere


@dataclass(frozen=True, slots=True)
class And:
    parts: "tuple[Expression, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    parts: "tuple[Expression, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    part: "Expression"


Expression = Condition | And | Or | Not
