"""BlurHash: a short text for a blurred version of the image (https://github.com/woltapp/blurhash, Algorithm.md)."""

import math
from collections.abc import Sequence
from operator import mul

import pyvips

from .channels import flattened, resample, rgb
from .sizes import Size, largest_of_ratio

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
MAX_SIDE = 64  # pixels; a hash holds no more detail
COMPONENTS = {True: (4, 3), False: (3, 4)}  # by whether the image is landscape
WHITE = "FFFFFF"
LINEAR = [
    value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
    for value in (sample / 255 for sample in range(256))
]

Color = Sequence[float]  # red, green and blue in linear light


def encode(image: pyvips.Image) -> str:
    across, down = COMPONENTS[image.width >= image.height]
    base, *others = _factors(_small(image), across, down)
    largest = max(abs(value) for color in others for value in color)
    quantized = min(82, max(0, int(largest * 166 - 0.5)))
    maximum = (quantized + 1) / 166
    digits = [_digits((across - 1) + (down - 1) * 9, 1), _digits(quantized, 1), _digits(_color(base), 4)]
    return "".join([*digits, *(_digits(_component([value / maximum for value in color]), 2) for color in others)])


def _small(image: pyvips.Image) -> pyvips.Image:
    """Opaque, in RGB with 8 bits."""
    size = largest_of_ratio(Size(MAX_SIDE, MAX_SIDE), image.width, image.height)
    return rgb(resample(flattened(image, WHITE), *size)).cast("uchar")


def _factors(image: pyvips.Image, across: int, down: int) -> list[Color]:
    """Cosine transform, row by row: the average color, and twice the amplitudes of the waves."""
    width, height = image.width, image.height
    samples = bytes(image.write_to_memory())
    columns, rows = _waves(across, width), _waves(down, height)
    planes = []
    for channel in range(3):
        plane = [LINEAR[sample] for sample in samples[channel::3]]
        lines = [plane[start : start + width] for start in range(0, len(plane), width)]
        across_lines = [[_dot(line, column) for line in lines] for column in columns]
        planes.append([_dot(values, row) * 2 / (width * height) for row in rows for values in across_lines])
        planes[-1][0] /= 2
    return list(zip(*planes, strict=True))


def _waves(count: int, length: int) -> list[list[float]]:
    return [[math.cos(math.pi * number * place / length) for place in range(length)] for number in range(count)]


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(map(mul, one, other))


def _color(linear: Color) -> int:
    red, green, blue = (int(_encoded(min(1, max(0, value))) * 255 + 0.5) for value in linear)
    return red << 16 | green << 8 | blue


def _encoded(value: float) -> float:
    return value * 12.92 if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


def _component(color: Color) -> int:
    steps = (math.floor(math.copysign(math.sqrt(abs(value)), value) * 9 + 9.5) for value in color)
    red, green, blue = (min(18, max(0, step)) for step in steps)
    return red * 19 * 19 + green * 19 + blue


def _digits(value: int, length: int) -> str:
    return "".join(DIGITS[value // 83 ** (length - 1 - place) % 83] for place in range(length))
