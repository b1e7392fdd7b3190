"""Renders recipes in a real render worker, one per test session."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rendering.catalogue import OPERATIONS, STACK_OPTIONS
from rendering.painters import COMMAND, ENVIRONMENT

SECONDS = 60  # CPU time of a recipe
LIMITS = {"pixels": 100_000_000, "frames": 400}


class Painter:
    """A render worker, which is replaced if it dies."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("result")
        self.process: subprocess.Popen[str] | None = None
        self.sandboxed = False

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, str(self.descriptor)],
            pass_fds=[self.descriptor],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env=ENVIRONMENT,
        )
        assert process.stdout is not None
        self.sandboxed = json.loads(process.stdout.readline())["sandboxed"]
        self.process = process
        return process

    def paint(self, recipe: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        """The answer and the result. Returns {"died": exit code} if the worker dies."""
        process = self.process or self.start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"seconds": SECONDS, "limits": LIMITS, **recipe}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            self.process = None
            return {"died": process.wait()}, b""
        answer = json.loads(line)
        return answer, os.pread(self.descriptor, answer.get("bytes", 0), 0)

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        os.close(self.descriptor)


def recipe(
    path: Path | str, source_format: str, *operations: dict[str, Any], to: str = "png", dpr: float = 1, **other: Any
) -> dict[str, Any]:
    """A recipe with defaults. An operation is {"resize": {"width": 200}}; `other` are stack options and areas."""
    areas = other.pop("areas", {})
    return {
        "source": {"path": str(path), "format": source_format},
        "operations": [
            {"name": name, "options": defaults(OPERATIONS[name]) | options, "dpr": dpr}
            for operation in operations
            for name, options in operation.items()
            if options.get("enabled", True)
        ],
        "areas": areas,
        "output": {"format": to, "options": defaults(STACK_OPTIONS) | other.pop("options", {})},
        **other,
    }


def defaults(definition: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: given["default"] for name, given in definition["properties"].items() if "default" in given}
    return {name: value for name, value in found.items() if name != "enabled"}
