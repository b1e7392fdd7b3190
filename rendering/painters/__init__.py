"""The render engine, run by a sandboxed worker process: no Django, no settings, no secrets.

The parent starts `COMMAND` with the descriptor of a memory file (`os.memfd_create`) that the worker inherits, and with
`ENVIRONMENT` as the whole environment:

    Worker((*COMMAND, str(descriptor)), files=[descriptor], environment=ENVIRONMENT)

The worker first prints {"sandboxed": true}. It then reads one recipe per line, with "seconds" of CPU time, and answers
with one line: {"width", "height", "frames", "format", "bytes"}, or {"error", "message"}, where the error is the
`reason` of a class in `rendering.errors`. A request can also have "patterns", regular expressions, and a "text"; the
answer is {"found", "bytes"}. The result of a recipe is in the memory file from offset 0. Both processes share its file
position, so the parent must read it with explicit offsets (`os.pread`, `os.sendfile`), before the next request. If the
worker exceeds its CPU time, the kernel ends it with SIGXCPU.
"""

import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]

COMMAND = (sys.executable, "-P", "-s", "-m", "rendering.painters", "--output")
ENVIRONMENT = {
    "PYTHONPATH": str(_ROOT),
    "PYTHONUTF8": "1",
    "MALLOC_ARENA_MAX": "2",
    "OPENBLAS_NUM_THREADS": "1",
    "VIPS_CONCURRENCY": "1",
    "VIPS_DISC_THRESHOLD": "8g",  # never temporary files, which the sandbox denies
    "FONTCONFIG_FILE": str(Path(__file__).parent / "fonts.conf"),
}
ENGINE_VERSION = 3  # part of cache keys: raise it when the same recipe gives other pixels
NICENESS = 10  # uploads, API calls and cached results come first
MAX_RESULT_BYTES = 256 * 2**20
