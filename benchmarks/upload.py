"""Speed of uploads, compared with a minimal upload in Django, and with only hashing and writing the file."""

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from hashlib import sha1, sha256
from pathlib import Path

from benchmarks.common import (
    MEGABYTE,
    ORGANIZATION,
    Comparison,
    Server,
    baseline,
    jpeg,
    options,
    print_comparisons,
    print_table,
    rokka,
    settle,
)

PATH = f"/sourceimages/{ORGANIZATION}"
BLOCK = 256 * 1024
SIZES = {"100 KB": 100_000, "3 MB": 3 * MEGABYTE, "50 MB": 50 * MEGABYTE, "150 MB": 150 * MEGABYTE}
VOLUME = 300 * MEGABYTE  # uploads per measurement of large files
TRIVIAL, LIMIT = "trivial Django upload", "hash, write, fsync, rename"


def write_alone(content: bytes, folder: Path, count: int) -> float:
    """Files per second with the minimal work: two hashes, and a file that survives a power failure."""
    settle()
    started = time.monotonic()
    for number in range(count):
        hashes = sha1(), sha256()
        with open(folder / "part", "wb", buffering=0) as file:
            for start in range(0, len(content), BLOCK):
                block = content[start : start + BLOCK]
                for one in hashes:
                    one.update(block)
                file.write(block)
            os.fsync(file.fileno())
        os.rename(folder / "part", folder / f"{number}")
    elapsed = time.monotonic() - started
    for number in range(count):
        (folder / f"{number}").unlink()
    return count / elapsed


def small(ours: Server, theirs: Server, file: Path, comparison: Comparison, clients: int, seconds: float) -> None:
    turns = [(ours, PATH, comparison.ours), (theirs, "/upload", comparison.theirs)]
    for server, path, results in turns if len(comparison.ours) % 2 else reversed(turns):
        results.append(server.load(path, file=file, clients=clients, seconds=seconds))


def large(ours: Server, file: Path, folder: Path, comparison: Comparison, clients: int) -> None:
    content = file.read_bytes()
    count, size = VOLUME // len(content), len(content) / MEGABYTE
    turns: list[tuple[list[float], Callable[[], float]]] = [
        (comparison.ours, lambda: ours.load(PATH, file=file, clients=clients, count=count)),
        (comparison.theirs, lambda: write_alone(content, folder, count)),
    ]
    for results, measure in turns if len(comparison.ours) % 2 else reversed(turns):
        results.append(measure() * size)


def main(arguments: argparse.Namespace) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-", dir=arguments.directory)))
        files = {name: jpeg(folder / f"{size}.jpg", size) for name, size in SIZES.items()}
        ours, theirs = stack.enter_context(rokka(arguments)), stack.enter_context(baseline(arguments))
        comparisons = {
            (name, clients): Comparison(
                f"{name}, {clients} client{'s'[: clients - 1]}", unit, beside, aim, bound=beside == LIMIT
            )
            for name, clients, unit, beside, aim in [
                ("100 KB", 1, "a second", TRIVIAL, 0.5),
                ("100 KB", 8, "a second", TRIVIAL, 0.5),
                ("3 MB", 1, "MB/s", LIMIT, None),
                ("3 MB", 8, "MB/s", LIMIT, None),
                ("50 MB", 1, "MB/s", LIMIT, 0.6),
            ]
        }
        memory: list[list[str]] = []

        def remember(moment: str) -> None:
            web, probing = ours.peak_memory()
            memory.append([moment, f"{web / MEGABYTE:.0f}", " ".join(f"{peak / MEGABYTE:.0f}" for peak in probing)])

        for server, path in (ours, PATH), (theirs, "/upload"):
            server.load(path, file=files["100 KB"], clients=8, seconds=1)
        remember("before")
        for run, ((name, clients), comparison) in itertools.product(range(arguments.runs), comparisons.items()):
            if comparison.beside == TRIVIAL:
                small(ours, theirs, files[name], comparison, clients, arguments.seconds)
            else:
                large(ours, files[name], folder, comparison, clients)
            if run == 0:
                remember(f"after {comparison.name}")
        remember(f"after {arguments.runs} runs")
        ours.load(PATH, file=files["150 MB"], count=1)
        remember("after one of 150 MB")
    print_comparisons(list(comparisons.values()))
    print()
    print_table(["peak memory, MB", "web process", "probing children"], memory)


if __name__ == "__main__":
    main(options(__doc__ or "").parse_args())
