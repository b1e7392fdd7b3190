"""The catalogue of operations and stack options, as the API lists it and as rendering.definitions checks it."""

import json
from pathlib import Path
from typing import Any


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(__file__).parent / name).read_bytes())
    return content


OPERATIONS: dict[str, Any] = _read("operations.json")
STACK_OPTIONS: dict[str, Any] = _read("stackoptions.json")
