"""Small charts for an SVG template: no scripts, no styles, accessible."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.template.defaultfilters import filesizeformat

WIDTH, HEIGHT = 640, 150  # of the plot, in SVG units
TICKS = 5  # labels on the x-axis


@dataclass(frozen=True, slots=True)
class Chart:
    """A line or bar chart over time, as the template needs it. `rows` has the same data for a table."""

    title: str
    summary: str
    line: str
    area: str
    bars: list[tuple[float, float, float, float, str]]  # x, y, width, height, label
    ticks: list[tuple[float, str]]
    top: str
    rows: list[tuple[str, str]]
    width: int = WIDTH
    height: int = HEIGHT


Points = Sequence[tuple[str, int]]


def number(value: int) -> str:
    return f"{value:,}"


def line_chart(title: str, points: Points, format: Callable[[int], str] = number) -> Chart:
    """A line chart, for quantities such as storage used."""
    highest = max((value for _, value in points), default=0) or 1
    step = WIDTH / max(1, len(points) - 1)
    coordinates: list[tuple[float, float]] = [
        (round(step * i, 1), round(HEIGHT * (1 - value / highest), 1)) for i, (_, value) in enumerate(points)
    ]
    if len(coordinates) == 1:
        coordinates.append((WIDTH, coordinates[0][1]))  # a single point would draw nothing
    line = " ".join(f"{x},{y}" for x, y in coordinates)
    area = f"0,{HEIGHT} {line} {coordinates[-1][0]},{HEIGHT}" if coordinates else ""
    return _chart(title, points, format, highest, line=line, area=area)


def bar_chart(title: str, points: Points, format: Callable[[int], str] = number) -> Chart:
    """A bar chart, for quantities per day such as uploads."""
    highest = max((value for _, value in points), default=0) or 1
    step = WIDTH / max(1, len(points))
    bars = []
    for i, (label, value) in enumerate(points):
        height = round(HEIGHT * value / highest, 1)
        bars.append(
            (
                round(step * i + step * 0.1, 1),
                HEIGHT - height,
                round(step * 0.8, 1),
                height,
                f"{label}: {format(value)}",
            )
        )
    return _chart(title, points, format, highest, bars=bars)


def _chart(
    title: str,
    points: Points,
    format: Callable[[int], str],
    highest: int,
    *,
    line: str = "",
    area: str = "",
    bars: list[tuple[float, float, float, float, str]] | None = None,
) -> Chart:
    every = max(1, len(points) // TICKS)
    step = WIDTH / max(1, len(points) - 1)
    summary = (
        f"{points[0][0]}: {format(points[0][1])}. {points[-1][0]}: {format(points[-1][1])}."
        if points
        else "No data yet."
    )
    return Chart(
        title=title,
        summary=summary or "No data yet.",
        line=line,
        area=area,
        bars=bars or [],
        ticks=[(round(step * i, 1), label[5:]) for i, (label, _) in enumerate(points) if i % every == 0],
        top=format(highest) if points else "",
        rows=[(label, format(value)) for label, value in reversed(points)],
    )


def size(value: int) -> str:
    return str(filesizeformat(value)).replace("\xa0", " ")
