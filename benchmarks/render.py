"""Speed of rendering: engines compared, requests answered from the cache, and a storm of renders.

engines: renders per CPU second, elapsed time and memory of rokka's render worker, Pillow, vipsthumbnail and thumbor.
hits: CPU time of requests that the cache answers, beside nginx with a static file.
storm: 20 new URLs per second, and how long another user waits meanwhile.

Programs that are not installed are named and left out (Debian: libvips-tools, nginx-light, wrk). thumbor is installed
from the package index into a temporary environment.
"""

from benchmarks import render_engines, render_hits, render_storm
from benchmarks.common import options

PARTS = {"engines": render_engines.measure, "hits": render_hits.measure, "storm": render_storm.measure}

if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "all"], default="all", help="default all")
    parser.add_argument("--storm-seconds", type=int, default=60, help="length of the storm in seconds (default 60)")
    arguments = parser.parse_args()
    for number, part in enumerate(PARTS if "all" in arguments.parts else arguments.parts):
        if number:
            print()
        PARTS[part](arguments)
