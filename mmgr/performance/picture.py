"""The picture of a load, as SVG: response times and throughput over time. PURE; nothing is needed to draw it.

Read are the periodic table of milter-performance-check and its statistics data, whichever lines there are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 900, 560
LEFT, RIGHT, TOP, GAP = 70, 20, 40, 60
PANEL = (HEIGHT - TOP - 2 * GAP) // 2
DOTS_MAX = 5000
DAY_S = 86400

COLOURS = {"Max": "#d1495b", "Avg": "#2f6fb0", "Min": "#4fae6b", "mails/s": "#2f6fb0", "failed/s": "#d1495b"}

_ROW = re.compile(
    r"\s*(\d\d):(\d\d):(\d\d)\s+(\d+)\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)\s+(\d+)\s+(\d+)\s+(\d+)\s*"
)
_DATA = re.compile(r"\s*([\d.]+),([\d.]+),(\d+)\s*")


@dataclass(frozen=True)
class Row:
    """One row of the table; at_s is since the first one."""

    at_s: float
    rate: float
    most_s: float
    least_s: float
    average_s: float
    n_failed: int


@dataclass
class Measured:
    """What was read: rows of the table, and (when it ended, how long it took) of single mails."""

    rows: list[Row] = field(default_factory=list)
    mails: list[tuple[float, float]] = field(default_factory=list)


def read(lines: Iterable[str]) -> Measured:
    """All rows in the lines; others, such as the report behind the table, are passed over."""
    found = Measured()
    began = before = -1.0
    for line in lines:
        row, data = _ROW.fullmatch(line), _DATA.fullmatch(line)
        numbers = _numbers((row or data).groups()) if row or data else None  # type: ignore[union-attr]
        if numbers is None:
            continue
        if data:
            found.mails.append((numbers[0], numbers[1]))
            continue
        clock = numbers[0] * 3600 + numbers[1] * 60 + numbers[2]
        while clock < before:
            clock += DAY_S  # past midnight
        began = clock if began < 0 else began
        before = clock
        rate, most_s, least_s, average_s = numbers[4:8]
        found.rows.append(Row(clock - began, rate, most_s, least_s, average_s, int(sum(numbers[8:11]))))
    return found


def _numbers(texts: Sequence[str]) -> list[float] | None:
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return numbers if all(number < 1e12 for number in numbers) else None


def picture(measured: Measured, title: str) -> str:
    """The whole picture; the upper half has response times, the lower one mails per second."""
    ends_s = max([1.0, *(row.at_s for row in measured.rows), *(at for at, _ in measured.mails)])
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="16">{escape(title)}</text>',
    ]
    parts += _times(measured, ends_s)
    parts += _rates(measured, ends_s)
    return "\n".join([*parts, "</svg>", ""])


def _times(measured: Measured, ends_s: float) -> Iterator[str]:
    rows, mails = measured.rows, measured.mails[:: len(measured.mails) // DOTS_MAX + 1]
    curves = {
        "Max": [(row.at_s, row.most_s) for row in rows],
        "Avg": [(row.at_s, row.average_s) for row in rows],
        "Min": [(row.at_s, row.least_s) for row in rows],
    }
    most = max([0.001, *(row.most_s for row in rows), *(took for _, took in mails)])
    yield from _axes(TOP, ends_s, most, "response time (s)")
    for at, took in mails:
        x, y = _place(at, took, ends_s, most, TOP)
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.5" fill="{COLOURS["Avg"]}" fill-opacity="0.5"/>'
    yield from _lines(curves if rows else {}, ends_s, most, TOP)


def _rates(measured: Measured, ends_s: float) -> Iterator[str]:
    top = TOP + PANEL + GAP
    rows = measured.rows
    if rows:
        gaps = [later.at_s - row.at_s for row, later in zip(rows, rows[1:])]
        every_s = max(1.0, sorted(gaps)[len(gaps) // 2]) if gaps else 1.0
        rates = [(row.at_s, row.rate) for row in rows]
        failed = [(row.at_s, row.n_failed / every_s) for row in rows]
    else:
        width_s = max(1.0, math.ceil(ends_s / 200))
        counts = [0] * (int(ends_s // width_s) + 1)
        for at, _ in measured.mails:
            counts[int(at // width_s)] += 1
        rates, failed = [(n * width_s, count / width_s) for n, count in enumerate(counts)], []
    most = max([0.1, *(rate for _, rate in rates), *(rate for _, rate in failed)])
    yield from _axes(top, ends_s, most, "mails per second")
    yield from _lines({"mails/s": rates, **({"failed/s": failed} if failed else {})}, ends_s, most, top)


def _axes(top: int, ends_s: float, most: float, label: str) -> Iterator[str]:
    right, bottom = WIDTH - RIGHT, top + PANEL
    for value in _ticks(most):
        _, y = _place(0, value, ends_s, most, top)
        yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#dddddd"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
    for value in _ticks(ends_s):
        x, _ = _place(value, 0, ends_s, most, top)
        yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{value:g} s</text>'
    yield f'<path d="M{LEFT} {top}V{bottom}H{right}" fill="none" stroke="#333333"/>'
    middle = top + PANEL // 2
    yield f'<text x="16" y="{middle}" transform="rotate(-90 16 {middle})" text-anchor="middle">{label}</text>'


def _lines(curves: dict[str, list[tuple[float, float]]], ends_s: float, most: float, top: int) -> Iterator[str]:
    for number, (name, points) in enumerate(curves.items()):
        places = " ".join("{:.1f},{:.1f}".format(*_place(at, value, ends_s, most, top)) for at, value in points)
        yield f'<polyline points="{places}" fill="none" stroke="{COLOURS[name]}" stroke-width="1.5"/>'
        x = WIDTH - RIGHT - 90 * (len(curves) - number)
        yield f'<rect x="{x}" y="{top - 18}" width="10" height="10" fill="{COLOURS[name]}"/>'
        yield f'<text x="{x + 14}" y="{top - 9}">{name}</text>'


def _place(at: float, value: float, ends_s: float, most: float, top: int) -> tuple[float, float]:
    width = WIDTH - LEFT - RIGHT
    return LEFT + width * at / ends_s, top + PANEL - PANEL * min(value / (most * 1.05), 1)


def _ticks(most: float) -> list[float]:
    """Some round numbers up to most."""
    step = 10.0 ** math.floor(math.log10(most))
    for part in (1, 2, 5):
        if most / (step / part) >= 4:
            step /= part
            break
    return [round(n * step, 9) for n in range(int(most / step) + 1)]
