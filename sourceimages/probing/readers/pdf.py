"""PDF. The size is that of the first page in points: the crop box times the user unit, rotated."""

import math
import re
from typing import BinaryIO

import pypdfium2
from pypdfium2.raw import FPDF_ERR_PASSWORD

from .header import MAX_DIMENSION, CorruptFileError, HeaderInfo

USER_UNIT = re.compile(rb"/Type/Page/UserUnit ([\d.]+)")


def read(file: BinaryIO) -> HeaderInfo:
    try:
        document = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        if error.err_code == FPDF_ERR_PASSWORD:  # readable only with the password
            return HeaderInfo("pdf")
        raise CorruptFileError("it can't be opened") from error
    try:
        width, height = document.get_page_size(0)
    except pypdfium2.PdfiumError:  # no pages, or a loop of pages
        return HeaderInfo("pdf")
    unit = _user_unit(document)
    return HeaderInfo("pdf", _points(width * unit), _points(height * unit))


class Scan:
    """A write target that only keeps the first user unit of the document."""

    def __init__(self) -> None:
        self.user_unit = 1.0
        self._found = False
        self._end = b""

    def write(self, block: bytes) -> int:
        if not self._found and (match := USER_UNIT.search(self._end + block)):
            self.user_unit = float(match[1])
            self._found = True
        self._end = bytes(block[-64:])
        return len(block)


def _user_unit(document: pypdfium2.PdfDocument) -> float:
    """The user unit of the first page. pdfium has no API for it, but writes it when the page is saved separately."""
    only = pypdfium2.PdfDocument.new()
    scan = Scan()
    try:
        only.import_pages(document, [0])
        only.save(scan)
    except (pypdfium2.PdfiumError, ValueError):
        pass
    return scan.user_unit


def _points(side: float) -> int:
    return round(side) if math.isfinite(side) and 0 < side <= MAX_DIMENSION else 0
