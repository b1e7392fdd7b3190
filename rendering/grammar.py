"""The grammar of render URLs: `/{stack}[/{segment}]*/{image}[/{slug}].{format}[?query]`.

Everything here works on the path and query as sent: percent-encoded separators are part of a value, and signatures
are computed from what was sent.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NoReturn
from urllib.parse import unquote, unquote_plus, unquote_to_bytes

from rendering.errors import FormatUnavailable, InvalidRenderURL, RenderTooLarge, StackNotFound
from rendering.limits import MAX_OPERATIONS, MAX_URL_LENGTH
from sourceimages.errors import ImageNotFound

MAX_NUMBER = 1e15  # of a variable in the query
DYNAMIC = "dynamic"  # the stack whose operations are in the URL
PATH_PREFIX = "/render"  # of URLs on a host without the organization: /render/{organization}/…

IMAGE_FORMATS = frozenset({"jpg", "png", "gif", "webp", "avif", "jxl", "jp2", "heif", "heic", "svg", "blur"})
VIDEO_FORMATS = frozenset({"mp4", "webm", "av1", "m3u", "m3u8", "ts"})
# fmt: off
SOURCE_FORMATS = frozenset({  # only of stacks that deliver the source file
    "tif", "psd", "eps", "pdf", "dng", "nef", "nrw", "cr2", "arw", "pef", "srw", "orf", "rw2", "3fr", "iiq",
    "doc", "xls", "ppt", "docx", "xlsx", "pptx", "odt", "ods", "odp", "rtf", "txt", "csv", "zip", "mov", "mp3",
    "ttf", "otf", "woff",
})
# fmt: on
FORMATS = IMAGE_FORMATS | VIDEO_FORMATS | SOURCE_FORMATS
FORMAT_ALIASES = {"jpeg": "jpg"}
OPTION_ALIASES = {"af": "autoformat"}
UNDEFINED = "__undefined__"  # written by rokka.js for an option without a value

STACK_NAME = re.compile(r"[a-z0-9_-]+")
HASH = re.compile(r"[0-9a-f]{6,40}")
REFERENCE = re.compile(r"-(?!-)")  # the start of an alias or a remote image
FORMAT = re.compile(r"[a-z0-9]{2,4}")
INVALID_CHARACTER = re.compile("[\0\ud800-\udfff]")  # null characters, and halves of surrogate pairs
VERSION = re.compile(r"v[0-9]+\Z")  # at the end of a slug: a fresh render
SLASH = re.compile(r"/")
PART_SEPARATOR = re.compile(r"--(?!-)")  # of three hyphens the first one ends an empty value
HYPHEN = re.compile(r"-")
BRACKET = re.compile(r"\[|%5B|(?P<closing>\]|%5D)", re.IGNORECASE)
EXPRESSION = re.compile(r"(?:\[|%5B)(?P<text>.*)(?:\]|%5D)", re.IGNORECASE | re.DOTALL)
COLLAPSED_SCHEME = re.compile(r"\A(https?):/+", re.IGNORECASE)
ORGANIZATION_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Expression:
    """An option's value that is computed: the text between the brackets."""

    text: str


@dataclass(frozen=True, slots=True)
class OperationCall:
    """An operation with the options that the URL gives it."""

    name: str
    options: dict[str, str | Expression]


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A full or short hash, the name of an alias, or the path or URL of a remote image."""

    kind: Literal["hash", "alias", "remote"]
    value: str


@dataclass(frozen=True, slots=True)
class SignatureOptions:
    """How long a signature is valid."""

    until: datetime | None  # None: it doesn't expire
    given: dict[str, Any]  # as sent


@dataclass(frozen=True, slots=True)
class RenderURL:
    """What a render URL asks for. Nothing is looked up, and no value is checked against what operations accept."""

    organization: str
    stack: str
    operations: tuple[OperationCall, ...] | None  # of the dynamic stack; None for a stored stack
    overrides: tuple[OperationCall, ...]  # of a stored stack, each operation once
    undefined: tuple[str, ...]  # options that are not given, as `operation.option`
    options: dict[str, str]
    variables: dict[str, Scalar]
    image: ImageReference
    slug: str | None
    format: str
    fresh: bool  # a cached result of other URLs is not used
    signature: str | None
    sigopts: SignatureOptions | None

    def describe(self) -> dict[str, Any]:
        """The URL's meaning as JSON. What a URL rarely has is only there if it does."""
        calls = self.overrides if self.operations is None else self.operations
        described: dict[str, Any] = {
            "organization": self.organization,
            "stack": self.stack,
            "overrides" if self.operations is None else "operations": [_described(call) for call in calls],
            "options": self.options,
            "variables": self.variables,
            "image": {"kind": self.image.kind, "value": self.image.value},
            "slug": self.slug,
            "format": self.format,
        }
        if self.undefined:
            described["undefined"] = list(self.undefined)
        if self.fresh:
            described["fresh"] = True
        if self.signature is not None:
            described["signed"] = True
        if self.sigopts:
            described["sigopts"] = self.sigopts.given
        return described


def _described(call: OperationCall) -> dict[str, Any]:
    computed = {name: value.text for name, value in call.options.items() if isinstance(value, Expression)}
    options = {name: value for name, value in call.options.items() if name not in computed}
    return {"name": call.name, "options": options} | ({"expressions": computed} if computed else {})


def parse(raw_path: str, raw_query: str, organization: str) -> RenderURL:
    """The meaning of a render URL, from its path without the prefix of the organization, and its query, both as sent.

    Raises InvalidRenderURL and RenderTooLarge; StackNotFound, ImageNotFound and FormatUnavailable if the path can't
    refer to any stack, image or format.
    """
    length = len(f"{raw_path}?{raw_query}".encode("utf-8", "surrogatepass"))
    if length > MAX_URL_LENGTH:
        raise InvalidRenderURL(f"The URL has {length} bytes; the limit is {MAX_URL_LENGTH}. Shorten its variables.")
    parts = [part for part in _split(raw_path, SLASH) if part]
    image, segments, slug, format = _read_image(parts)
    stack = _decoded(parts[0])
    if not STACK_NAME.fullmatch(stack):
        raise StackNotFound(f"Stack {_short(stack)} not found. Names of stacks consist of a-z, 0-9, - and _.")
    read = _Segments(stack == DYNAMIC)
    for position, segment in enumerate(segments):
        read.add(segment, first=position == 0)
    query = _parse_query(raw_query)
    calls = read.calls()
    return RenderURL(
        organization=organization,
        stack=stack,
        operations=calls if stack == DYNAMIC else None,
        overrides=() if stack == DYNAMIC else calls,
        undefined=tuple(read.undefined),
        options=read.options,
        variables=read.variables | _parse_variables(query.get("v")),
        image=image,
        slug=slug,
        format=format,
        fresh=slug is not None and VERSION.search(slug) is not None,
        signature=query.get("sig"),
        sigopts=_parse_sigopts(query["sigopts"]) if "sigopts" in query else None,
    )


def locate(host: str, raw_path: str, render_domain: str, path_prefix: str = PATH_PREFIX) -> tuple[str, str, str] | None:
    """The organization of a render URL, the path that remains, and the prefix that was removed from it.

    The organization is either in the host, `{organization}.{render_domain}`, or in the path, after `path_prefix`.
    None if it is in neither.
    """
    label, _, parent = _without_port(host).partition(".")
    if parent and parent == _without_port(render_domain):
        return (label, raw_path, "") if ORGANIZATION_NAME.fullmatch(label) else None
    prefix = re.match(re.escape(path_prefix).replace("/", "/+") + r"/+([^/?#]+)(?=/)", raw_path)
    if prefix and ORGANIZATION_NAME.fullmatch(prefix[1]):
        return prefix[1], raw_path[prefix.end() :], prefix[0]
    return None


def without_slug(raw_path: str) -> str:
    """The path of a URL that has a slug, without the slug: rokka.js signs it like this."""
    before, _, last = raw_path.rpartition("/")
    return f"{before.rstrip('/')}.{last.rpartition('.')[2]}"


def _without_port(host: str) -> str:
    return re.sub(r":[0-9]*\Z", "", host.lower()).removesuffix(".")


# Splitting. A value in brackets, also percent-encoded ones, is an expression, whose hyphens and slashes don't separate.


def _split(text: str, separator: re.Pattern[str]) -> list[str]:
    """Split at separators outside of values in brackets."""
    found, start = [], 0
    brackets = _bracketed(text)[::-1]
    for match in separator.finditer(text):
        while brackets and brackets[-1][1] <= match.start():
            brackets.pop()
        if brackets and brackets[-1][0] <= match.start():
            continue
        found.append(text[start : match.start()])
        start = match.end()
    return [*found, text[start:]]


def _bracketed(text: str) -> list[tuple[int, int]]:
    """Start and end of the outermost values in brackets. Brackets inside a text or without a partner are literal."""
    pairs: list[tuple[int, int]] = []
    opened: list[int] = []
    for bracket in BRACKET.finditer(text):
        if not bracket["closing"]:
            opened.append(bracket.start())
        elif opened:
            start, end = opened.pop(), bracket.end()
            if text[start - 1 : start] == "-":
                while pairs and pairs[-1][0] > start:
                    pairs.pop()
                pairs.append((start, end))
    return pairs


# The image, its slug and the format are at the end. Neither a hash nor a leading hyphen can begin a segment.


def _read_image(parts: list[str]) -> tuple[ImageReference, list[str], str | None, str]:
    """The image, the segments before it, the slug and the format."""
    stem, format = _read_format(parts[-1] if parts else "")
    names = [*parts[:-1], stem]
    last_two = range(max(1, len(names) - 2), len(names))
    hash_at = next((position for position in last_two if HASH.fullmatch(names[position])), len(names))
    reference_at = next((at for at in range(1, hash_at) if REFERENCE.match(names[at])), len(names))
    if found := _read_reference(names[reference_at:]):
        image, at, after = found[0], reference_at, found[1]
    elif hash_at < len(names):
        image, at, after = ImageReference("hash", names[hash_at]), hash_at, names[hash_at + 1 :]
    else:
        raise ImageNotFound(
            "No source image found: the path names none. It ends with a hash of 6 to 40 characters, -_alias_- or "
            "-path-, an optional slug and the format: /stack/0123abcd/slug.jpg."
        )
    return image, parts[1:at], unquote("".join(after)) or None, format


def _read_format(last: str) -> tuple[str, str]:
    """The last part without its extension, and the format that this means."""
    stem, dot, extension = last.rpartition(".")
    format = FORMAT_ALIASES.get(extension.lower(), extension.lower())
    if not dot or not FORMAT.fullmatch(format):
        raise FormatUnavailable("The path doesn't end with a format, such as .jpg.")
    if format not in FORMATS:
        raise FormatUnavailable(f"The format {extension!r} is unknown. Use one of {', '.join(sorted(IMAGE_FORMATS))}.")
    return stem, format


def _read_reference(names: list[str]) -> tuple[ImageReference, list[str]] | None:
    """An alias or a remote image, and its slug; None if no hyphen ends it."""
    if not names:
        return None
    *inner, last = names
    if not inner or (last.endswith("-") and not _is_alias(inner)):
        text, slug = "/".join(names), []
    else:
        text, slug = "/".join(inner), [last]
    if len(text) < 3 or not text.endswith("-"):
        return None
    value = _decoded(text[1:-1])
    if _is_alias([text]):
        return ImageReference("alias", value[1:-1]), slug
    return ImageReference("remote", COLLAPSED_SCHEME.sub(r"\1://", value)), slug


def _is_alias(names: list[str]) -> bool:
    return len(names) == 1 and len(names[0]) > 4 and names[0].startswith("-_") and names[0].endswith("_-")


# Segments: parts with a name, and pairs of a key and a value.


class _Segments:
    """Collects what the segments say; later ones win."""

    def __init__(self, is_dynamic: bool) -> None:
        self.is_dynamic = is_dynamic
        self.options: dict[str, str] = {}
        self.variables: dict[str, Scalar] = {}
        self.undefined: dict[str, None] = {}  # in order
        self._calls: list[OperationCall] = []

    def add(self, segment: str, *, first: bool) -> None:
        """The first segment of the dynamic stack defines its operations. Others override."""
        for name, pairs in _parts_of(segment):
            if name in ("o", "options"):
                options = {OPTION_ALIASES.get(key, key): _decoded(text) for key, text in pairs.items()}
                self._set("options", self.options, options)
            elif name in ("v", "variables"):
                self._set("variables", self.variables, {key: _decoded(text) for key, text in pairs.items()})
            else:
                values = {key: _value(text) for key, text in pairs.items()}
                self._add_operation(name, values, define=self.is_dynamic and first)

    def calls(self) -> tuple[OperationCall, ...]:
        return tuple(self._calls)

    def _add_operation(self, name: str, values: dict[str, str | Expression], *, define: bool) -> None:
        called = [] if define else [call for call in self._calls if call.name == name]
        if not called and (define or not self.is_dynamic):
            called = [OperationCall(name, {})]
            self._calls += called
            if len(self._calls) > MAX_OPERATIONS:
                raise RenderTooLarge(f"The URL has more than {MAX_OPERATIONS} operations. Use fewer.")
        for call in called:
            self._set(name, call.options, values)

    def _set(self, name: str, target: dict[str, Any], values: dict[str, Any]) -> None:
        for key, value in values.items():
            if value == UNDEFINED:
                target.pop(key, None)
                self.undefined[f"{name}.{key}"] = None
            else:
                target[key] = value
                self.undefined.pop(f"{name}.{key}", None)


def _parts_of(segment: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The name of each part and its pairs, whose values are still encoded."""
    parts: list[list[str]] = []
    for piece in filter(None, _split(segment, PART_SEPARATOR)):
        tokens = _split(piece, HYPHEN)
        lacks_value = bool(parts) and len(parts[-1]) % 2 == 0
        if lacks_value and "0" <= piece[0] <= "9":  # angle--45 is a negative number
            parts[-1] += [f"-{tokens[0]}", *tokens[1:]]
        else:
            parts.append(tokens)
    for name, *tokens in parts:
        if len(tokens) % 2:
            raise InvalidRenderURL(f"{_short(name)}: the option {_short(tokens[-1])} has no value.")
        if not name:
            raise InvalidRenderURL(f"{_short(segment)}: an operation has no name.")
        yield _decoded(name), dict(zip(map(_decoded, tokens[::2]), tokens[1::2], strict=True))


def _value(text: str) -> str | Expression:
    """The decoded value, an expression if brackets enclose it."""
    enclosed = EXPRESSION.fullmatch(text)
    if enclosed and _bracketed(f"-{text}") == [(1, len(text) + 1)]:
        return Expression(_decoded(enclosed["text"]))
    return _decoded(text)


def _decoded(text: str) -> str:
    try:
        decoded = unquote_to_bytes(text.encode()).decode()
    except UnicodeError:
        raise InvalidRenderURL(f"{_short(text)} is not valid UTF-8.") from None
    if INVALID_CHARACTER.search(decoded):
        raise InvalidRenderURL(f"{_short(text)} has an invalid character.")
    return decoded


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


# The query.


def _parse_query(raw_query: str) -> dict[str, str]:
    """The values of v, sig and sigopts; other keys are ignored, and the last value of a key wins."""
    values = {}
    for pair in raw_query.split("&"):
        key, _, value = pair.partition("=")
        if key in ("v", "sig", "sigopts"):
            try:
                values[key] = unquote_plus(value, errors="strict")
            except UnicodeError:
                raise InvalidRenderURL(f"Query parameter {key}: {_short(value)} is not valid UTF-8.") from None
    return values


def _parse_variables(text: str | None) -> dict[str, Scalar]:
    """The stack variables of the query: a JSON object of scalars."""
    if text is None:
        return {}
    found = _parse_object("v", text)
    for name, value in found.items():
        if INVALID_CHARACTER.search(name) or (isinstance(value, str) and INVALID_CHARACTER.search(value)):
            raise InvalidRenderURL(f"Query parameter v: {_short(name)} has an invalid character.")
        if not isinstance(value, Scalar):
            raise InvalidRenderURL(f"Query parameter v: {_short(name)} must be a text, a number, a boolean or null.")
        if isinstance(value, int | float) and abs(value) > MAX_NUMBER:
            raise InvalidRenderURL(f"Query parameter v: the number {_short(name)} exceeds {MAX_NUMBER:g}. Use a text.")
    return found


def _parse_sigopts(text: str) -> SignatureOptions:
    given = _parse_object("sigopts", text)
    until = given.get("until")
    if until is None:
        return SignatureOptions(None, given)
    try:
        time, _, offset = until.rpartition(" ")  # a plus that was not encoded, before the offset to UTC
        date = datetime.fromisoformat(f"{time}+{offset}" if "T" in time else until)
        date = date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (AttributeError, ValueError, OverflowError):  # in UTC, the year can be 0 or 10000
        message = 'Query parameter sigopts: "until" must be a date in ISO 8601, such as 2040-01-01T00:00:00Z.'
        raise InvalidRenderURL(message) from None
    return SignatureOptions(date, given)


def _parse_object(key: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # a few thousand opening brackets fit into a query
        found = None
    if not isinstance(found, dict):
        raise InvalidRenderURL(f"Query parameter {key}: {_short(text)} is not a JSON object. Encode it for a URL.")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are not JSON
