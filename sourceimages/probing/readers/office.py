"""Office documents: the kind is determined by the content of the ZIP or OLE container."""

import re
import zipfile
from typing import BinaryIO

import olefile

from .header import CorruptFileError, HeaderInfo, UnsupportedFormatError

MAX_DESCRIPTION = 2**20
OPEN_DOCUMENT = {
    b"application/vnd.oasis.opendocument.text": "odt",
    b"application/vnd.oasis.opendocument.spreadsheet": "ods",
    b"application/vnd.oasis.opendocument.presentation": "odp",
}
OFFICE_OPEN = {  # by the content type of the main part; types with macros are not listed
    b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml": "docx",
    b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml": "xlsx",
    b"application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml": "pptx",
}
EXECUTABLE_ENTRY = re.compile(  # entries that make a ZIP executable: Java, Android, Office macros
    r"\A(META-INF/MANIFEST\.MF|AndroidManifest\.xml|classes\.dex)\Z|(\A|/)vbaProject\.bin\Z", re.IGNORECASE
)
STREAMS = {"WordDocument": "doc", "Workbook": "xls", "Book": "xls", "PowerPoint Document": "ppt"}


def read_zip(file: BinaryIO) -> HeaderInfo:
    try:
        with zipfile.ZipFile(file) as archive:
            if any(EXECUTABLE_ENTRY.search(name) for name in archive.NameToInfo):
                raise UnsupportedFormatError(
                    "The archive is a program or contains one. Executable files are not supported."
                )
            kind = OPEN_DOCUMENT.get(_content(archive, "mimetype").strip())
            types = _content(archive, "[Content_Types].xml")
    except zipfile.BadZipFile as error:
        raise CorruptFileError("its directory is missing or damaged") from error
    return HeaderInfo(kind or next((kind for type, kind in OFFICE_OPEN.items() if type in types), "zip"))


def read_compound(file: BinaryIO) -> HeaderInfo:
    with olefile.OleFileIO(file) as compound:
        for stream, kind in STREAMS.items():
            if compound.exists(stream):
                return HeaderInfo(kind)
    raise UnsupportedFormatError("The file is an OLE container, but not a Word, Excel or PowerPoint document.")


def _content(archive: zipfile.ZipFile, name: str) -> bytes:
    if name not in archive.NameToInfo:
        return b""
    with archive.open(name) as entry:
        return entry.read(MAX_DESCRIPTION)
