"""Images for benchmarks of rendering: clouds, edges and noise of a fixed seed, which compress about like photos."""

from pathlib import Path

import pyvips

OCTAVES = 2048, 512, 128, 32, 8  # sizes of clouds in pixels; the smaller, the weaker
CONTRAST, FALLOFF = 95, 1.7
NOISE = 0.9  # standard deviation; photos in strong light have about as much
SHAPES = 700  # pixels between shapes with hard edges


def photo(width: int, height: int, *, seed: int = 1, alpha: bool = False) -> pyvips.Image:
    """An sRGB image. With alpha, some shapes are transparent and have soft edges."""
    light = pyvips.Image.black(width, height) + 120
    for number, cell in enumerate(OCTAVES):
        clouds = pyvips.Image.perlin(width, height, cell_size=cell, seed=seed + number)
        light += clouds * (CONTRAST / FALLOFF**number)
    distances = pyvips.Image.worley(width, height, cell_size=SHAPES, seed=seed + 10)
    light += (distances > SHAPES * 0.37).ifthenelse(25, 0)
    bands = []
    for band in range(3):
        tint = pyvips.Image.perlin(width, height, cell_size=1500, seed=seed + 20 + band) * 35
        noise = pyvips.Image.gaussnoise(width, height, sigma=NOISE, mean=0, seed=seed + 30 + band)
        bands.append(light + tint + noise)
    if alpha:
        bands.append((SHAPES * 0.7 - distances) * 4)
    return bands[0].bandjoin(bands[1:]).cast("uchar").copy(interpretation="srgb")


def jpeg(path: Path, width: int, height: int, *, seed: int = 1) -> Path:
    photo(width, height, seed=seed).jpegsave(str(path), Q=90)
    return path


def png(path: Path, width: int, height: int) -> Path:
    photo(width, height, alpha=True).pngsave(str(path), compression=6)
    return path


def gif(path: Path, width: int, height: int, *, frames: int) -> Path:
    """A slow pan over a larger image, 20 frames per second."""
    wide = photo(width + 4 * frames, height + 2 * frames).copy_memory()
    strip = [wide.crop(4 * number, 2 * number, width, height) for number in range(frames)]
    image = pyvips.Image.arrayjoin(strip, across=1).copy()
    image.set_type(pyvips.GValue.gint_type, "page-height", height)
    image.set_type(pyvips.GValue.array_int_type, "delay", [50] * frames)
    image.gifsave(str(path), effort=3)
    return path
