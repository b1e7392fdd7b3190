"""Detect the format of a file by its first bytes. The first matching row applies."""

import re

HEAD_SIZE = 4096

# Formats without a media type in formats.py are listed so that no other row matches them.
SIGNATURES = [
    (format, re.compile(pattern, re.DOTALL))
    for format, pattern in [
        ("png", rb"\x89PNG\r\n\x1a\n"),
        ("jpg", rb"\xff\xd8\xff"),
        ("gif", rb"GIF8[79]a"),
        ("webp", rb"RIFF.{4}WEBP"),
        ("jxl", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
        ("cr2", rb"II\*\0.{4}CR"),
        ("iiq", rb"II\*\0.{4}IIII.waR|MM\0\*.{4}MMMMRaw"),
        ("tif", rb"II[*+]\0|MM\0[*+]"),
        ("orf", rb"IIR[OS]|MMOR"),
        ("rw2", rb"IIU\0"),
        ("crw", rb"II.{4}HEAPCCDR"),
        ("raf", rb"FUJIFILMCCD-RAW"),
        ("mrw", rb"\0MRM"),
        ("x3f", rb"FOVb"),
        ("jxr", rb"II\xbc"),
        ("psd", rb"8BPS\0[\x01\x02]"),
        ("eps", rb"\x04?%!PS-Adobe-\d\.\d EPSF-|\xc5\xd0\xd3\xc6"),
        ("pdf", rb"%PDF-"),  # at the start of the file; for other positions see below
        ("zip", rb"PK(?:\x03\x04|\x05\x06)"),
        ("compound", rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
        ("rtf", rb"\{\\rtf"),
        ("mov", rb".{4}(?:moov|mdat|wide)"),
        ("webm", rb"\x1a\x45\xdf\xa3.{0,64}?\x42\x82\x84webm"),
        ("ttf", rb"(?:\0\x01\0\0|true)\0[\x01-\xff].{6}[ -~]{4}"),
        ("otf", rb"OTTO\0"),
        ("woff", rb"wOFF(?:\0\x01\0\0|OTTO|true)"),
        ("woff2", rb"wOF2(?:\0\x01\0\0|OTTO|true|ttcf)"),
        ("exe", rb"MZ.{0,60}\0"),
        ("elf", rb"\x7fELF"),
        ("macho", rb"\xfe\xed\xfa[\xce\xcf]|[\xce\xcf]\xfa\xed\xfe|\xca\xfe\xba\xbe"),
        ("bmp", rb"BM.{4}\0{4}"),
        ("svg", rb"\x1f\x8b|(?:\xef\xbb\xbf)?\s*<|(?:\xff\xfe)?(?:\s\0)*<\0|(?:\xfe\xff)?(?:\0\s)*\0<"),
    ]
]

BRANDS = {  # of files that start with an ftyp box; the first known brand applies
    **dict.fromkeys((b"avif", b"avis"), "avif"),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"), "heic"),
    **dict.fromkeys((b"mp41", b"mp42", b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"avc1", b"M4V ", b"dash"), "mp4"),
    b"qt  ": "mov",
    b"M4A ": "m4a",
    b"crx ": "cr3",
}
PDF_HEAD = 1024  # bytes in which readers look for the PDF header
PDF_HEADER = re.compile(rb"%PDF-\d\.\d(?:\s|.*?\d \d+ obj\b)", re.DOTALL)  # excludes texts that mention it
SVG_ROOT = re.compile(rb"<(?:\w+:)?svg\b")
GZIP = b"\x1f\x8b"
GENERIC_BRANDS = {b"mif1", b"mif3", b"msf1"}  # HEIF with any codec


def signature(head: bytes) -> str | None:
    """The format whose signature is at the start of `head`."""
    if head[4:8] == b"ftyp":
        return _brand(head[8 : int.from_bytes(head[:4])])
    found = next((format for format, pattern in SIGNATURES if pattern.match(head)), None)
    return "pdf" if found in (None, "svg") and _has_pdf_header(head) else found


def _has_pdf_header(head: bytes) -> bool:
    """Return whether the data is a PDF preceded by other text, such as the headers of an email."""
    header = PDF_HEADER.search(head)
    if header is None or header.start() + len("%PDF-") > PDF_HEAD:
        return False
    return not head.startswith(GZIP) and not SVG_ROOT.search(head[: header.start()])


def _brand(content: bytes) -> str | None:
    brands = [content[start : start + 4] for start in range(0, len(content), 4)]
    specific = next((BRANDS[brand] for brand in brands if brand in BRANDS), None)
    return specific or ("heic" if GENERIC_BRANDS & set(brands) else None)
