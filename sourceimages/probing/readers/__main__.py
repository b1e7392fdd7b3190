"""The child's main loop: reads requests, a JSON object a line, answers each with one, and ends when they do."""

import json
import os
import sys
from dataclasses import asdict
from typing import Any

from . import formats, sandbox
from .facts import NotKeptError, UnreadableError

SECONDS = 5  # of computing for each request


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # a library that prints must not break into the answers
    closed = sandbox.enter()
    print(json.dumps({"sandboxed": closed}), file=answers)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)  # nor fill the log with what it thinks of a hostile file
    for line in sys.stdin:
        sandbox.allow_seconds(SECONDS)
        print(json.dumps(_answer(**json.loads(line))), file=answers)


def _answer(path: str, format: str | None = None) -> dict[str, Any]:
    """The facts of a file, or, if the request names its format, whether its pixels are opaque."""
    if format is not None:
        return {"opaque": formats.is_opaque(path, format)}
    try:
        facts = formats.read(path)
    except NotKeptError as error:
        return {"error": "format_not_allowed", "message": str(error)}
    except UnreadableError as error:
        return {"error": "unreadable_image", "message": str(error)}
    return {**asdict(facts), "mimetype": formats.MIMETYPES[facts.format]}


if __name__ == "__main__":
    main()
