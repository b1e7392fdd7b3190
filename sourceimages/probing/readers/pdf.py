"""PDF. The size is that of the first page in points: its crop box, turned, times its user unit."""

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
        if error.err_code == FPDF_ERR_PASSWORD:  # nobody but its owner can measure it
            return HeaderInfo("pdf")
        raise CorruptFileError("it cannot be opened") from error
    try:
        width, height = document.get_page_size(0)
    except pypdfium2.PdfiumError:  # it has no pages, or they go round in circles
        return HeaderInfo("pdf")
    unit = _user_unit(document)
    return HeaderInfo("pdf", _points(width * unit), _points(height * unit))


class Scan:
    """Takes a document that is being saved and keeps its first user unit only."""

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
    """pdfium does not tell it, but copies it: a document of only that page has it in plain sight."""
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
