"""PDF: one page, rendered by pdfium at exactly the size of the result."""

import ctypes

import pypdfium2
import pyvips
from pypdfium2 import raw as pdfium

from .problems import InvalidOption, UnreadableSource, check_pixels
from .sizes import Size, rounded
from .source import Source
from .state import scaling

POINTS_PER_INCH = 72
MIN_WIDTH = 1000  # pixels; a page that would be narrower is rendered with twice the resolution
MAX_SIDE = 32_000
WHITE = 0xFFFFFFFF


def open_source(path: str, *, page: int, dpi: int, max_pixels: int) -> Source:
    """Raises InvalidOption if the document has no such page."""
    document = pypdfium2.PdfDocument(path)
    if page > len(document):
        raise InvalidOption(f"pdf.page must be at most {len(document)}, the number of pages, not {page}.")
    opened = document[page - 1]
    width, height = opened.get_size()
    if not (0 < width < MAX_SIDE and 0 < height < MAX_SIDE):
        raise UnreadableSource("The page has no valid size.")
    scale = dpi / POINTS_PER_INCH
    if rounded(width * scale) < MIN_WIDTH:
        scale *= 2
    size = Size(rounded(width * scale), rounded(height * scale))

    def decode(target: Size | None) -> list[pyvips.Image]:
        check_pixels(*(target or size), max_pixels, hint="Resize, or lower pdf.dpi.")
        return [_render(opened, target or size)]

    return Source(size, decode, transform=scaling(size.width / width, size.height / height))


def _render(page: pypdfium2.PdfPage, size: Size) -> pyvips.Image:
    bitmap = pypdfium2.PdfBitmap.new_native(*size, pdfium.FPDFBitmap_BGRx)
    pdfium.FPDFBitmap_FillRect(bitmap, 0, 0, *size, WHITE)
    pdfium.FPDF_RenderPageBitmap(bitmap, page, 0, 0, *size, 0, pdfium.FPDF_ANNOT)
    data = ctypes.string_at(bitmap.buffer, bitmap.stride * size.height)
    image = pyvips.Image.new_from_memory(data, bitmap.stride // 4, size.height, 4, "uchar").crop(0, 0, *size)
    return image[2].bandjoin([image[1], image[0]]).copy(interpretation="srgb")
