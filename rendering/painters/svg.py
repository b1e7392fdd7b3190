"""SVG: rasterized by libvips from memory, or answered as SVG in a new size, without anything active."""

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pyvips
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

from sourceimages.probing.readers import svg as reader
from sourceimages.probing.readers.header import CorruptFileError, UnsupportedFormatError

from . import to_srgb
from .channels import resample
from .problems import FormatUnavailable, InvalidOperation, TooLarge, UnreadableSource
from .sizes import Size, resizing
from .source import Source

MAX_DISTORTION = 0.02  # difference of aspect ratios by rounding
MAX_BYTES = 32 * 2**20
MAX_DEPTH = 256  # as of libxml2
GZIP, GZIP_WINDOW = b"\x1f\x8b", 31
SVG, XLINK, XML = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "http://www.w3.org/XML/1998/namespace"
HREFS = {"href", f"{{{XLINK}}}href", "src"}
ACTIVE_TAGS = {"script", "foreignObject", "handler", "listener", "iframe", "embed", "object", "audio", "video"}
ANIMATIONS = {"set", "animate", "animateTransform", "animateMotion", "animateColor"}
EMBEDDED = re.compile(r"data:image/(?:png|jpe?g|gif|webp|avif);base64,[A-Za-z0-9+/=\s]*\Z", re.IGNORECASE)
FRAGMENT = re.compile(r"#[^\s\"'<>()]*\Z")
EXTERNAL_URL = re.compile(r"url\(\s*+(?![\"']?#)[^)]*\)?", re.IGNORECASE)
ACTIVE_STYLE = re.compile(
    r"@import[^;]*;?|(?:expression|image-set|cross-fade|\bsrc|\bimage)\s*\([^)]*\)?|javascript:|behavior\s*:|-moz-binding|\\",
    re.IGNORECASE,
)
CHANGEABLE = re.compile(r"(?!on|href|src|style|id\b|class\b|xmlns|attributename)[a-z][a-z0-9-]*\Z", re.IGNORECASE)
VECTOR_OPERATIONS = {"resize", "noop", "svgdynamic", "autorotate"}

ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)


def open_source(path: str, changes: Sequence[Mapping[str, str]] = ()) -> Source:
    """The drawing with the changes of svgdynamic. libvips gets no path, so the SVG can't load other files."""
    content = _read(path)
    if changes:
        root = _parse(content)
        _check_depth(root)
        _change(root, changes)
        content = ElementTree.tostring(root)
    natural = pyvips.Image.svgload_buffer(content)
    size = _size(path, natural)

    def decode(target: Size | None) -> list[pyvips.Image]:
        target = target or size
        scale = max(target.width / natural.width, target.height / natural.height)
        drawn = pyvips.Image.svgload_buffer(content, scale=scale)
        return [to_srgb.convert(_exactly(drawn, target))]

    return Source(size, decode)


def _size(path: str, natural: pyvips.Image) -> Size:
    """The size in CSS pixels. libvips has other pixels per inch, but knows the extent of drawings without a size."""
    size = _natural_size(path)
    distortion = abs(size.width * natural.height / (size.height * natural.width) - 1)
    one_pixel = 1 / min(size.width, size.height)
    return Size(natural.width, natural.height) if distortion > max(MAX_DISTORTION, one_pixel) else size


def _exactly(drawn: pyvips.Image, target: Size) -> pyvips.Image:
    """In the exact size. A pixel that rounding adds or removes is not worth resampling."""
    if abs(drawn.width - target.width) <= 1 and abs(drawn.height - target.height) <= 1:
        return drawn.embed(0, 0, *target, extend="copy")
    return resample(drawn, *target)


def answer(path: str, operations: Sequence[Mapping[str, Any]]) -> tuple[bytes, Size]:
    """The SVG after the operations, sanitized. Raises FormatUnavailable if an operation needs pixels."""
    for operation in operations:
        options = operation["options"]
        boxed = operation["name"] == "autorotate" and options.get("width") and options.get("height")
        if operation["name"] not in VECTOR_OPERATIONS or boxed:
            raise FormatUnavailable(f"The result of {operation['name']} can't be an SVG. Ask for png or webp.")
    size = _natural_size(path)
    root = _parse(_read(path))
    _check_depth(root)
    _change(root, changes_of(operations))
    _sanitize(root)
    if "viewBox" not in root.attrib:
        root.set("viewBox", f"0 0 {size.width} {size.height}")
    for operation in operations:
        if operation["name"] == "resize":
            options = operation["options"]
            if options.get("mode") == "absolute" and options.get("width") and options.get("height"):
                root.set("preserveAspectRatio", "none")
            size = resizing(size, options, float(operation.get("dpr") or 1)).size
    root.set("width", str(size.width))
    root.set("height", str(size.height))
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True), size


def changes_of(operations: Iterable[Mapping[str, Any]]) -> list[Mapping[str, str]]:
    """The changes of all svgdynamic operations, in order."""
    return [
        change
        for operation in operations
        if operation["name"] == "svgdynamic"
        for change in operation["options"].get("changes") or []
    ]


def _read(path: str) -> bytes:
    """The text as UTF-8, whatever its encoding was."""
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if data.startswith(GZIP):
        data = zlib.decompressobj(GZIP_WINDOW).decompress(data, MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise TooLarge(f"The SVG is larger than {MAX_BYTES // 2**20} MB, the limit for rendering.")
    return reader.DECLARATION.sub("", reader.decode(data)).lstrip().encode()


def _natural_size(path: str) -> Size:
    try:
        with open(path, "rb") as file:
            header = reader.read(file)
    except (CorruptFileError, UnsupportedFormatError, zlib.error) as error:
        raise UnreadableSource(f"The source is not a valid SVG: {error}") from error
    return Size(header.width, header.height)


def _parse(content: bytes) -> Element:
    """The root element. Internal entities are allowed, as drawing programs use them; expat limits their expansion."""
    parser = DefusedXMLParser(forbid_dtd=False, forbid_entities=False, forbid_external=True)
    try:
        parser.feed(content)
        root: Element = parser.close()
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise UnreadableSource("The SVG is not well-formed XML, or refers to external entities.") from error
    if _local_name(root) != "svg":
        raise UnreadableSource("The source is not a valid SVG.")
    return root


def _check_depth(root: Element) -> None:
    """Raises TooLarge for elements that are nested too deep to be written, which is recursive."""
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise TooLarge(f"The SVG is nested deeper than {MAX_DEPTH} levels, the limit for rendering.")
        level = [child for element in level for child in element]


def _change(root: Element, changes: Sequence[Mapping[str, str]]) -> None:
    for change in changes:
        id, attribute, value = (str(change.get(key, "")) for key in ("id", "attr", "value"))
        if not CHANGEABLE.match(attribute):
            raise InvalidOperation(
                f"svgdynamic can't change the attribute {attribute[:40]!r}. Use one without scripts."
            )
        if _is_active_value(value):
            raise InvalidOperation(f"svgdynamic can't set {attribute!r} to this value: it refers to other files.")
        for element in root.iter():
            if element.get("id") == id:
                element.set(attribute, value)


def _is_active_value(value: str) -> bool:
    return bool(EXTERNAL_URL.search(value) or ACTIVE_STYLE.search(value))


def _local_name(element: Element) -> str:
    """The name in the namespace of SVG, or without any; empty for other elements."""
    tag = element.tag
    if not isinstance(tag, str):  # a comment, which the parser drops
        return ""
    if tag.startswith("{"):
        return tag.removeprefix(f"{{{SVG}}}") if tag.startswith(f"{{{SVG}}}") else ""
    return tag


def _sanitize(element: Element) -> None:
    """Remove scripts, links, references to other files, and elements and attributes of other namespaces."""
    name = _local_name(element)
    element.tag = f"{{{SVG}}}{'g' if name == 'a' else name}"  # what a link contains stays visible
    for name, value in list(element.attrib.items()):
        if not _is_safe_attribute(name, value):
            del element.attrib[name]
    if name == "style":
        element.text = ACTIVE_STYLE.sub("", EXTERNAL_URL.sub("none", element.text or ""))
    for child in list(element):
        if _is_safe_element(child):
            _sanitize(child)
        else:
            _remove(element, child)


def _remove(parent: Element, child: Element) -> None:
    """Remove the element, but no text after it."""
    index = list(parent).index(child)
    if child.tail:
        before = parent[index - 1] if index else None
        if before is None:
            parent.text = (parent.text or "") + child.tail
        else:
            before.tail = (before.tail or "") + child.tail
    parent.remove(child)


def _is_safe_element(element: Element) -> bool:
    name = _local_name(element)
    if not name or name in ACTIVE_TAGS:
        return False
    target = element.get("attributeName", "").lower()
    return not (name in ANIMATIONS and (target.endswith("href") or target.startswith("on") or target == "src"))


def _is_safe_attribute(name: str, value: str) -> bool:
    if name in HREFS:
        return bool(FRAGMENT.match(value.strip()) or EMBEDDED.match(value.strip()))
    if name.startswith("{"):
        return name == f"{{{XML}}}space"
    return not name.lower().startswith("on") and not _is_active_value(value)
