"""The figure: plots side by side as one SVG, written by hand, both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from .rounds import Plot, duration

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 300, 220, 62, 34, 94, 16
#: Hues that are told apart without colour vision, too.
COLOURS = ("#0072b2", "#e07b00", "#888888")

_STYLE = "text{font:11px system-ui,sans-serif;fill:#555}.title{font-size:13px;font-weight:600;fill:#222}"


class _Axis:
    """Puts values of a power-of-ten range on a line of pixels."""

    def __init__(self, values: list[float], start: float, end: float) -> None:
        self.low = math.floor(math.log10(min(values)) + 1e-9)
        self.high = max(self.low + 1, math.ceil(math.log10(max(values)) - 1e-9))
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self._start + share * (self._end - self._start), 1)

    def marks(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def _panel(plot: Plot, left: float) -> Iterator[str]:
    points = [point for line in plot.lines for point in line.points]
    x = _Axis([point[0] for point in points], left + LEFT, left + WIDTH)
    y = _Axis([point[1] for point in points], TOP + HEIGHT - 30, TOP)
    yield f'<text class="title" x="{left + LEFT}" y="18">{escape(plot.title)}</text>'
    for mark in y.marks():
        yield f'<path d="M{left + LEFT} {y.at(mark)}H{left + WIDTH}" stroke="#ddd"/>'
        yield f'<text x="{left + LEFT - 6}" y="{y.at(mark) + 4}" text-anchor="end">{_short(duration(mark))}</text>'
    for mark in x.marks():
        yield f'<text x="{x.at(mark)}" y="{TOP + HEIGHT - 12}" text-anchor="middle">{mark:,.0f}</text>'
    middle = left + (LEFT + WIDTH) / 2
    yield f'<text x="{middle}" y="{TOP + HEIGHT + 6}" text-anchor="middle">{escape(plot.x)}</text>'
    for number, line in enumerate(plot.lines):
        colour = COLOURS[number]
        path = "L".join(f"{x.at(px)} {y.at(py)}" for px, py in line.points)
        yield f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for px, py in line.points:
            yield f'<circle cx="{x.at(px)}" cy="{y.at(py)}" r="3" fill="{colour}"/>'
        below = TOP + HEIGHT + 26 + 16 * number
        yield f'<path d="M{left + LEFT} {below - 4}h16" stroke="{colour}" stroke-width="2"/>'
        yield f'<text x="{left + LEFT + 22}" y="{below}">{escape(line.label)}</text>'


def _short(text: str) -> str:
    return text.replace(".00", "").replace(".0", "")


def svg(plots: list[Plot]) -> str:
    """Draw the plots."""
    width, height = len(plots) * (WIDTH + GAP) + GAP, TOP + HEIGHT + BOTTOM - 20
    parts = [part for number, plot in enumerate(plots) for part in _panel(plot, number * (WIDTH + GAP))]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    return "\n".join(
        [head, f"<style>{_STYLE}</style>", '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>\n"]
    )
