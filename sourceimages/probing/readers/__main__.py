"""The child's main loop: reads requests, a JSON object a line, answers each with one, and ends when they do.

With the argument `--writes` it may also write to files that it was given open, and take long about it.
"""

import json
import os
import sys
from dataclasses import asdict
from typing import Any

from . import formats, sandbox
from .header import CorruptFileError, UnsupportedFormatError

CPU_SECONDS = 5  # of computing for each request
WRITE_CPU_SECONDS = 420


def main() -> None:
    writes = "--writes" in sys.argv
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # a library that prints must not break into the answers
    nowhere = os.open(os.devnull, os.O_WRONLY)
    closed = sandbox.enter(writes=writes)
    print(json.dumps({"sandboxed": closed}), file=answers)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)  # nor fill the log with what it thinks of a hostile file
    for line in sys.stdin:
        sandbox.allow_seconds(WRITE_CPU_SECONDS if writes else CPU_SECONDS)
        request = json.loads(line)
        print(json.dumps(HANDLERS[request.pop("ask")](**request)), file=answers)


def header(path: str) -> dict[str, Any]:
    try:
        facts = formats.read(path)
    except UnsupportedFormatError as error:
        return {"error": "format_not_allowed", "message": str(error)}
    except CorruptFileError as error:
        return {"error": "unreadable_image", "message": str(error)}
    problem = formats.problem(path, facts.format)
    return {**asdict(facts), "mimetype": formats.MIMETYPES[facts.format], "problem": problem}


def damage(path: str, format: str, problem: str) -> dict[str, Any]:
    from . import damage

    return damage.examine(path, format, problem)


def opaque(path: str, format: str) -> dict[str, Any]:
    return {"opaque": formats.is_opaque(path, format)}


def describe(path: str, format: str) -> dict[str, Any]:
    from . import metadata

    return {"groups": metadata.describe(path, format)}


def colours(path: str, format: str) -> dict[str, Any]:
    from . import colors

    return {"colours": colors.dominant(path, format)}


def raster(path: str, format: str, side: int, upright: bool) -> dict[str, Any]:
    from . import thumbnail

    return thumbnail.render(path, format, side, upright)


def rewrite(path: str, format: str, to: str, out: list[Any], scratch: list[Any]) -> dict[str, Any]:
    from . import transcode

    return transcode.transcode(path, format, to, transcode.OutputFile(*out), transcode.OutputFile(*scratch))


HANDLERS = {question.__name__: question for question in (header, damage, opaque, describe, colours, raster, rewrite)}


if __name__ == "__main__":
    main()
