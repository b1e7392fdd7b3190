"""Choose the format of a result, and the options with which it is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rendering.errors import FormatUnavailable
from rendering.grammar import VIDEO_FORMATS
from sourceimages.formats import VIDEOS

DEVICE_PIXEL_RATIO_QUALITY = 1.5  # above this dpr, the default quality is lower, as pixels are smaller
QUALITY_REDUCTION = 10
LOSSLESS = 100  # as a quality of WebP
WHITE = "FFFFFF"

ANIMATED_FORMATS = frozenset({"gif", "webp"})
VECTOR_OPERATIONS = frozenset({"resize", "svgdynamic"})  # that keep an SVG a vector image
PREFERRED_FORMATS = ("avif", "webp")  # of autoformat
OUTPUT_OPTIONS = {  # the stack options that change the content of files in each format
    "jpg": ("jpg.quality", "interlacing.mode", "jpg.transparency.color"),
    "png": ("png.compression_level", "interlacing.mode"),
    "gif": ("gif.quality",),
    "webp": ("webp.quality",),
    "avif": ("avif.quality",),
    "jxl": ("jxl.quality",),
    "jp2": ("jp2.quality",),
    "svg": (),
    "blur": (),
}


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a client prefers, from its request headers."""

    accept: str = ""
    save_data: bool = False

    def accepts(self, media_type: str) -> bool:
        """Return whether the client names this media type or range. `*/*` does not name a type: all clients send it."""
        for part in self.accept.split(","):
            name, *parameters = (word.strip().lower() for word in part.split(";"))
            if name == media_type:
                return not any(word.startswith("q=") and word[2:].strip("0.") == "" for word in parameters)
        return False


@dataclass(frozen=True, slots=True)
class Output:
    """The format, the options that a worker needs to write it, and whether the Accept header decided."""

    format: str
    options: Mapping[str, Any]  # of all formats
    transparent_format: str | None  # instead, if the result has transparent pixels
    large_format: str | None  # instead, if the result is too large for `format`
    depends_on_accept: bool

    @property
    def alternatives(self) -> dict[str, str]:
        given = {"transparent_format": self.transparent_format, "large_format": self.large_format}
        return {name: format for name, format in given.items() if format}

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats that the result can have."""
        return (self.format, *self.alternatives.values())

    def as_json(self) -> dict[str, Any]:
        return {"format": self.format, "options": dict(self.options), **self.alternatives}


def choose_output(
    requested: str,
    source_format: str,
    operations: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
    explicit: Mapping[str, Any],
    preferences: Preferences,
) -> Output:
    """Choose the output for a requested format.

    `options` are the stack options with defaults, `explicit` those without. Raises FormatUnavailable.
    """
    _check_format(requested, source_format)
    vector = source_format == "svg" and all(one["name"] in VECTOR_OPERATIONS for one in operations)
    format, negotiated = _format(requested, options, preferences, vector=vector)
    transparent_format, by_accept = None, False
    if format == "jpg":
        transparent_format, by_accept = _transparent_format(options, preferences)
    # What a client accepts only because it is smaller must not be refused because it is too large.
    large_format = {"svg": "png"}.get(requested, requested) if negotiated and format in PREFERRED_FORMATS else None
    values: dict[str, Any] = {}
    for one in filter(None, (large_format, transparent_format, format)):
        values |= _values(one, requested, options, explicit)
    if source_format == "pdf":
        values |= {name: options.get(name) for name in ("pdf.page", "pdf.dpi")}
    return Output(format, values, transparent_format, large_format, depends_on_accept=negotiated or by_accept)


def _check_format(requested: str, source_format: str) -> None:
    if requested in VIDEO_FORMATS or source_format in VIDEOS:
        raise FormatUnavailable("This server does not render videos. Download the original instead.")
    if requested not in OUTPUT_OPTIONS:
        raise FormatUnavailable(f"This server can't render to {requested!r}. Use one of {', '.join(OUTPUT_OPTIONS)}.")


def _format(requested: str, options: Mapping[str, Any], preferences: Preferences, *, vector: bool) -> tuple[str, bool]:
    """The format, and whether the Accept header decided."""
    automatic = bool(options["autoformat"])
    excluded = {word.strip() for word in str(options.get("autoformat.exclude") or "").split(",")}
    accepted = [one for one in PREFERRED_FORMATS if one not in excluded and preferences.accepts(f"image/{one}")]
    if requested == "svg":
        if vector:
            return "svg", False
        if not automatic or "svg_to_png" in excluded:
            raise FormatUnavailable(
                "The result is not a vector image. Request another format, such as png, or use autoformat."
            )
        return accepted[0] if accepted else "png", True
    if not automatic or requested not in ("jpg", "png"):
        return requested, False
    if vector and "svg" not in excluded:
        return "svg", True
    return accepted[0] if accepted else requested, True


def _transparent_format(options: Mapping[str, Any], preferences: Preferences) -> tuple[str | None, bool]:
    """The format instead of JPEG (jpg.transparency.autoformat), and whether the Accept header decided."""
    wanted = str(options.get("jpg.transparency.autoformat") or "false").lower()
    if wanted == "false" or options.get("jpg.transparency.convert") or options.get("transparency.color"):
        return None, False
    if wanted in ("png", "webp"):
        return wanted, False
    if preferences.accepts("image/webp"):
        return "webp", True
    return "svg" if preferences.accepts("*/*") else "png", True


def _values(format: str, requested: str, options: Mapping[str, Any], explicit: Mapping[str, Any]) -> dict[str, Any]:
    """The options that change the content of the file."""
    values: dict[str, Any] = {name: options.get(name) for name in OUTPUT_OPTIONS[format]}
    if color := options.get("transparency.color"):
        values["transparency.color"] = color
    elif requested == "jpg" and format != "jpg" and options.get("jpg.transparency.convert"):
        values["transparency.color"] = options.get("jpg.transparency.color") or WHITE
    if format == "png":  # the worker chooses a faster level than the documented default
        values["png.compression_level"] = explicit.get("png.compression_level")
    quality = f"{format}.quality"
    if quality in values and explicit.get(quality) is None:
        if format == "webp" and requested == "png":
            values[quality] = LOSSLESS  # as what was asked for
        elif options["dpr"] > DEVICE_PIXEL_RATIO_QUALITY and format in ("jpg", "webp"):
            values[quality] -= QUALITY_REDUCTION
    return values
