"""Resolve a render URL to a recipe: what a worker has to do, with all expressions evaluated and defaults filled in.

Nothing here reads rows or files; what rendering needs of images and stacks comes through `Lookup`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import version
from typing import Any, Protocol
from urllib.parse import parse_qsl

from rendering import definitions, expressions
from rendering.contents import StackContent
from rendering.errors import InvalidExpression, InvalidOperation, InvalidStack, RenderTooLarge
from rendering.grammar import Expression, RenderURL
from rendering.limits import (
    MAX_ALL_OPERATIONS,
    MAX_BASESTACKS,
    MAX_COMPOSITION_DEPTH,
    MAX_EXPRESSIONS,
    MAX_FRAMES,
    MAX_OPERATIONS,
    MAX_PIXELS,
)
from rendering.output import ANIMATED_FORMATS, Preferences, choose_output
from rendering.painters import ENGINE_VERSION
from sourceimages.formats import FONTS, RENDERABLE, UNDECODABLE

ENGINE = f"{version('pyvips-binary')}/{ENGINE_VERSION}"  # part of all keys
HEAVY_PIXELS = 50_000_000  # of a source
ENTROPY = "entropy"

UPRIGHT_FORMATS = frozenset({"jpg", "png", "webp", "tif"})  # whose stored size ignores the EXIF orientation
AREA_OPERATIONS = frozenset({"crop"})


@dataclass(frozen=True, slots=True)
class Source:
    """What rendering needs to know of an image. Width and height are those of the stored pixels."""

    hash: str
    content_hash: str  # sha256 of the stored file, hex
    format: str
    width: int
    height: int
    animated: bool = False
    orientation: int = 1  # EXIF
    areas: Mapping[str, Any] = field(default_factory=dict)  # subject_area, crop_area, multi_areas
    user_metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def upright_size(self) -> tuple[int, int]:
        turned = self.format in UPRIGHT_FORMATS and self.orientation >= 5
        return (self.height, self.width) if turned else (self.width, self.height)

    @property
    def names(self) -> dict[str, Any]:
        """The values that expressions read as `image.…`."""
        width, height = self.upright_size
        area = self.areas.get("subject_area")
        return {
            "width": width,
            "height": height,
            "format": "jpeg" if self.format == "jpg" else self.format,
            "hash": self.hash,
            "isAnimated": self.animated and self.format == "gif",
            "hasSubjectArea": area is not None,
            "subject_area": area,
            "hasDetectionFace": False,
            "detection_face": None,
            "face_detection": None,
            "meta_user": dict(self.user_metadata),
        }


class Lookup(Protocol):
    def stack(self, name: str) -> StackContent:
        """The stack of the organization. Raises StackNotFound."""

    def image(self, hash: str) -> Source:
        """The active image of the organization with this hash or short hash. Raises ImageNotFound."""

    def entropy(self, source: Source) -> float | None:
        """The entropy of the image, 0 to 8 bits; None if it has no pixels."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a worker has to do. `body` names sources by content hash; paths are filled in when it is rendered."""

    body: Mapping[str, Any]
    formats: tuple[str, ...]  # that the result can have; which one depends on the pixels
    vary: tuple[str, ...]  # request headers that the recipe depends on
    heavy: bool
    attachment: bool
    key: str

    @property
    def etag(self) -> str:
        return f'"{self.key[:32]}"'


def recipe_key(*identity: Any) -> str:
    """The key (64 hex digits) of a render that is determined by these JSON values and the engine."""
    return sha256(json.dumps([ENGINE, *identity], sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def effective_options(stack: StackContent | None, url: RenderURL) -> dict[str, Any]:
    """The stack options before expressions: those of the stack, overridden by those of the URL."""
    stored = definitions.cast_stack_options(dict(stack.options), from_url=False) if stack else {}
    return stored | definitions.cast_stack_options(dict(url.options), from_url=True)


def resolve(
    url: RenderURL,
    source: Source,
    stack: StackContent | None,
    lookup: Lookup,
    preferences: Preferences,
    *,
    epoch: int = 0,
) -> Recipe:
    """Resolve the URL for this source.

    `stack` is None for dynamic stacks. `epoch` is raised when the cache of the stack is purged. Raises
    InvalidOperation, InvalidExpression, InvalidStackOption, RenderTooLarge, FormatUnavailable, OperationUnavailable,
    and the errors of `lookup`.
    """
    return _Resolver(url, lookup, preferences).recipe(source, stack, epoch)


class _Resolver:
    def __init__(self, url: RenderURL, lookup: Lookup, preferences: Preferences) -> None:
        self.url = url
        self.lookup = lookup
        self.preferences = preferences
        self.vary: set[str] = set()
        self.heavy = False
        self.count = 0  # of operations
        self.expressions = 0  # and variables

    def recipe(self, source: Source, stack: StackContent | None, epoch: int) -> Recipe:
        scope = self._scope(source, stack, effective_options(stack, self.url), self.url.variables)
        options = definitions.stack_option_defaults() | scope.options
        operations = self._base_operations(source, scope.options)
        operations += self._operations(self._calls(stack), scope, dpr=options["dpr"], depth=0)
        _check_count(operations)
        output = choose_output(self.url.format, source.format, operations, options, scope.options, self.preferences)
        if output.depends_on_accept:
            self.vary.add("Accept")
        body = {
            "source": self._source(source),
            "operations": operations,
            "areas": self._areas(source, operations),
            "output": output.as_json(),
            "limits": {"pixels": MAX_PIXELS, "frames": MAX_FRAMES},
        }
        if source.animated and output.format in ANIMATED_FORMATS:
            self.heavy = True
        return Recipe(
            body=body,
            formats=output.formats,
            vary=tuple(sorted(self.vary)),
            heavy=self.heavy,
            attachment=options["content_disposition"] == "attachment",
            key=recipe_key(body, self.url.slug if self.url.fresh else None, epoch),
        )

    # --- Variables, options, expressions ------------------------------------------------------------------------------

    def _scope(
        self, source: Source, stack: StackContent | None, options: Mapping[str, Any], variables: Mapping[str, Any]
    ) -> "_Scope":
        """Evaluate the variables and the expressions of a stack."""
        scope = _Scope(source, dict(options), {}, self)
        if stack is None:
            scope.variables.update(variables)
            return scope
        self.count_expressions(len(stack.variables))  # literals are parsed too
        for name, definition in stack.variables.items():
            if name in variables:
                scope.variables[name] = variables[name]
            elif isinstance(definition, str) and expressions.looks_like_expression(definition):
                scope.variables[name] = scope.evaluate_counted(definition)
            else:
                scope.variables[name] = definition
        scope.variables.update(variables)
        for rule in stack.expressions:
            if scope.evaluate(rule["expression"]):
                overrides = rule.get("overrides") or {}
                scope.options.update(definitions.cast_stack_options(overrides.get("options") or {}, from_url=False))
                scope.variables.update(overrides.get("variables") or {})
        return scope

    def count_expressions(self, number: int) -> None:
        """Raises RenderTooLarge if there are too many of them."""
        self.expressions += number
        if self.expressions > MAX_EXPRESSIONS:
            raise RenderTooLarge(
                f"The stack has more than {MAX_EXPRESSIONS} variables and expressions, with those of its compositions. "
                "Use fewer."
            )

    def _calls(self, stack: StackContent | None) -> list["_Call"]:
        """The operations of the stack or the URL, with the overrides of the URL."""
        if stack is None:
            return [_Call(call.name, dict(call.options), {}) for call in self.url.operations or ()]
        overrides: dict[str, dict[str, Any]] = {}
        for override in self.url.overrides:
            overrides.setdefault(override.name, {}).update(override.options)
        return [_Call.stored(operation, overrides.get(operation["name"], {})) for operation in stack.operations]

    def _base_operations(
        self, source: Source, options: Mapping[str, Any], seen: tuple[str, ...] = ()
    ) -> list[dict[str, Any]]:
        """The operations of the base stack, after those of its own one.

        Its options don't count, and its sizes are not multiplied by the dpr.
        """
        name = options.get("basestack")
        if not name:
            return []
        if name in seen or len(seen) >= MAX_BASESTACKS:
            raise InvalidStack(f"The basestacks are in a circle, or too many: {' → '.join([*seen, name])}.")
        base = self.lookup.stack(name)
        inner = self._scope(source, base, base.options, self.url.variables)
        below = self._base_operations(source, base.options, (*seen, name))
        return below + self._operations([_Call.stored(one, {}) for one in base.operations], inner, dpr=1, depth=0)

    def _operations(self, calls: Iterable["_Call"], scope: "_Scope", *, dpr: float, depth: int) -> list[dict[str, Any]]:
        resolved = [self._operation(call, scope, dpr, depth) for call in calls]
        enabled = [operation for operation in resolved if operation is not None]
        if dpr != 1 and depth == 0 and not any(operation["name"] == "resize" for operation in enabled):
            raise InvalidOperation("dpr requires a resize operation. Add one to the stack, or remove the option dpr.")
        return enabled

    def _operation(self, call: "_Call", scope: "_Scope", dpr: float, depth: int) -> dict[str, Any] | None:
        """The operation for the worker; None if it is disabled or does nothing."""
        self.count += 1
        if self.count > MAX_ALL_OPERATIONS:
            raise RenderTooLarge(
                f"The stack has more than {MAX_ALL_OPERATIONS} operations, with those of its compositions. Use fewer."
            )
        values = {name: scope.value(value) for name, value in call.options.items() if name not in call.expressions}
        values |= {name: scope.evaluated(expression) for name, expression in call.expressions.items()}
        options = definitions.resolve_operation(call.name, values)
        if not options.pop("enabled") or call.name == "noop":
            return None
        if call.name == "composition":
            options = self._composition(options, scope, depth)
        if call.name == "text":
            options["font"] = self._font(options["font"])
        return {"name": call.name, "options": options, "dpr": dpr}

    def _font(self, hash: str) -> dict[str, str]:
        font = self.lookup.image(hash)
        if font.format not in FONTS:
            raise InvalidOperation(f"text: {hash!r} is a {font.format} file, not a font. Upload a TTF or OTF file.")
        return {"file": font.content_hash, "format": font.format}

    def _composition(self, options: dict[str, Any], scope: "_Scope", depth: int) -> dict[str, Any]:
        """Replace the names of secondary image and stack by what they stand for."""
        if depth >= MAX_COMPOSITION_DEPTH:
            raise RenderTooLarge(f"Composition nesting too deep. The limit is {MAX_COMPOSITION_DEPTH} levels.")
        hash, name = options.pop("secondary_image", None), options.pop("secondary_stack", None)
        given = dict(parse_qsl(options.pop("secondary_stack_variables", ""), keep_blank_values=True))
        if hash is None and name is None:
            return options
        source = self.lookup.image(hash) if hash else scope.source
        operations: list[dict[str, Any]] = []
        if name:
            stack = self.lookup.stack(name)
            known = {key: value for key, value in self.url.variables.items() if key in stack.variables}
            inner = self._scope(source, stack, stack.options, given | known)
            operations = self._operations(
                [_Call.stored(one, {}) for one in stack.operations], inner, dpr=1, depth=depth + 1
            )
        options["secondary"] = {
            "source": self._source(source),
            "operations": operations,
            "areas": self._areas(source, operations),
        }
        return options

    # --- Sources ------------------------------------------------------------------------------------------------------

    def _source(self, source: Source) -> dict[str, Any]:
        """The file of the source, or a placeholder for what is not an image."""
        if source.format not in RENDERABLE:
            reason = "Its decoder is not installed" if source.format in UNDECODABLE else "No preview of this format"
            return {"format": "placeholder", "label": source.format.upper(), "message": reason}
        if source.width * source.height > HEAVY_PIXELS:
            self.heavy = True
        return {"file": source.content_hash, "format": source.format}

    def _areas(self, source: Source, operations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The areas of the image, if an operation may use them: the key should not depend on others."""
        uses = any(operation["name"] in AREA_OPERATIONS for operation in operations)
        return {name: value for name, value in source.areas.items() if value} if uses else {}


@dataclass(frozen=True, slots=True)
class _Call:
    """An operation before its options are evaluated."""

    name: str
    options: Mapping[str, Any]
    expressions: Mapping[str, Any]

    @classmethod
    def stored(cls, operation: Mapping[str, Any], overrides: Mapping[str, Any]) -> "_Call":
        """An operation of a stack. Options of the URL win over its options and expressions."""
        stored = {name: text for name, text in (operation.get("expressions") or {}).items() if name not in overrides}
        return cls(operation["name"], {**(operation.get("options") or {}), **overrides}, stored)


@dataclass(slots=True)
class _Scope:
    """The names that expressions can read."""

    source: Source
    options: dict[str, Any]
    variables: dict[str, Any]
    resolver: _Resolver

    def value(self, value: Any) -> Any:
        """A literal, or the result of an expression in the URL."""
        return self.evaluate(value.text) if isinstance(value, Expression) else value

    def evaluated(self, expression: Any) -> Any:
        """The results of an expression, or of all in an object or in the changes of svgdynamic."""
        if isinstance(expression, Mapping):
            return {name: self.evaluate(text) for name, text in expression.items()}
        if isinstance(expression, list):
            return [{**change, "value": self.evaluate(change["value"])} for change in expression]
        return self.evaluate(expression)

    def evaluate(self, text: str) -> Any:
        self.resolver.count_expressions(1)
        return self.evaluate_counted(text)

    def evaluate_counted(self, text: str) -> Any:
        compiled = expressions.compile(text)
        if "request" in compiled.roots:
            self.resolver.vary.add("Save-Data")
        image = self.source.names
        if f"image.{ENTROPY}" in compiled.names:  # it has to be measured
            image[ENTROPY] = self.resolver.lookup.entropy(self.source)
        headers = {"save_data": "on" if self.resolver.preferences.save_data else None}
        names = {
            "image": image,
            "options": definitions.stack_option_defaults() | self.options,
            "request": {"headers": headers},
        }
        try:
            return compiled.evaluate(names, self.variables)
        except InvalidExpression as error:
            raise InvalidExpression(f"{error.message} In the expression {text[:200]!r}.") from error


def _check_count(operations: Sequence[Mapping[str, Any]]) -> None:
    if len(operations) > MAX_OPERATIONS:
        raise RenderTooLarge(f"The stack has {len(operations)} operations. The limit is {MAX_OPERATIONS}.")
