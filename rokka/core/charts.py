"""Small charts, drawn as SVG by a template: no script, no style, readable without seeing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.template.defaultfilters import filesizeformat

WIDTH, HEIGHT = 640, 150  # of the plot, in units of the drawing
TICKS = 5  # labels below


@dataclass(frozen=True, slots=True)
class Chart:
    """A curve or bars over time, with everything that the template needs; `rows` are the same numbers for a table."""

    title: str
    summary: str
    line: str
    area: str
    bars: list[tuple[float, float, float, float, str]]  # x, y, width, height, what it says
    ticks: list[tuple[float, str]]
    top: str
    rows: list[tuple[str, str]]
    width: int = WIDTH
    height: int = HEIGHT


Points = Sequence[tuple[str, int]]


def number(value: int) -> str:
    return f"{value:,}"


def line_chart(title: str, points: Points, write: Callable[[int], str] = number) -> Chart:
    """Of a quantity that stays, such as bytes that are kept."""
    highest = max((value for _, value in points), default=0) or 1
    step = WIDTH / max(1, len(points) - 1)
    spots: list[tuple[float, float]]
    spots = [(round(step * i, 1), round(HEIGHT * (1 - value / highest), 1)) for i, (_, value) in enumerate(points)]
    if len(spots) == 1:
        spots.append((WIDTH, spots[0][1]))  # one day is a level, and a point draws nothing
    line = " ".join(f"{x},{y}" for x, y in spots)
    area = f"0,{HEIGHT} {line} {spots[-1][0]},{HEIGHT}" if spots else ""
    return _chart(title, points, write, highest, line=line, area=area)


def bar_chart(title: str, points: Points, write: Callable[[int], str] = number) -> Chart:
    """Of what happened, day by day."""
    highest = max((value for _, value in points), default=0) or 1
    step = WIDTH / max(1, len(points))
    drawn = []
    for i, (label, value) in enumerate(points):
        height = round(HEIGHT * value / highest, 1)
        drawn.append(
            (round(step * i + step * 0.1, 1), HEIGHT - height, round(step * 0.8, 1), height, f"{label}: {write(value)}")
        )
    return _chart(title, points, write, highest, bars=drawn)


def _chart(
    title: str,
    points: Points,
    write: Callable[[int], str],
    highest: int,
    *,
    line: str = "",
    area: str = "",
    bars: list[tuple[float, float, float, float, str]] | None = None,
) -> Chart:
    every = max(1, len(points) // TICKS)
    step = WIDTH / max(1, len(points) - 1)
    summary = (
        f"{points[0][0]}: {write(points[0][1])}. {points[-1][0]}: {write(points[-1][1])}." if points else "No data yet."
    )
    return Chart(
        title=title,
        summary=summary,
        line=line,
        area=area,
        bars=bars or [],
        ticks=[(round(step * i, 1), label[5:]) for i, (label, _) in enumerate(points) if i % every == 0],
        top=write(highest) if points else "",
        rows=[(label, write(value)) for label, value in reversed(points)],
    )


def size(value: int) -> str:
    return str(filesizeformat(value)).replace("\xa0", " ")
