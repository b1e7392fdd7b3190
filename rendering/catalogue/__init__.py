"""The catalogue of stack operations and stack options. This server doesn't render images."""

import json
from pathlib import Path
from typing import Any


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(__file__).parent / name).read_bytes())
    return content


OPERATIONS: dict[str, Any] = _read("operations.json")
STACK_OPTIONS: dict[str, Any] = _read("stackoptions.json")
