"""Speed of getting, listing and downloading images, compared with minimal views on the same HTTP server."""

import argparse
import itertools
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.common import MEGABYTE, ORGANIZATION, Comparison, baseline, jpeg, options, print_comparisons, rokka

PATH = f"/sourceimages/{ORGANIZATION}"
LARGE = 50 * MEGABYTE
DOWNLOADS = 10  # of the large file per measurement


def main(arguments: argparse.Namespace) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-", dir=arguments.directory)))
        ours, theirs = stack.enter_context(rokka(arguments)), stack.enter_context(baseline(arguments))
        small, large = jpeg(folder / "small.jpg", 100_000), jpeg(folder / "large.jpg", LARGE)
        for server, path in (ours, PATH), (theirs, "/upload"):
            server.load(path, file=small, clients=8, count=arguments.images)
            server.load(path, file=large, count=1)
        # The list starts with the newest image, the large one.
        newest, *others = [item["link"] for item in ours.get(f"{PATH}?limit=2000")["items"]]
        numbers = range(1, arguments.images + 1)

        images = [f"/images/{number}" for number in numbers]
        measurements = [
            (Comparison("get one", "a second", "DRF view, one query", 0.5), others, images),
            (Comparison("get one", "a second", "trivial Django view"), others, ["/trivial"]),
            (Comparison("list 100", "a second"), [PATH], []),
            (
                Comparison("download 100 KB", "a second", "FileResponse, one query"),
                downloads(others),
                downloads(images),
            ),
            (
                Comparison("download 50 MB", "MB/s", "FileResponse, one query"),
                downloads([newest]),
                downloads([f"/images/{arguments.images + 1}"]),
            ),
        ]
        rows = []
        for clients in 1, 8:
            for comparison, our_paths, their_paths in measurements:
                named = Comparison(
                    f"{comparison.name}, {clients} client{'s'[: clients - 1]}",
                    comparison.unit,
                    comparison.beside,
                    comparison.aim,
                )
                rows.append((named, clients, our_paths, their_paths))
        for server, paths in (ours, others), (theirs, images):
            server.load(*paths, clients=8, seconds=1)
        for run, (comparison, clients, our_paths, their_paths) in itertools.product(range(arguments.runs), rows):
            turns = [(ours, our_paths, comparison.ours), (theirs, their_paths, comparison.theirs)]
            for server, paths, results in turns if run % 2 else reversed(turns):
                if not paths:
                    continue
                if comparison.unit == "MB/s":
                    results.append(server.load(*paths, clients=clients, count=DOWNLOADS) * LARGE / MEGABYTE)
                else:
                    results.append(server.load(*paths, clients=clients, seconds=arguments.seconds))
    print_comparisons([row[0] for row in rows])


def downloads(paths: list[str]) -> list[str]:
    return [f"{path}/download" for path in paths]


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.add_argument("--images", type=int, default=1999, help="images to upload first; at most 1999 (default 1999)")
    main(parser.parse_args())
