"""Dynamic metadata: known names with fixed properties, and any other name with an object.

It is part of the hash, so every meaning has exactly one form: integers as integers, defaults filled in, `percentage:
false` omitted.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from rokka.core.errors import FeatureUnavailable
from sourceimages.errors import InvalidMetadata
from sourceimages.hashes import PROTECTED
from sourceimages.metadata.values import MAX_ELEMENTS, integer, string, strings

NAME = re.compile(r"[a-z0-9_]{1,54}\Z")
MAX_DEPTH = 8
AREA_NAME = re.compile(r"[a-zA-Z0-9_]{1,54}\Z")
HASH = re.compile(r"[0-9a-f]{6,40}\Z")
DETECTION_FIELDS = {"detection_face", "detection_eyemouth"}
LEGACY_NAMES = {"SubjectArea": "subject_area", "CropArea": "crop_area", "MultiAreas": "multi_areas"}


def dynamic_metadata(entries: Any) -> dict[str, Any]:
    """The entries by name, as they are hashed and stored. Raises InvalidMetadata with the name of the entry."""
    if entries == []:
        return {}
    if not isinstance(entries, dict):
        raise InvalidMetadata("Dynamic metadata must be a JSON object that maps names to entries.")
    return dict(dynamic_entry(name, value) for name, value in entries.items())


def dynamic_entry(name: str, value: Any) -> tuple[str, Any]:
    """Name and value of one entry. Raises InvalidMetadata, FeatureUnavailable."""
    name = dynamic_name(name)
    if name in DETECTION_FIELDS:
        raise FeatureUnavailable(f"Dynamic metadata {name!r}: this server does not support face detection.")
    check: Callable[[Any], dict[str, Any]] = DYNAMIC_TYPES.get(name, free_form)
    try:
        return name, check(value)
    except ValueError as error:
        raise InvalidMetadata(f"Dynamic metadata {name!r}: {error}") from error


def dynamic_name(name: str) -> str:
    """The name as stored. Raises InvalidMetadata."""
    name = LEGACY_NAMES.get(name, name)
    if not NAME.match(name) or name == PROTECTED:
        raise InvalidMetadata(
            f"Dynamic metadata {name[:80]!r}: invalid name. Use 1–54 of a–z, 0–9 and _. {PROTECTED!r} is reserved."
        )
    return name


def check_bounds(entries: Mapping[str, Any], width: int, height: int) -> None:
    """Check that areas are within the image. Raises InvalidMetadata. Images without dimensions are not checked."""
    for name, value in entries.items():
        areas = {name: value} if name in ("subject_area", "crop_area") else {}
        if name == "multi_areas":
            areas = {f"{name}.{one}": area for one, kinds in value.items() for area in kinds.values()}
        for label, one in areas.items():
            most_x, most_y = (100, 100) if one.get("percentage") else (width, height)
            fits = one["x"] + one["width"] <= most_x and one["y"] + one["height"] <= most_y
            if width and height and not fits:
                raise InvalidMetadata(f"Dynamic metadata {label!r}: must be within {most_x} × {most_y}.")


def area(value: Any, *, defaults: Mapping[str, int]) -> dict[str, int | bool]:
    known = {"x": 0, "y": 0, "width": 1, "height": 1}  # minimum of each property
    check_properties(value, {*known, "percentage"})
    cleaned: dict[str, int | bool] = {}
    for name, least in known.items():
        if value.get(name, defaults.get(name)) is None:
            raise ValueError(f"{name} is required.")
        cleaned[name] = number = integer(value.get(name, defaults.get(name)))
        if not least <= number < 2**31:
            raise ValueError(f"{name} must be between {least} and {2**31 - 1}.")
    if flag(value.get("percentage", False)):
        cleaned["percentage"] = True
    return cleaned


def flag(value: Any) -> bool:
    if value in (True, "true", "1"):
        return True
    if value in (False, None, "false", "0", ""):
        return False
    raise ValueError("percentage must be true or false.")


def subject_area(value: Any) -> dict[str, Any]:
    return area(value, defaults={"width": 1, "height": 1})


def crop_area(value: Any) -> dict[str, Any]:
    return area(value, defaults={})


def multi_areas(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > MAX_ELEMENTS:
        raise ValueError(f"must be an object of at most {MAX_ELEMENTS} named areas.")
    return {name: one_area(name, item) for name, item in value.items()}


def one_area(name: str, value: Any) -> dict[str, Any]:
    if not AREA_NAME.match(name):
        raise ValueError(f"invalid area name {name[:80]!r}. Use 1–54 of a–z, A–Z, 0–9 and _.")
    kinds = {"crop_area": crop_area, "subject_area": subject_area}
    if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= kinds.keys():
        raise ValueError(f"the area {name!r} must have either a crop_area or a subject_area.")
    return {kind: kinds[kind](item) for kind, item in value.items()}


def version(value: Any) -> dict[str, str]:
    check_properties(value, {"text"})
    return {"text": string(value.get("text"))}


def linked(value: Any) -> dict[str, list[str]]:
    check_properties(value, {"hashes"})
    hashes = strings(value.get("hashes"))
    if not all(HASH.match(one) for one in hashes):
        raise ValueError("hashes must be an array of hashes or short hashes.")
    return {"hashes": hashes}


def free_form(value: Any, depth: int = 0) -> Any:
    """An object of strings, integers, booleans, arrays and objects.

    Floats are refused: they have no canonical form to hash.
    """
    if depth == 0 and not isinstance(value, dict):
        raise ValueError("must be an object.")
    if depth > MAX_DEPTH:
        raise ValueError(f"the limit of nested levels is {MAX_DEPTH}.")
    match value:
        case bool():
            return value
        case int() | float():
            return integer(value)
        case str():
            return string(value)
        case list() if len(value) <= MAX_ELEMENTS:
            return [free_form(item, depth + 1) for item in value]
        case dict() if len(value) <= MAX_ELEMENTS:
            return named(value, depth)
    raise ValueError("values must be strings, integers, booleans, arrays or objects.")


def named(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = string(key)
        if name in found:
            raise ValueError(f"the key {name[:80]!r} occurs twice, in different Unicode forms.")
        found[name] = free_form(item, depth + 1)
    return found


def check_properties(value: Any, known: set[str]) -> None:
    if not isinstance(value, dict):
        raise ValueError("must be an object.")
    if unknown := value.keys() - known:
        raise ValueError(f"unknown property {sorted(unknown)[0][:80]!r}. Properties are {', '.join(sorted(known))}.")


DYNAMIC_TYPES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "subject_area": subject_area,
    "crop_area": crop_area,
    "multi_areas": multi_areas,
    "version": version,
    "linked": linked,
}
