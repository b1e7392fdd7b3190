"""Main loop of the probe worker: reads one JSON request per line and answers each with JSON lines.

With the argument `--writes`, it can also write to files inherited open, and has a higher limit of CPU time.
"""

import json
import os
import sys
from collections.abc import Iterator
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
        request = json.loads(line)
        ask, seconds = request.pop("ask"), WRITE_CPU_SECONDS if writes else CPU_SECONDS
        for answer in probe(**request) if ask == "probe" else [limited(ask, seconds, **request)]:
            print(json.dumps(answer), file=answers)


def limited(ask: str, seconds: int, **request: Any) -> dict[str, Any]:
    """The answer to one question, for which this process is allowed so many seconds of CPU time."""
    sandbox.allow_seconds(seconds)
    return HANDLERS[ask](**request)


def probe(path: str, max_pixels: int) -> Iterator[dict[str, Any]]:
    """The answers to all questions about an upload, the header first; each names the `next` one.

    Images with more pixels are not decoded.
    """
    answer = limited("header", CPU_SECONDS, path=path)
    for ask, options in questions_after(answer, max_pixels):
        yield {**answer, "next": ask}
        answer = limited(ask, CPU_SECONDS, path=path, **options)
        if "unreadable" in answer:
            break
    yield answer


def questions_after(header: dict[str, Any], max_pixels: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """What remains to be asked, with its options."""
    if "error" in header or header["width"] * header["height"] > max_pixels:
        return
    format = header["format"]
    if header["problem"]:
        yield "damage", {"format": format, "problem": header["problem"]}
    if header["opaque"] is None:
        yield "opaque", {"format": format}
    yield "describe", {"format": format}


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


def transcode(path: str, format: str, to: str, out: list[Any], scratch: list[Any]) -> dict[str, Any]:
    from . import transcode

    return transcode.transcode(path, format, to, transcode.OutputFile(*out), transcode.OutputFile(*scratch))


HANDLERS = {handler.__name__: handler for handler in (header, damage, opaque, describe, colors, transcode)}


if __name__ == "__main__":
    main()
