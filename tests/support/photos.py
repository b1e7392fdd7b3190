"""Generated TIFF and PSD files."""

import io
import struct
from typing import Any

import pyvips
from PIL import Image, ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(width: int, height: int, bands: int, *, bits: int = 8, seed: int = 1) -> pyvips.Image:
    """A pattern that compresses well and differs between bands."""
    planes = [
        (pyvips.Image.xyz(width, height)[0] * (3 + band) + pyvips.Image.xyz(width, height)[1] * (seed + 5 * band)) % 251
        for band in range(bands)
    ]
    image = planes[0].bandjoin(planes[1:]) if bands > 1 else planes[0]
    if bits == 16:
        return (image * 257 + 3).cast("ushort").copy(interpretation="rgb16" if bands > 2 else "grey16")
    return image.cast("uchar").copy(interpretation="srgb" if bands > 2 else "b-w")


def tiff(image: pyvips.Image, **options: Any) -> bytes:
    return bytes(image.tiffsave_buffer(**{"compression": "lzw"} | options))


def multipage() -> bytes:
    file = io.BytesIO()
    pages = [Image.new("RGB", (20, 10), color) for color in ("red", "green")]
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    return file.getvalue()


def psd(
    image: pyvips.Image, *, packed: bool = False, large: bool = False, alpha: bool = False, resources: bytes = b""
) -> bytes:
    """A PSD with only the merged image: RGB or gray, 8 or 16 bits (Adobe Photoshop File Formats, 2019)."""
    depth = 16 if image.format == "ushort" else 8
    header = struct.pack(
        ">4sH6xHIIHH", b"8BPS", 2 if large else 1, image.bands, image.height, image.width, depth,
        3 if image.bands > 2 else 1,
    )  # fmt: skip
    length = ">Q" if large else ">I"
    layers = struct.pack(">Ih2x", 4, -1) if alpha else b""  # a negative layer count means transparency
    if large and layers:
        layers = struct.pack(">Qh2x", 4, -1)
    body = header + struct.pack(">I", 0) + struct.pack(">I", len(resources)) + resources
    body += struct.pack(length, len(layers)) + layers
    rows = []
    for band in range(image.bands):
        plane = image[band].byteswap() if depth == 16 else image[band]
        data, size = bytes(plane.write_to_memory()), image.width * depth // 8
        rows += [data[start : start + size] for start in range(0, len(data), size)]
    if not packed:
        return body + struct.pack(">H", 0) + b"".join(rows)
    rows = [_packed(row) for row in rows]
    table = struct.pack(f">{len(rows)}{'I' if large else 'H'}", *map(len, rows))
    return body + struct.pack(">H", 1) + table + b"".join(rows)


def _packed(row: bytes) -> bytes:
    """PackBits with a run at the start and literals after it."""
    run = len(row) - len(row.lstrip(row[:1]))
    run = min(run, 128)
    out = bytes([257 - run]) + row[:1] if run > 1 else b""
    rest = row[run if run > 1 else 0 :]
    for start in range(0, len(rest), 128):
        chunk = rest[start : start + 128]
        out += bytes([len(chunk) - 1]) + chunk
    return out


def resource(number: int, content: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", number, 0, len(content)) + content + b"\0" * (len(content) % 2)
