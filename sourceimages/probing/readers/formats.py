"""The supported formats and their readers.

Modules are imported on first use: most workers never need all libraries.
"""

from importlib import import_module
from typing import Any, BinaryIO

from .header import MAX_DIMENSION, CorruptFileError, HeaderInfo, UnsupportedFormatError
from .signatures import HEAD_SIZE, signature

MIMETYPES = {  # as registered with IANA; other formats are not supported
    "png": "image/png",
    "jpg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "avif": "image/avif",
    "heic": "image/heic",
    "jxl": "image/jxl",
    "tif": "image/tiff",
    "psd": "image/vnd.adobe.photoshop",
    "dng": "image/x-adobe-dng",  # camera raws: names in common use, as IANA has none
    "nef": "image/x-nikon-nef",
    "nrw": "image/x-nikon-nrw",
    "cr2": "image/x-canon-cr2",
    "arw": "image/x-sony-arw",
    "pef": "image/x-pentax-pef",
    "srw": "image/x-samsung-srw",
    "orf": "image/x-olympus-orf",
    "rw2": "image/x-panasonic-rw2",
    "3fr": "image/x-hasselblad-3fr",
    "iiq": "image/x-phaseone-iiq",
    "svg": "image/svg+xml",
    "eps": "application/postscript",
    "pdf": "application/pdf",
    "doc": "application/msword",
    "xls": "application/vnd.ms-excel",
    "ppt": "application/vnd.ms-powerpoint",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "rtf": "application/rtf",
    "txt": "text/plain",
    "csv": "text/csv",
    "zip": "application/zip",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "ttf": "font/ttf",
    "otf": "font/otf",
    "woff": "font/woff",
    "woff2": "font/woff2",
}
HEADERS = {  # by signature: module and function; formats without one are identified by signature alone
    "png": ("png", "read"),
    "jpg": ("jpeg", "read"),
    "gif": ("gif", "read"),
    "webp": ("webp", "read"),
    "avif": ("heif", "read_avif"),
    "heic": ("heif", "read_heic"),
    "jxl": ("jxl", "read"),
    "tif": ("tiff", "read"),
    "cr2": ("camera_raw", "read_cr2"),
    "iiq": ("camera_raw", "read_iiq"),
    "orf": ("camera_raw", "read_orf"),
    "rw2": ("camera_raw", "read_rw2"),
    "psd": ("psd", "read"),
    "svg": ("svg", "read"),
    "eps": ("eps", "read"),
    "pdf": ("pdf", "read"),
    "zip": ("office", "read_zip"),
    "compound": ("office", "read_compound"),
    "text": ("text", "read"),
}
STRUCTURES = {  # functions that check whether the file is structurally complete
    "png": ("png", "problem"),
    "jpg": ("jpeg", "problem"),
    "gif": ("gif", "problem"),
    "webp": ("webp", "problem"),
    "avif": ("heif", "problem"),
    "heic": ("heif", "problem"),
    "jxl": ("jxl", "problem"),
    "tif": ("tiff", "problem"),
    "psd": ("psd", "problem"),
    "mp4": ("movie", "problem"),
    "mov": ("movie", "problem"),
}
PIXELS = {
    "png": ("png", "is_opaque"),
    "gif": ("gif", "is_opaque"),
    "webp": ("webp", "is_opaque"),
    "avif": ("heif", "is_avif_opaque"),
    "heic": ("heif", "is_heic_opaque"),
    "jxl": ("jxl", "is_opaque"),
    "tif": ("tiff", "is_opaque"),
    "psd": ("psd", "is_opaque"),
}


def read(path: str) -> HeaderInfo:
    """Format and dimensions from the header, without decoding pixels."""
    with open(path, "rb") as file:
        name = signature(file.read(HEAD_SIZE)) or "text"
        header = _read_header(name, file) if name in HEADERS else HeaderInfo(name)
    if header.format not in MIMETYPES:
        raise UnsupportedFormatError(f"The file format is not supported: {header.format}.")
    return header


def problem(path: str, format: str) -> str | None:
    """What the file lacks structurally, as a phrase; None if nothing."""
    if format not in STRUCTURES:
        return None
    try:
        with open(path, "rb") as file:
            found: str | None = _load(STRUCTURES[format])(file)
            return found
    except CorruptFileError as error:
        return str(error)
    except Exception:  # noqa: BLE001, as below
        return "its structure is invalid"


def is_opaque(path: str, format: str) -> bool:
    """Return whether all pixels are known to be opaque. Pixels that can't be decoded count as not opaque."""
    try:
        return bool(_load(PIXELS[format])(path))
    except Exception:  # noqa: BLE001, libraries raise any error for damaged files
        return False


def _read_header(name: str, file: BinaryIO) -> HeaderInfo:
    file.seek(0)
    try:
        header: HeaderInfo = _load(HEADERS[name])(file)
    except UnsupportedFormatError:
        raise
    except CorruptFileError as error:
        problem = str(error)
    except MemoryError:
        problem = "reading it exceeds the memory limit"
    except Exception:  # noqa: BLE001, as above
        problem = "its header is invalid"
    else:
        if 0 <= header.width <= MAX_DIMENSION and 0 <= header.height <= MAX_DIMENSION:
            return header
        problem = "its header has an impossible size"
    raise CorruptFileError(f"The file has the signature of the format {name}, but {problem}.")


def _load(place: tuple[str, str]) -> Any:
    module, function = place
    return getattr(import_module(f".{module}", __package__), function)
