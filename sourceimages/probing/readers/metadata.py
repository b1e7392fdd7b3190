"""Static metadata of a file: EXIF, IPTC, XMP, color profile, pages, frames, duration.

Groups of plain JSON values. Unreadable parts are omitted; no file is refused here.
"""

import io
import json
import math
import re
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile
from numbers import Rational
from typing import Any, BinaryIO

import pyvips
from PIL import ExifTags, Image, ImageCms

from . import boxes, exif_block, ifds, iptc, movie, packets, png, psd, svg, tiff_tags
from .header import CorruptFileError, read_exactly
from .ifds import Tiff
from .items import Items

Groups = dict[str, dict[str, Any]]

MAX_TEXT = 1000  # characters
MAX_LIST = 32
MAX_BLOCK = 2**20  # size limit in bytes of XMP packets and color profiles
MAX_JSON_LENGTH = 32_000  # characters of all groups as JSON
WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+")
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")

# Storage layout and compression do not describe the image.
IGNORED_EXIF_TAGS = tiff_tags.DROPPED | tiff_tags.BLOCKS | {
    301,  # TransferFunction
    tiff_tags.SUB_IFDS, ifds.EXIF, ifds.GPS, ifds.INTEROPERABILITY,
    tiff_tags.MAKER_NOTE,
    37121,  # ComponentsConfiguration
    37510,  # UserComment
    50341,  # PrintImageMatching
}  # fmt: skip
IPTC = {  # by record and dataset (Information Interchange Model, version 4.2)
    (2, 5): "title",
    (2, 12): "subject_reference",
    (2, 15): "category",
    (2, 25): "keywords",
    (2, 40): "special_instructions",
    (2, 55): "date_created",
    (2, 60): "time_created",
    (2, 80): "byline",
    (2, 85): "byline_title",
    (2, 90): "city",
    (2, 92): "sublocation",
    (2, 95): "province_state",
    (2, 100): "country_code",
    (2, 101): "country",
    (2, 103): "original_transmission_reference",
    (2, 105): "headline",
    (2, 110): "credit",
    (2, 115): "source",
    (2, 116): "copyright_notice",
    (2, 118): "contact",
    (2, 120): "caption",
    (2, 122): "writer_editor",
}
BLANKS = " :"  # EXIF fills unknown texts, such as dates, with these
ZERO_DATE = re.compile(r"[0 :/-]*")
UNKNOWN_IF_ZERO = {  # EXIF tags
    34850,  # ExposureProgram
    34864,  # SensitivityType
    37382,  # SubjectDistance
    37383,  # MeteringMode
    37384,  # LightSource
    41989,  # FocalLengthIn35mmFilm
    41996,  # SubjectDistanceRange
    42080,  # CompositeImage
}
DATES = {306, 36867, 36868}  # DateTime, DateTimeOriginal, DateTimeDigitized
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
NOT_XMP = ("{adobe:ns:meta/}", packets.UNDECLARED)
LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


def describe(path: str, format: str) -> Groups:
    return _limit_size(describe_all(path, format))


def describe_all(path: str, format: str) -> Groups:
    """The metadata without the size limit."""
    groups: Groups = {}
    with open(path, "rb") as file:
        for part in EXTRACTORS.get(format, ()):
            groups |= _safely(part, file)
    return {name: fields for name, fields in groups.items() if fields}


def _safely(part: Callable[..., Groups], *arguments: Any) -> Groups:
    """The result of the reader; empty if the data is invalid."""
    try:
        return part(*arguments)
    except Exception:  # noqa: BLE001, libraries raise any error for damaged files
        return {}


def _limit_size(groups: Groups) -> Groups:
    """The groups, without the largest ones if the total exceeds the limit."""
    while len(json.dumps(groups)) > MAX_JSON_LENGTH:
        groups.pop(max(groups, key=lambda name: len(json.dumps(groups[name]))))
    return groups


# --- Values -----------------------------------------------------------------------------------------------------------


def to_json_value(value: Any) -> Any:
    """The value as JSON; None if it is empty or unsupported."""
    match value:
        case bytes():
            return to_json_value(value.decode("utf-8", "replace")) if b"\0" not in value.rstrip(b"\0") else None
        case str():
            return CONTROLS.sub("", value).strip()[:MAX_TEXT] or None
        case bool() | int():
            return value if abs(value) < 2**53 else None
        case float() | Rational():
            try:
                number = float(value)
            except ZeroDivisionError:
                return None
            return round(number, 6) if math.isfinite(number) else None
        case tuple() | list() if len(value) <= MAX_LIST:
            items = [to_json_value(item) for item in value]
            return items if items and None not in items else None
    return None


def _snake_case_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with snake_case names and plain values; empty ones are omitted."""
    values = {WORD_BOUNDARY.sub("_", name).strip("_").lower(): to_json_value(value) for name, value in fields.items()}
    return {name: value for name, value in values.items() if value is not None and name}


# --- EXIF, IPTC, XMP, color profile ----------------------------------------------------------------------------------


def _pillow(*formats: str) -> Callable[[BinaryIO], Groups]:
    """A reader for formats whose header Pillow parses without decoding pixels."""

    def read(file: BinaryIO) -> Groups:
        file.seek(0)
        with Image.open(file, formats=formats) as image:
            groups = _safely(lambda: _exif(_tiff_tags(image)) if image.format == "TIFF" else _exif_of(image))
            groups |= _safely(_xmp, image.info.get("xmp")) | _safely(_icc, image.info.get("icc_profile"))
            groups |= _safely(lambda: _iptc(image.info["photoshop"][psd.IPTC]))
        return groups

    return read


def _exif_of(image: Image.Image) -> Groups:
    """The EXIF block of the file. Image.getexif() would add the orientation of XMP."""
    return _exif_block(image.info.get("exif"))


def _tiff_tags(image: Image.Image) -> Image.Exif:
    exif = image.getexif()
    if ExifTags.Base.Orientation not in getattr(image, "tag_v2", ()):
        exif.pop(ExifTags.Base.Orientation, None)
    return exif


def _heif(file: BinaryIO) -> Groups:
    """Metadata from the items of the file. Decoders report rotation as EXIF orientation, even if the file has none."""
    meta = next(box for box in boxes.walk(file) if box.type == b"meta")
    items = Items(meta)
    groups: Groups = {}
    for item in items.of_type(b"Exif"):
        groups |= _safely(lambda item=item: _heif_exif(items.content(item)))
    for item in items.of_type(b"mime", b"application/rdf+xml"):
        groups |= _safely(lambda item=item: _xmp(items.content(item)))
    return groups | _safely(lambda: next((_icc(profile) for profile in items.profiles()), {}))


def _heif_exif(content: bytes) -> Groups:
    """The EXIF item starts with the offset of the block."""
    return _exif_block(content[4 + int.from_bytes(content[:4]) :])


def _sequence(file: BinaryIO) -> Groups:
    """Frames and duration of a HEIF sequence."""
    track = next(track for track in movie.tracks(file) if track.handler == movie.IMAGES)
    if track.samples < 2:
        return {}
    return {"animation": {"frames": track.samples} | ({"duration": round(track.seconds, 3)} if track.seconds else {})}


def _png(file: BinaryIO) -> Groups:
    """Read chunk by chunk: Pillow would decode all pixels to get to the chunks after them."""
    groups: Groups = {}
    frames, seconds = 0, 0.0
    for type, size in png.chunks(file):
        if type == b"fcTL":
            numerator, denominator = struct.unpack(">20xHH2x", read_exactly(file, 26))
            frames, seconds = frames + 1, seconds + numerator / (denominator or 100)
        elif size > MAX_BLOCK:
            continue
        elif type == b"eXIf":
            groups |= _safely(_exif_block, read_exactly(file, size))
        elif type == b"iCCP":
            _, _, packed = read_exactly(file, size).partition(b"\0")
            groups |= _safely(lambda data: _icc(zlib.decompressobj().decompress(data, MAX_BLOCK)), packed[1:])
        elif type in (b"zTXt", b"tEXt"):
            keyword, _, rest = read_exactly(file, size).partition(b"\0")
            if keyword.lower() == b"raw profile type iptc":
                groups |= _safely(_raw_profile, rest, type == b"zTXt")
        elif type == b"iTXt":
            keyword, _, rest = read_exactly(file, size).partition(b"\0")
            if keyword == b"XML:com.adobe.xmp" and rest[:1] == b"\0":
                groups |= _safely(_xmp, rest[2:].split(b"\0", 2)[-1])
    if frames > 1:
        groups["animation"] = {"frames": frames, "duration": round(seconds, 3)}
    return groups


def _raw_profile(text: bytes, packed: bool) -> Groups:
    """An ImageMagick profile: a line with the name, a line with the size, and lines of hex digits."""
    if packed:
        text = zlib.decompressobj().decompress(text[1:], 2 * MAX_BLOCK)
    return _resources(bytes.fromhex(b"".join(text.split()[2:]).decode("ascii")))


def _exif_block(content: bytes | None) -> Groups:
    """EXIF from a standalone block, which is a small TIFF."""
    exif = Image.Exif()
    exif.load(content or b"")
    return _exif(exif)


def _exif(exif: Image.Exif) -> Groups:
    tags = dict(exif) | exif.get_ifd(ExifTags.IFD.Exif)
    values = {
        ExifTags.TAGS.get(tag, ""): _known(tag, value) for tag, value in tags.items() if tag not in IGNORED_EXIF_TAGS
    }
    return {"exif": _snake_case_fields(values), "location": _location(exif.get_ifd(ExifTags.IFD.GPSInfo))}


def _known(tag: int, value: Any) -> Any:
    """The value of a tag; None if it means "unknown"."""
    if isinstance(value, str):
        text = _utf8(value)
        if tag == ExifTags.Base.Copyright:  # photographer, NUL, editor
            return "; ".join(part for part in (part.strip() for part in text.split("\0")[:2]) if part)
        text = text.partition("\0")[0]
        unknown = not text.strip(BLANKS) or (tag in DATES and ZERO_DATE.fullmatch(text))
        return None if unknown else text
    return None if tag in UNKNOWN_IF_ZERO and value == 0 else value


def _utf8(value: Any) -> Any:
    """Pillow decodes text as Latin-1; EXIF requires ASCII, and cameras write UTF-8."""
    try:
        return value.encode("latin-1").decode() if isinstance(value, str) else value
    except UnicodeError:
        return value


def _location(gps: dict[int, Any]) -> dict[str, Any]:
    """Location in decimal degrees, north and east positive; altitude in meters above sea level."""
    tag = ExifTags.GPS
    degrees = {
        "latitude": _degrees(gps.get(tag.GPSLatitude), gps.get(tag.GPSLatitudeRef) == "S", 90),
        "longitude": _degrees(gps.get(tag.GPSLongitude), gps.get(tag.GPSLongitudeRef) == "W", 180),
    }
    if None in degrees.values():
        return {}
    altitude = to_json_value(gps.get(tag.GPSAltitude))
    if isinstance(altitude, int | float):
        degrees["altitude"] = -altitude if gps.get(tag.GPSAltitudeRef) in (1, b"\x01") else altitude
    return degrees


def _degrees(parts: Any, negative: bool, limit: int) -> float | None:
    """Decimal degrees. Minutes and seconds can be undefined, which makes the location less precise."""
    numbers = [to_json_value(part) for part in parts] if isinstance(parts, tuple | list) and len(parts) <= 3 else []
    if not numbers or not isinstance(numbers[0], int | float):
        return None
    known = list(takewhile(lambda number: isinstance(number, int | float), numbers))
    degrees = round(sum(number / 60**power for power, number in enumerate(known)), 6)
    return (-degrees if negative else degrees) if 0 <= degrees <= limit else None


def _iptc(block: bytes) -> Groups:
    fields: dict[str, Any] = {}
    for dataset in iptc.datasets(block):
        name = IPTC.get((dataset.record, dataset.number))
        if name == "keywords":
            fields.setdefault(name, []).append(_text(dataset.value))
        elif name:
            fields.setdefault(name, _text(dataset.value))
    return {"iptc": _snake_case_fields(fields)}


def _resources(block: bytes) -> Groups:
    """IPTC within Photoshop resources, or bare, as embedded in PNG."""
    if not block.startswith(b"8BIM"):
        return _iptc(block)
    resources = psd.resource_blocks(io.BytesIO(block), 0, len(block))
    return next((_iptc(one.content()) for one in resources if one.number == psd.IPTC), {})


def _text(content: bytes) -> str:
    """The text as UTF-8, or else as Windows-1252, which older programs write."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _xmp(packet: bytes | str | None) -> Groups:
    packet = packet.encode() if isinstance(packet, str) else packet
    if not packet or len(packet) > MAX_BLOCK:
        return {}
    return _rdf(packets.parse(packet))


def _rdf(root: Any) -> Groups:
    fields: dict[str, Any] = {}
    for description in (*root.iter(f"{RDF}Description"), *_typed_nodes(root)):
        for name, value in (*description.attrib.items(), *((child.tag, _values(child)) for child in description)):
            local = name.rpartition("}")[2]
            if name.startswith("{") and not name.startswith((RDF, *NOT_XMP)) and value:
                fields.setdefault(local, value)
    return {"xmp": _snake_case_fields(fields)}


def _typed_nodes(root: Any) -> list[Any]:
    """Typed nodes: RDF descriptions named after their type, as drawing programs write in SVG."""
    return [node for rdf in root.iter(f"{RDF}RDF") for node in rdf if node.tag != f"{RDF}Description"]


def _values(element: Any) -> Any:
    """A text, the texts of a list, or the default text of several languages."""
    container = next((child for child in element if child.tag.startswith(RDF)), None)
    if container is None:
        return element.text if not len(element) else None
    items = list(container)
    if container.tag == f"{RDF}Alt":
        return next((item.text for item in items if item.get(LANGUAGE) == "x-default"), items[0].text if items else "")
    return [item.text for item in items if item.text][:MAX_LIST]


def _icc(profile: bytes | None) -> Groups:
    if not profile or len(profile) > MAX_BLOCK:
        return {}
    parsed = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    values = {"description": parsed.profile_description, "color_space": parsed.xcolor_space}
    return {"icc": _snake_case_fields(values)}


# --- Pages, frames, duration -----------------------------------------------------------------------------------------


def _vips_animation(load: str) -> Callable[[BinaryIO], Groups]:
    def read(file: BinaryIO) -> Groups:
        image = getattr(pyvips.Image, load)(file.name)
        frames = image.get("n-pages") if image.get_typeof("n-pages") else 1
        if frames < 2:
            return {}
        delays = image.get("delay") if image.get_typeof("delay") else []
        return {"animation": {"frames": frames, "duration": sum(delays) / 1000}}

    return read


def _pdf(file: BinaryIO) -> Groups:
    import pypdfium2

    file.seek(0)
    document = pypdfium2.PdfDocument(file)
    groups: Groups = {"pdf": {"pages": len(document)} | _snake_case_fields(document.get_metadata_dict(skip_empty=True))}
    return groups | _safely(lambda: _xmp(packets.of_pdf(file)))


def _gif(file: BinaryIO) -> Groups:
    return _xmp(packets.of_gif(file))


def _eps(file: BinaryIO) -> Groups:
    return _xmp(packets.of_text(file))


def _svg(file: BinaryIO) -> Groups:
    metadata = svg.metadata(file)
    return {} if metadata is None else _rdf(metadata)


def _video(file: BinaryIO) -> Groups:
    """Duration and dimensions from the boxes of MP4 and QuickTime (ISO/IEC 14496-12)."""
    fields: dict[str, Any] = {}
    moov = next(box for box in boxes.readable(file) if box.type == b"moov")
    for box in moov.children():
        if box.type == b"mvhd":
            head = box.content(32)
            scale, duration = struct.unpack(">20xIQ" if head[0] == 1 else ">12xII12x", head)
            if scale and duration not in (2**32 - 1, 2**64 - 1):
                fields["duration"] = round(duration / scale, 3)
    for track in movie.tracks(file):
        if track.width and track.height:
            fields |= {"width": track.width, "height": track.height}
    return {"video": fields}


def _jxl(file: BinaryIO) -> Groups:
    groups = _safely(_jxl_animation, file)
    file.seek(0)
    if file.read(2) == b"\xff\x0a":  # a bare codestream has no boxes
        return groups
    for box in boxes.walk(file):
        if box.type == b"Exif" and box.size < MAX_BLOCK:
            groups |= _safely(_exif_block, box.content()[4:])
        elif box.type == b"xml " and box.size < MAX_BLOCK:
            groups |= _safely(_xmp, box.content())
    return groups


def _jxl_animation(file: BinaryIO) -> Groups:
    from . import jxl_frames

    file.seek(0)
    found = jxl_frames.count(file.read())
    if found.number < 2:
        return {}
    return {"animation": {"frames": found.number, "duration": round(found.seconds, 3)}}


def _font(file: BinaryIO) -> Groups:
    from PIL import ImageFont

    family, style = ImageFont.truetype(file.name).getname()
    return {"font": _snake_case_fields({"family": family, "style": style})}


def _tiff(file: BinaryIO) -> Groups:
    """Pages, and IPTC of the first page, which Pillow parses as numbers."""
    tiff = Tiff(file)
    return {"tiff": {"pages": tiff.pages()}} | _safely(_tiff_iptc, tiff)


def _tiff_iptc(tiff: Tiff) -> Groups:
    entry = tiff.directory(tiff.first).entries.get(tiff_tags.IPTC)
    return _iptc(iptc.straight(tiff.value(entry))) if entry else {}


def _raw(file: BinaryIO) -> Groups:
    """TIFF metadata of camera raws, which Pillow does not recognize as TIFF."""
    tiff = Tiff(file)
    entry = tiff.directory(tiff.first).entries.get(tiff_tags.XMP)
    groups = _safely(lambda: _exif_block(exif_block.from_tiff(tiff, strict=False)))
    return groups | _safely(lambda: _xmp(tiff.value(entry) if entry else None)) | _safely(_tiff_iptc, tiff)


def _photoshop(file: BinaryIO) -> Groups:
    groups: Groups = {}
    with suppress(CorruptFileError):
        for resource in psd.resources(file):
            if part := RESOURCES.get(resource.number):
                groups |= _safely(part, resource.content())
    return groups


RESOURCES: dict[int, Callable[[bytes], Groups]] = {
    psd.ICC: _icc,
    psd.EXIF: _exif_block,
    psd.XMP: _xmp,
    psd.IPTC: _iptc,
}
EXTRACTORS: dict[str, tuple[Callable[[BinaryIO], Groups], ...]] = {
    "jpg": (_pillow("JPEG", "MPO"),),
    "tif": (_pillow("TIFF"), _tiff),
    **dict.fromkeys(("dng", "nef", "nrw", "cr2", "arw", "pef", "srw", "orf", "rw2", "3fr", "iiq"), (_raw,)),
    "webp": (_pillow("WEBP"), _vips_animation("webpload")),
    "gif": (_gif, _vips_animation("gifload")),
    "avif": (_heif, _sequence),
    "png": (_png,),
    "heic": (_heif, _sequence),
    "svg": (_svg,),
    "eps": (_eps,),
    "jxl": (_jxl,),
    "psd": (_photoshop,),
    "pdf": (_pdf,),
    "mp4": (_video,),
    "mov": (_video,),
    "ttf": (_font,),
    "otf": (_font,),
}
