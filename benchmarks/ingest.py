"""Speed of probing files, and of transcoding TIFF compared with the command-line tools of vips and ImageMagick.

Files are probed by running probe workers. Each image is transcoded in a new process, whose startup counts, as it does
for the other tools; rokka also decodes the result and compares all pixels. Without `vips` or `convert` (Debian:
libvips-tools, imagemagick), their columns are empty.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyvips

from benchmarks.common import MEGABYTE, ROOT, print_table, settle

SIDES = {1: (1000, 1000), 24: (6000, 4000), 100: (10_000, 10_000)}  # width and height by megapixels
LIMIT = (15_000, 15_000)  # 225 megapixels
QUESTIONS = "header", "opaque", "describe", "colors"
AIM_SECONDS, AIM_MEMORY = 1.3, 1000 * MEGABYTE  # times vips; bytes
CHILD = "from benchmarks import ingest; ingest.run_transcode()"


def main(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-ingest-", dir=arguments.directory) as name:
        folder = Path(name)
        os.environ |= {"DATA_DIR": name, "DJANGO_SETTINGS_MODULE": "rokka.settings", "LOG_LEVEL": "WARNING"}
        for part in arguments.parts:
            PARTS[part](folder, arguments)
            print()


# --- Images -----------------------------------------------------------------------------------------------------------


def generate_image(width: int, height: int, *, bands: int = 3, bits: int = 8) -> pyvips.Image:
    """A mix of a gradient and noise, which PNG compresses to about half."""
    flat = pyvips.Image.xyz(width, height)
    noise = pyvips.Image.gaussnoise(width, height, sigma=6, mean=0)
    planes = [(flat[0] * (band + 1) / 40 + flat[1] / (band + 20) + noise) % 251 for band in range(min(bands, 3))]
    image = planes[0].bandjoin(planes[1:])
    if bands == 4:
        image = image.bandjoin(pyvips.Image.black(width, height) + 255)
    if bits == 16:
        return (image * 257).cast("ushort").copy(interpretation="rgb16")
    return image.cast("uchar").copy(interpretation="srgb")


def pillow(image: pyvips.Image, path: Path, format: str, **options: Any) -> None:
    from PIL import Image

    content = image.write_to_memory()
    mode = {3: "RGB", 4: "RGBA"}[image.bands]
    Image.frombytes(mode, (image.width, image.height), content).save(path, format, **options)


def heic(image: pyvips.Image, path: Path) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    pillow(image, path, "HEIF", quality=50, enc_params={"preset": "ultrafast"})


def jxl(image: pyvips.Image, path: Path) -> None:
    from imagecodecs import jpegxl_encode

    path.write_bytes(bytes(jpegxl_encode(image.numpy(), effort=1, distance=1)))


def psd(image: pyvips.Image, path: Path) -> None:
    sys.path.insert(0, str(ROOT))
    from tests.support import photos

    path.write_bytes(photos.psd(image))


MAKERS: dict[str, tuple[int, int, Callable[[pyvips.Image, Path], None]]] = {  # bands, maximum megapixels, function
    "jpg": (3, 100, lambda image, path: image.jpegsave(str(path), Q=85)),
    "png": (3, 100, lambda image, path: image.pngsave(str(path), compression=1)),
    "png with alpha": (4, 100, lambda image, path: image.pngsave(str(path), compression=1)),
    "webp with alpha": (4, 100, lambda image, path: image.webpsave(str(path), effort=0)),
    "gif": (3, 24, lambda image, path: image.gifsave(str(path), effort=1)),
    "tif": (3, 100, lambda image, path: image.tiffsave(str(path), compression="lzw")),
    "psd": (3, 24, psd),
    "avif": (3, 24, lambda image, path: pillow(image, path, "AVIF", speed=10)),
    "heic": (3, 24, heic),
    "jxl": (3, 24, jxl),
}


# --- Probing ----------------------------------------------------------------------------------------------------------


def measure_probing(folder: Path, arguments: argparse.Namespace) -> None:
    import django

    django.setup()
    from sourceimages.probing import _pool

    rows = []
    for name, (bands, most, make) in MAKERS.items():
        for megapixels, (width, height) in SIDES.items():
            if megapixels > most:
                continue
            path = folder / f"{name.replace(' ', '-')}-{megapixels}"
            make(generate_image(width, height, bands=bands), path)
            format, times = name.split()[0], dict[str, float]()
            for question in QUESTIONS:
                request = {"ask": question, "path": str(path)} | ({} if question == "header" else {"format": format})
                times[question] = median_ms(lambda request=request: _pool.call(request, seconds=60), arguments.runs)
            size = path.stat().st_size / MEGABYTE
            rows.append([name, f"{megapixels}", f"{size:.1f}", *(f"{times[question]:.1f}" for question in QUESTIONS)])
            path.unlink()
    print_table(["file", "megapixels", "MB", "header, ms", "opaque, ms", "metadata, ms", "colours, ms"], rows)
    print()
    small = folder / "small.png"
    generate_image(8, 8).pngsave(str(small))
    request = {"ask": "header", "path": str(small)}
    here = median_ms(lambda: read_here(small), 200)
    child = median_ms(lambda: _pool.call(request, seconds=5), 200)
    print_table(
        ["header of a small PNG", "ms"],
        [["in this process", f"{here:.3f}"], ["in a probe worker", f"{child:.3f}"]],
    )
    _pool.close()


def read_here(path: Path) -> None:
    sys.path.insert(0, str(ROOT / "sourceimages" / "probing"))
    from readers import formats  # type: ignore[import-not-found]

    formats.read(str(path))


def median_ms(call: Callable[[], object], runs: int) -> float:
    call()  # imports modules on first use
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


# --- Transcoding ------------------------------------------------------------------------------------------------------

TIFFS: dict[str, dict[str, Any]] = {
    "24 megapixels": {"size": SIDES[24]},
    "24 megapixels, 16 bits": {"size": SIDES[24], "bits": 16},
    "100 megapixels": {"size": SIDES[100]},
    "225 megapixels": {"size": LIMIT},
    "225 megapixels, 16 bits": {"size": LIMIT, "bits": 16},
}


def measure_transcoding(folder: Path, arguments: argparse.Namespace) -> None:
    rows = []
    for name, facts in TIFFS.items():
        source = folder / "source.tif"
        image = generate_image(*facts["size"], bits=facts.get("bits", 8))
        image.tiffsave(str(source), compression="lzw", bigtiff=True)
        for to in "png", "jpg":
            out = folder / f"out.{to}"
            vips = f"{out}[filter=all]" if to == "png" else f"{out}[Q=92,optimize_coding,subsample_mode=off]"
            commands: dict[str, list[str]] = {
                "rokka": [sys.executable, "-c", CHILD, str(source), to, str(out)],
                "vips": ["vips", "copy", str(source), vips],
                "convert": ["convert", str(source), *(["-quality", "92"] if to == "jpg" else []), str(out)],
            }
            seconds: dict[str, list[float]] = {}
            memory: dict[str, int] = {}
            sizes: dict[str, int] = {}
            runs = arguments.runs if facts["size"] == SIDES[24] else 1
            for _ in range(runs):
                for who, command in commands.items():
                    if shutil.which(command[0]) and (who != "convert" or facts["size"] != LIMIT):
                        settle()
                        taken, peak = measured(command)
                        seconds.setdefault(who, []).append(taken)
                        memory[who] = max(peak, memory.get(who, 0))
                        sizes[who] = out.stat().st_size
                        out.unlink()
            rows.append([f"{name} as {to}", *cells(seconds, memory, sizes)])
        source.unlink()
    heads = ["TIFF", "s", "vips", "convert", "ratio to vips", "memory, MB", "vips", "convert", "size, MB", "vips"]
    print_table(heads, rows)


def cells(seconds: dict[str, list[float]], memory: dict[str, int], sizes: dict[str, int]) -> list[str]:
    times = {who: statistics.median(values) for who, values in seconds.items()}
    ratio = f"{times['rokka'] / times['vips']:.2f}" if "vips" in times else ""
    whos = "rokka", "vips", "convert"
    return [
        *(f"{times[who]:.1f}" if who in times else "" for who in whos),
        ratio,
        *(f"{memory[who] / MEGABYTE:.0f}" if who in memory else "" for who in whos),
        *(f"{sizes[who] / MEGABYTE:.1f}" if who in sizes else "" for who in whos[:2]),
    ]


def measured(command: list[str]) -> tuple[float, int]:
    """Elapsed time in seconds and peak memory of a command in bytes.

    wait4 would include the memory of the process it was forked from.
    """
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT)
    status, peak = Path(f"/proc/{process.pid}/status"), 0
    while process.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            peak = max(peak, int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024)
        time.sleep(0.01)
    taken = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"{command[0]} failed. See the error above.")
    return taken, peak


def run_transcode() -> None:
    """Run in a subprocess: transcode as a probe worker does."""
    sys.path.insert(0, str(ROOT / "sourceimages" / "probing"))
    from readers import sandbox, transcode  # type: ignore[import-not-found]

    source, to, name = sys.argv[1:]
    outputs = [
        transcode.OutputFile(path, os.open(path, os.O_WRONLY | os.O_CREAT)) for path in (name, f"{name}.scratch")
    ]
    sandbox.enter(writes=True)
    result = transcode.transcode(source, "tif", to, *outputs)
    if "skipped_reason" in result:
        raise SystemExit(result["skipped_reason"])


PARTS = {"probing": measure_probing, "transcoding": measure_transcoding}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="number of runs; tables show the median (default 5)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="probing, transcoding or both")
    parser.add_argument("--directory", type=Path, help="directory for files")
    main(parser.parse_args())
