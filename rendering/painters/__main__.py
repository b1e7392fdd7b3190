"""Main loop of the render worker: reads one recipe per line and answers each with one JSON line.

`--output FD` names the inherited memory file for results, the only file that it can write.
"""

import json
import math
import os
import sys

from . import standalone  # noqa: F401  isort: skip (before everything that imports readers)

from sourceimages.probing.readers import sandbox

from . import MAX_RESULT_BYTES, NICENESS, render, save

SECONDS = 15  # CPU time of a recipe without "seconds"


def main() -> None:
    output = save.Output(int(sys.argv[sys.argv.index("--output") + 1]))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # output of libraries must not mix with answers
    os.nice(NICENESS)
    null_device = os.open(os.devnull, os.O_WRONLY)
    sandboxed = sandbox.enter(writes=True, max_file_bytes=MAX_RESULT_BYTES)
    print(json.dumps({"sandboxed": sandboxed}), file=answers)
    os.dup2(null_device, 1)
    os.dup2(null_device, 2)  # nor fill the log with warnings about hostile files
    for line in sys.stdin:
        recipe = json.loads(line)
        sandbox.allow_seconds(math.ceil(recipe.get("seconds") or SECONDS))
        print(json.dumps(render.answer(recipe, output)), file=answers)


if __name__ == "__main__":
    main()
