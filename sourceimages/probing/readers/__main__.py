"""Main loop of the probe worker: reads one JSON request per line and answers each with one JSON line.

With the argument `--writes`, it can also write to files inherited open, and has a higher limit of CPU time.
"""

import json
import os
import sys
from dataclasses import asdict
from typing import Any

from . import formats, sandbox
from .header import CorruptFileError, UnsupportedFormatError

CPU_SECONDS = 5  # CPU time per request
WRITE_CPU_SECONDS = 420


def main() -> None:
    writes = "--writes" in sys.argv
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # output of libraries must not mix with responses
    null_device = os.open(os.devnull, os.O_WRONLY)
    sandboxed = sandbox.enter(writes=writes)
    print(json.dumps({"sandboxed": sandboxed}), file=answers)
    os.dup2(null_device, 1)
    os.dup2(null_device, 2)  # nor fill the log with warnings about hostile files
    for line in sys.stdin:
        sandbox.allow_seconds(WRITE_CPU_SECONDS if writes else CPU_SECONDS)
        request = json.loads(line)
        print(json.dumps(HANDLERS[request.pop("ask")](**request)), file=answers)


def header(path: str) -> dict[str, Any]:
    try:
        header_info = formats.read(path)
    except UnsupportedFormatError as error:
        return {"error": "format_not_allowed", "message": str(error)}
    except CorruptFileError as error:
        return {"error": "unreadable_image", "message": str(error)}
    problem = formats.problem(path, header_info.format)
    return {**asdict(header_info), "mimetype": formats.MIMETYPES[header_info.format], "problem": problem}


def damage(path: str, format: str, problem: str) -> dict[str, Any]:
    from . import damage

    return damage.examine(path, format, problem)


def opaque(path: str, format: str) -> dict[str, Any]:
    return {"opaque": formats.is_opaque(path, format)}


def describe(path: str, format: str) -> dict[str, Any]:
    from . import metadata

    return {"groups": metadata.describe(path, format)}


def colors(path: str, format: str) -> dict[str, Any]:
    from . import colors

    return {"colors": colors.dominant(path, format)}


def thumbnail(path: str, format: str, side: int, upright: bool) -> dict[str, Any]:
    from . import thumbnail

    return thumbnail.render(path, format, side, upright)


def transcode(path: str, format: str, to: str, out: list[Any], scratch: list[Any]) -> dict[str, Any]:
    from . import transcode

    return transcode.transcode(path, format, to, transcode.OutputFile(*out), transcode.OutputFile(*scratch))


HANDLERS = {handler.__name__: handler for handler in (header, damage, opaque, describe, colors, thumbnail, transcode)}


if __name__ == "__main__":
    main()
