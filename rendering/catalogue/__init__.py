"""What stacks may say: the operations and their options, and the options of a whole stack. Nothing here renders yet."""

import json
from pathlib import Path
from typing import Any


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(__file__).parent / name).read_bytes())
    return content


OPERATIONS: dict[str, Any] = _read("operations.json")
STACK_OPTIONS: dict[str, Any] = _read("stackoptions.json")
