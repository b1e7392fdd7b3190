"""Render a recipe: open the source, apply the operations in order, write the result."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from rendering.limits import MAX_COMPOSITION_DEPTH
from sourceimages.probing.readers import sandbox

from . import MAX_RESULT_BYTES, geometry, load, save, svg
from .operations import OPERATIONS
from .problems import FormatUnavailable, InvalidOperation, RenderError, TooLarge, UnreadableSource, describe
from .sizes import Size, resizing
from .source import Source
from .state import Areas, Box, Limits, State, scaling

Recipe = Mapping[str, Any]
OUT_OF_MEMORY = re.compile(r"\bmemory\b|\balloc", re.IGNORECASE)
NO_MEMORY = {
    "error": TooLarge.reason,
    "message": f"The render needs more than {sandbox.MEMORY // 2**30} GB of memory, the limit. Ask for less.",
}
COMMUTING = {"noop", "svg2bitmap", "svgdynamic", "multiply"}  # give the same result before and after a resize


def answer(recipe: Recipe, output: save.Output) -> dict[str, Any]:
    """Properties of the result in the output, or {"error", "message"}."""
    try:
        return _rendered(recipe, output)
    except RenderError as error:
        return {"error": error.reason, "message": str(error)}
    except MemoryError:
        return NO_MEMORY
    except Exception as error:  # noqa: BLE001, decoders find damage when pixels are needed, and raise any error
        if output.size >= MAX_RESULT_BYTES:
            limit = MAX_RESULT_BYTES // 2**20
            return {"error": TooLarge.reason, "message": f"The result is larger than {limit} MB. Ask for less."}
        if OUT_OF_MEMORY.search(str(error)):
            return NO_MEMORY
        return {"error": UnreadableSource.reason, "message": f"The source can't be rendered: {describe(error)}."}


def _rendered(recipe: Recipe, output: save.Output) -> dict[str, Any]:
    if "patterns" in recipe:
        return {"bytes": 0, "found": any(re.search(pattern, recipe["text"]) for pattern in recipe["patterns"])}
    wanted = recipe["output"]
    format, options = str(wanted["format"]), wanted.get("options") or {}
    limits = Limits(**recipe.get("limits") or {})
    if format == "svg":
        return _vector(recipe, output)
    if format not in save.WRITERS:
        raise FormatUnavailable(f"This server can't render to {format}. Ask for jpg, png, webp, avif or gif.")
    state = run(recipe, options, limits, animated=format in save.ANIMATED)
    if other := wanted.get("transparent_format"):  # of results that have transparent pixels
        state = save.without_opaque_alpha(state)
        format = str(other) if state.first.hasalpha() else format
    if (other := wanted.get("large_format")) and not save.fits(state, format):
        format = str(other)
    return save.write(state, format, options, output)


def _vector(recipe: Recipe, output: save.Output) -> dict[str, Any]:
    source = recipe["source"]
    if source["format"] != "svg":
        raise FormatUnavailable("Only SVG sources can be rendered to SVG. Ask for png or webp.")
    content, size = svg.answer(str(source["path"]), recipe["operations"])
    output.clear()
    output.write(content)
    return {"width": size.width, "height": size.height, "frames": 1, "format": "svg", "bytes": output.size}


def run(recipe: Recipe, options: Mapping[str, Any], limits: Limits, *, animated: bool, depth: int = 0) -> State:
    """The state after all operations."""
    operations: Sequence[Mapping[str, Any]] = recipe["operations"]
    source = load.open_source(
        {**recipe["source"], "changes": svg.changes_of(operations)}, options, limits, animated=animated
    )
    state, remaining = _start(source, operations, _areas(recipe.get("areas") or {}), limits)
    for operation in remaining:
        state = _apply(state, operation, options, limits, depth)
    return state


def _start(
    source: Source, operations: Sequence[Mapping[str, Any]], areas: Areas, limits: Limits
) -> tuple[State, list[Mapping[str, Any]]]:
    """The decoded source, and what remains to be done. A resize at the start is done while decoding."""
    start = State((), source.delays, source.loop, source.transform, areas, limits)
    first = _first_resize(operations, source.size)
    if first is None:
        return replace(start, frames=tuple(source.decode(None))), list(operations)
    options, dpr = operations[first.position]["options"], float(operations[first.position].get("dpr") or 1)
    target = resizing(source.size.turned() if first.turned else source.size, options, dpr)
    replace(start, frames=(None,) * source.frames).check(*target.size)
    aim = target.size.turned() if first.turned else target.size
    frames = tuple(source.decode(aim))
    scale = scaling(aim.width / source.size.width, aim.height / source.size.height)
    state = replace(start, frames=frames, transform=source.transform.then(scale))
    state = geometry.after_resize(state, source.size, target, options)
    return state, [*first.before, *operations[first.position + 1 :]]


class FirstResize(NamedTuple):
    """A resize that can be done first: where it is, and what then follows it instead of preceding it."""

    position: int
    before: list[Mapping[str, Any]]
    turned: bool  # width and height are exchanged by what precedes it


def _first_resize(operations: Sequence[Mapping[str, Any]], size: Size) -> FirstResize | None:
    before: list[Mapping[str, Any]] = []
    turned = False
    for index, operation in enumerate(operations):
        name, options = operation["name"], operation["options"]
        if name == "resize":
            return FirstResize(index, before, turned)
        if name in ("rotate", "autorotate"):
            # The angle of autorotate depends on the size before the resize.
            present = size.turned() if turned else size
            angle = float(options["angle"]) if name == "rotate" else geometry.turn_to_box(present, options)
            if angle % 90:
                return None
            turned ^= bool(angle % 180)
            before.append({"name": "rotate", "options": {"angle": angle}})
        elif name in COMMUTING:
            before.append(operation)
        else:
            return None
    return None


def _apply(state: State, operation: Mapping[str, Any], options: Mapping[str, Any], limits: Limits, depth: int) -> State:
    name, given = str(operation["name"]), dict(operation["options"])
    if name not in OPERATIONS:
        raise InvalidOperation(f"The operation {name[:40]!r} does not exist.")
    if nested := given.get("secondary"):
        if depth >= MAX_COMPOSITION_DEPTH:
            raise InvalidOperation("Composition nesting too deep: the limit is 5.")
        given["secondary"] = run(nested, options, limits, animated=False, depth=depth + 1)
    return OPERATIONS[name](state, given, float(operation.get("dpr") or 1))


def _areas(given: Mapping[str, Any]) -> Areas:
    named = {str(name): box for name, area in (given.get("multi_areas") or {}).items() if (box := _box(area))}
    return Areas(_box(given.get("subject_area")), _box(given.get("crop_area")), named)


def _box(area: Mapping[str, float] | None) -> Box | None:
    if not area:
        return None
    return Box(float(area["x"]), float(area["y"]), float(area.get("width") or 0), float(area.get("height") or 0))
