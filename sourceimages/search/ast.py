"""The syntax tree of queries and filters."""

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Equals:
    text: str


@dataclass(frozen=True, slots=True)
class Phrase:
    """Adjacent words, in this order."""

    text: str


@dataclass(frozen=True, slots=True)
class Prefix:
    text: str


@dataclass(frozen=True, slots=True)
class Range:
    """A range of values; None is an open end."""

    low: str | None
    high: str | None
    include_low: bool
    include_high: bool


@dataclass(frozen=True, slots=True)
class Within:
    latitude: float
    longitude: float
    meters: float


Value = Equals | Phrase | Prefix | Range | Within


@dataclass(frozen=True, slots=True)
class Condition:
    field: str
    value: Value
    position: int = dataclasses.field(default=0, compare=False)  # start in `q`, from 1; 0 for other parameters


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
