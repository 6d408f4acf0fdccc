"""Small line charts as SVG text: one picture, a few lines of points with their ranges. PURE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks.figures import Spread

WIDTH, HEIGHT = 460, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 96, 30, 40
COLOURS = ("#7f7f7f", "#d62728", "#1f77b4", "#2ca02c", "#9467bd")


@dataclass(frozen=True)
class Line:
    """One line: its name, and for each place on the x axis a spread."""

    name: str
    values: Sequence[Spread]


@dataclass(frozen=True)
class Chart:
    """places are the labels of the x axis, evenly spaced; the y axis begins at 0."""

    title: str
    x_label: str
    y_label: str
    places: Sequence[str]
    lines: Sequence[Line]


def svg(chart: Chart) -> str:
    """The whole file."""
    top = max(spread.high for line in chart.lines for spread in line.values) * 1.05 or 1.0
    marks = [*_axes(chart, top)]
    for number, line in enumerate(chart.lines):
        marks += _line(chart, line, top, COLOURS[number % len(COLOURS)], number)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="11">'
    )
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *marks, "</svg>", ""])


def ticks(top: float) -> list[float]:
    """Three to six round numbers from 0 up to at most top."""
    step = 10.0 ** len(str(int(top))) / 10 if top >= 1 else 0.1
    for part in (5.0, 2.0, 1.0, 0.5, 0.2, 0.1):
        if top / (step * part) >= 3:
            step *= part
            break
    return [step * number for number in range(int(top / step) + 1)]


def _x(chart: Chart, index: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (index + 0.5) / len(chart.places)


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top


def _text(x: float, y: float, text: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _axes(chart: Chart, top: float) -> list[str]:
    marks = [_text((LEFT + WIDTH - RIGHT) / 2, 16, chart.title, more=' font-weight="bold"')]
    for value in ticks(top):
        y = _y(value, top)
        marks.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        marks.append(_text(LEFT - 6, y + 4, f"{value:g}", "end"))
    marks += [_text(_x(chart, index), HEIGHT - BOTTOM + 16, place) for index, place in enumerate(chart.places)]
    marks.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, chart.x_label))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    marks.append(_text(14, middle, chart.y_label, more=f' transform="rotate(-90 14 {middle:.0f})"'))
    return marks


def _line(chart: Chart, line: Line, top: float, colour: str, number: int) -> list[str]:
    points = [(_x(chart, index), spread) for index, spread in enumerate(line.values)]
    path = " ".join(f"{x:.1f},{_y(spread.median, top):.1f}" for x, spread in points)
    marks = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for x, spread in points:
        low, high = _y(spread.low, top), _y(spread.high, top)
        marks.append(f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="{colour}"/>')
        marks.append(f'<circle cx="{x:.1f}" cy="{_y(spread.median, top):.1f}" r="3" fill="{colour}"/>')
    y = TOP + 14 * (number + 1)
    marks.append(f'<path d="M{WIDTH - RIGHT + 8} {y - 4}h14" stroke="{colour}" stroke-width="2"/>')
    marks.append(_text(WIDTH - RIGHT + 26, y, line.name, "start"))
    return marks
