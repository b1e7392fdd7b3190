"""Uploads of files that decode to far more than they contain: an SVG, a ZIP and PNGs of up to 400 megapixels."""

import http.client
import io
import itertools
import struct
import zipfile
import zlib
from contextlib import ExitStack, closing

from benchmarks.attacks.attack import Attack, repeat, run
from benchmarks.common import ORGANIZATION

MEGAPIXEL_SIDES = (14_000, 20_000)  # below and above MAX_MEGAPIXELS


def png(side: int, number: int) -> bytes:
    """A gray PNG whose pixels are zeros; `number` makes it a different file."""
    packer, packed = zlib.compressobj(1), io.BytesIO()
    for _ in range(side):
        packed.write(packer.compress(bytes(side + 1)))
    packed.write(packer.flush())
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"tEXt", b"number\0%d" % number), (b"IDAT", packed.getvalue()), (b"IEND", b"")]
    written = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + written


def svg() -> bytes:
    """Ten levels of entities, each of which has the level below ten times."""
    levels = "".join(f'<!ENTITY l{level} "{f"&l{level - 1};" * 10}">' for level in range(1, 10))
    return f'<!DOCTYPE svg [<!ENTITY l0 "x">{levels}]><svg xmlns="http://www.w3.org/2000/svg">&l9;</svg>'.encode()


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(100_000_000))
    return content.getvalue()


def start(attack: Attack, stack: ExitStack) -> None:
    files = itertools.cycle([*(png(side, 1) for side in MEGAPIXEL_SIDES), svg(), zipped()])

    def upload() -> None:
        body = b'--attack\r\nContent-Disposition: form-data; name="filedata"; filename="a"\r\n\r\n' + next(files)
        body += b"\r\n--attack--\r\n"
        headers = attack.server.headers | {"Content-Type": "multipart/form-data; boundary=attack"}
        with closing(http.client.HTTPConnection("127.0.0.1", attack.server.port, timeout=60)) as connection:
            connection.request("POST", f"/sourceimages/{ORGANIZATION}", body, headers)
            attack.statuses[str(connection.getresponse().status)] += 1

    repeat(attack, stack, upload, pause=0.1, threads=attack.count)


if __name__ == "__main__":
    run(start, __doc__, count=4, images=0)
