"""Plain text and CSV: the fallback if no signature matches. Executable text is refused."""

import codecs
import csv
import re
from typing import BinaryIO

from .header import HeaderInfo, UnsupportedFormatError

HEAD = 2**20  # bytes read
TABLE = 64 * 1024  # of these, bytes tested as CSV
DELIMITERS = ",;\t|"
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
ACTIVE = re.compile(
    r"\A\s*(#!|push graphic-context|viewbox )"  # scripts, and drawing commands that can read files and URLs
    r"|<(\?php|!doctype html|html|head|body|script|iframe|object|embed)\b",
    re.IGNORECASE,
)


def read(file: BinaryIO) -> HeaderInfo:
    file.seek(0)
    data = file.read(HEAD + 1)
    text = decode(data[:HEAD])
    if text is None or CONTROL_CHARACTERS.search(text):
        raise UnsupportedFormatError("The file format is unknown.")
    if ACTIVE.search(text):
        raise UnsupportedFormatError("The file is executable text. Scripts and HTML are not supported.")
    return HeaderInfo("csv" if _is_table(text, complete=len(data) <= TABLE) else "txt")


def decode(data: bytes) -> str | None:
    """The decoded text, or None. The last character can be truncated."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            return _decode(data, encoding)
    text = _decode(data, "utf-8")
    if text is None and sum(byte < 128 for byte in data) >= 0.75 * len(data):  # a Western 8-bit encoding
        text = _decode(data, "cp1252")
    return text


def _decode(data: bytes, encoding: str) -> str | None:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeError:
        return None


def _is_table(text: str, *, complete: bool) -> bool:
    """Return whether all lines have the same number of columns, at least two, with one of the delimiters."""
    lines = text[:TABLE].splitlines()
    if not complete:
        lines = lines[:-1]
    return any(_has_columns(lines, delimiter) for delimiter in DELIMITERS)


def _has_columns(lines: list[str], delimiter: str) -> bool:
    try:
        counts = {len(row) for row in csv.reader(lines, delimiter=delimiter) if row}
    except csv.Error:
        return False
    return len(lines) > 1 and len(counts) == 1 and counts.pop() > 1
