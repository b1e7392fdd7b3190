"""Renders per CPU second of rokka's render worker, Pillow, vipsthumbnail and thumbor, from and to the same files.

Workers and servers are warm; vipsthumbnail is a new process for each image, as it is used.
"""

import argparse
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol, cast

from benchmarks import photos
from benchmarks.common import MEGABYTE, ROOT, print_table

TIMEOUT = 60  # seconds for one image
START_TIMEOUT = 30  # seconds
THUMBOR = "thumbor==7.8.0"
LIMITS = {"pixels": 100_000_000, "frames": 400}
QUALITIES = {"jpg": 80, "webp": 80, "avif": 45}  # defaults of rokka; the others get the same


class EngineError(Exception):
    """The engine can't answer; the message is short enough for a table."""


class Case(NamedTuple):
    name: str
    source: Callable[[Path], Path]  # creates the file in a folder
    format: str
    to: str
    width: int
    repeat: int  # renders per round
    aim: float = 0.9  # times thumbor


def _photo(folder: Path) -> Path:
    return photos.jpeg(folder / "photo.jpg", 6000, 4000)


def _graphic(folder: Path) -> Path:
    return photos.png(folder / "graphic.png", 4000, 3000)


def _animation(folder: Path) -> Path:
    return photos.gif(folder / "animation.gif", 480, 360, frames=60)


CASES = [
    Case("24 MP JPEG as JPEG, 800 px", _photo, "jpg", "jpg", 800, 20),
    Case("24 MP JPEG as WebP, 800 px", _photo, "jpg", "webp", 800, 20),
    Case("24 MP JPEG as AVIF, 800 px", _photo, "jpg", "avif", 800, 10, aim=2),
    Case("12 MP PNG with alpha as PNG, 800 px", _graphic, "png", "png", 800, 5, aim=1.5),
    Case("12 MP PNG with alpha as WebP, 800 px", _graphic, "png", "webp", 800, 5),
    Case("60 frames of GIF as GIF, 240 px", _animation, "gif", "gif", 240, 2),
    Case("60 frames of GIF as WebP, 240 px", _animation, "gif", "webp", 240, 2),
]
VIPS_AIM = 1.5  # times vipsthumbnail


class Engine(Protocol):
    """A running engine."""

    def render(self, case: Case, path: Path) -> bytes:
        """The result. Raises EngineError."""

    def used(self) -> float:
        """CPU seconds since the start."""

    def peak(self) -> int:
        """Bytes."""


# --- Engines ----------------------------------------------------------------------------------------------------------


def process_seconds(pid: int) -> float:
    """CPU seconds of all threads of a process."""
    return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid() of the C library returns


def peak_memory(pid: int) -> int:
    """Bytes; 0 if the process has ended."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return 0


class Rokka:
    """One warm render worker, as the pool of the server starts it."""

    def __init__(self) -> None:
        from rendering.painters import COMMAND, ENVIRONMENT
        from sourceimages.probing.pool import Worker

        self.descriptor = os.memfd_create("result")
        self.worker = Worker((*COMMAND, str(self.descriptor)), files=[self.descriptor], environment=ENVIRONMENT)
        self.pid = self.worker._process.pid

    def render(self, case: Case, path: Path) -> bytes:
        recipe = {
            "source": {"path": str(path), "format": case.format},
            "operations": [{"name": "resize", "options": {"width": case.width, "mode": "box"}, "dpr": 1.0}],
            "areas": {},
            "output": {"format": case.to, "options": {}},
            "limits": LIMITS,
            "seconds": TIMEOUT,
        }
        answer = self.worker.call(recipe, seconds=TIMEOUT)
        if "error" in answer:
            raise EngineError(answer["message"])
        return os.pread(self.descriptor, answer["bytes"], 0)

    def used(self) -> float:
        return process_seconds(self.pid)

    def peak(self) -> int:
        return peak_memory(self.pid)

    def close(self) -> None:
        self.worker.kill()
        os.close(self.descriptor)


class Pillow:
    """One warm process that reads one request per line, like the worker."""

    def __init__(self, folder: Path) -> None:
        self.result = folder / "pillow"
        command = [sys.executable, "-c", "from benchmarks import render_engines; render_engines.run_pillow()"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def render(self, case: Case, path: Path) -> bytes:
        request = [str(path), case.to, case.width, str(self.result)]
        print(json.dumps(request), file=self.process.stdin, flush=True)
        if cast(IO[str], self.process.stdout).readline() != "done\n":
            raise EngineError("failed")
        return self.result.read_bytes()

    def used(self) -> float:
        return process_seconds(self.process.pid)

    def peak(self) -> int:
        return peak_memory(self.process.pid)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def run_pillow() -> None:
    """Run in a subprocess: draft, resize and save. Progressive JPEG with optimized tables, as the other engines."""
    from PIL import Image, ImageSequence

    for line in sys.stdin:
        path, to, width, result = json.loads(line)
        with Image.open(path) as image:
            height = round(image.height * width / image.width)
            image.draft(None, (width, height))
            saving: dict[str, Any] = {"quality": QUALITIES[to]} if to in QUALITIES else {}
            if to == "jpg":
                saving |= {"optimize": True, "progressive": True}
            format = {"jpg": "JPEG"}.get(to, to.upper())
            if getattr(image, "n_frames", 1) == 1:
                image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3).save(result, format, **saving)
            else:
                frames = [
                    frame.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
                    for frame in ImageSequence.Iterator(image)
                ]
                saving |= {"save_all": True, "append_images": frames[1:], "duration": image.info["duration"]}
                frames[0].save(result, format, **saving)
        print("done", flush=True)


class VipsThumbnail:
    """A process for each image."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seconds, self.highest = folder, 0.0, 0

    def render(self, case: Case, path: Path) -> bytes:
        result = self.folder / f"vipsthumbnail.{case.to}"
        options = ["strip"] + ([f"Q={QUALITIES[case.to]}"] if case.to in QUALITIES else [])
        if case.to == "jpg":
            options += ["optimize_coding", "interlace"]
        source = f"{path}[n=-1]" if case.format == "gif" else str(path)
        command = ["vipsthumbnail", source, "--size", f"{case.width}x", "--output", f"{result}[{','.join(options)}]"]
        process = subprocess.Popen(command, env={**os.environ, "VIPS_CONCURRENCY": "1"})
        deadline = time.monotonic() + TIMEOUT
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            # The maximum that wait4 reports includes the memory of the process that it was forked from.
            self.highest = max(self.highest, peak_memory(process.pid))
            time.sleep(0.005)
            if time.monotonic() > deadline:
                process.kill()
        process.returncode = os.waitstatus_to_exitcode(ended[1])
        self.seconds += ended[2].ru_utime + ended[2].ru_stime
        if process.returncode:
            raise EngineError(f"no answer in {TIMEOUT} s" if process.returncode < 0 else "failed")
        return result.read_bytes()

    def used(self) -> float:
        return self.seconds

    def peak(self) -> int:
        return self.highest

    def close(self) -> None:
        pass


class Thumbor:
    """A server with one process and its default settings, which reads files and stores nothing."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.port = free_port()
        settings = folder / "thumbor.conf"
        settings.write_text(
            "LOADER = 'thumbor.loaders.file_loader'\n"
            f"FILE_LOADER_ROOT_PATH = {str(folder)!r}\n"
            "STORAGE = 'thumbor.storages.no_storage'\n"
        )
        command = [
            str(python),
            "-m",
            "thumbor.server",
            "--ip",
            "127.0.0.1",
            "--port",
            f"{self.port}",
            "--conf",
            f"{settings}",
        ]
        self.log = (folder / "thumbor.log").open("wb")
        self.process = subprocess.Popen(command, cwd=folder, stdout=self.log, stderr=self.log)
        if not wait_for(lambda: accepts(self.port), self.process):
            self.close()
            raise EngineError("does not start")

    def render(self, case: Case, path: Path) -> bytes:
        format = {"jpg": "jpeg"}.get(case.to, case.to)
        quality = f":quality({QUALITIES[case.to]})" if case.to in QUALITIES else ""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        try:
            connection.request("GET", f"/unsafe/{case.width}x0/filters:format({format}){quality}/{path.name}")
            answer = connection.getresponse()
            content = answer.read()
        except TimeoutError:
            raise EngineError(f"no answer in {TIMEOUT} s") from None
        finally:
            connection.close()
        if answer.status != 200:
            raise EngineError(f"status {answer.status}")
        return content

    def used(self) -> float:
        return process_seconds(self.process.pid)

    def peak(self) -> int:
        return peak_memory(self.process.pid)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


def accepts(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    return False


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> bool:
    """Return whether the condition becomes true before the process ends or START_TIMEOUT is over."""
    deadline = time.monotonic() + START_TIMEOUT
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def thumbor_python() -> Iterator[Path | None]:
    """The Python of a new environment with thumbor, or None if it can't be installed."""
    with tempfile.TemporaryDirectory(prefix="benchmark-thumbor-") as folder:
        python = Path(folder, "bin", "python")
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", THUMBOR]
        try:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            subprocess.run(install, check=True, stderr=subprocess.DEVNULL, timeout=300)
        except (subprocess.SubprocessError, OSError):
            yield None
            return
        yield python


# --- Measuring --------------------------------------------------------------------------------------------------------


@dataclass
class Figures:
    """Of one engine and one case, one entry per round."""

    rates: list[float] = field(default_factory=list)  # renders per CPU second
    elapsed: list[float] = field(default_factory=list)  # milliseconds per render
    peak: int = 0  # bytes
    size: int = 0  # bytes of the result
    problem: str = ""

    def cell(self, value: str) -> str:
        return self.problem or (value if self.rates else "")


def measure(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-render-", dir=arguments.directory) as name, ExitStack() as stack:
        folder = Path(name)
        python = stack.enter_context(thumbor_python())
        starters: dict[str, Callable[[], Any]] = {"rokka": Rokka, "Pillow": lambda: Pillow(folder)}
        if shutil.which("vipsthumbnail"):
            starters["vipsthumbnail"] = lambda: VipsThumbnail(folder)
        else:
            print("vipsthumbnail is missing. Install it with: apt-get install libvips-tools")
        if python:
            starters["thumbor"] = lambda: Thumbor(folder, python)
        else:
            print(f"{THUMBOR} is missing: it can't be installed from the package index.")
        sources = {make: make(folder) for make in {case.source: None for case in CASES}}
        results = {case: measure_case(case, sources[case.source], starters, arguments.runs) for case in CASES}
    print_results(results, list(starters))


def measure_case(case: Case, path: Path, starters: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Figures]:
    """Every engine in a new process, which renders the image once before it is measured; then in turns."""
    figures = {name: Figures() for name in starters}
    with ExitStack() as stack:
        engines: dict[str, Engine] = {}
        for name, start in starters.items():
            try:
                engine = start()
                stack.callback(engine.close)
                content = engine.render(case, path)
                check_result(case, content)
            except EngineError as error:
                figures[name].problem = str(error)
                continue
            engines[name] = engine
            figures[name].size = len(content)
        for number in range(rounds):
            for name, engine in engines.items() if number % 2 else reversed(engines.items()):
                before, began = engine.used(), time.monotonic()
                for _ in range(case.repeat):
                    engine.render(case, path)
                figures[name].rates.append(case.repeat / (engine.used() - before))
                figures[name].elapsed.append((time.monotonic() - began) * 1000 / case.repeat)
        for name, engine in engines.items():
            figures[name].peak = engine.peak()
    return figures


def check_result(case: Case, content: bytes) -> None:
    """Raises EngineError if the result isn't what was asked for."""
    from PIL import Image

    with Image.open(BytesIO(content)) as image:
        frames = getattr(image, "n_frames", 1)
        if image.width != case.width:
            raise EngineError(f"{image.width} px wide")
        if image.format != {"jpg": "JPEG"}.get(case.to, case.to.upper()):
            raise EngineError(f"answers {image.format}")
        if case.format == "gif" and frames == 1:
            raise EngineError("1 frame")


def print_results(results: dict[Case, dict[str, Figures]], names: list[str]) -> None:
    others = names[1:]
    print_table(
        ["renders per CPU second", names[0], *(head for name in others for head in (name, "ratio"))],
        [[case.name, *rate_cells(case, figures, others)] for case, figures in results.items()],
    )
    print()
    print_table(
        ["elapsed, ms", *names],
        [
            [case.name, *(one.cell(f"{statistics.median(one.elapsed or [0]):.0f}") for one in figures.values())]
            for case, figures in results.items()
        ],
    )
    print()
    print_table(
        ["peak memory, MB / result, KB", *names],
        [
            [case.name, *(one.cell(f"{one.peak / MEGABYTE:.0f} / {one.size / 1000:.0f}") for one in figures.values())]
            for case, figures in results.items()
        ],
    )


def rate_cells(case: Case, figures: dict[str, Figures], others: list[str]) -> list[str]:
    """Rates of all engines, and for each other engine the median of rokka's ratios to it, with its goal."""
    ours = figures["rokka"]
    cells = [ours.cell(f"{statistics.median(ours.rates or [0]):.1f}")]
    aims = {"thumbor": case.aim, "vipsthumbnail": VIPS_AIM}
    for name in others:
        theirs = figures[name]
        cells.append(theirs.cell(f"{statistics.median(theirs.rates or [0]):.1f}"))
        if not (ours.rates and theirs.rates):
            cells.append("")
            continue
        ratio = statistics.median(mine / other for mine, other in zip(ours.rates, theirs.rates, strict=True))
        verdict = f" (≥ {aims[name]:g}: {'met' if ratio >= aims[name] else 'MISSED'})" if name in aims else ""
        cells.append(f"{ratio:.2f}{verdict}")
    return cells
