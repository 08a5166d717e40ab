"""Horizontal bar charts as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_ROW = 18
_NAMES = 150
_PANEL = 360
_GAP = 70
_HEAD = 44
_COLOURS = ("#2b6cb0", "#b7791f")


@dataclass(frozen=True, slots=True)
class Bar:
    """One panel: a value for each name, None where there is none."""

    title: str
    values: Sequence[float | None]
    #: Written after each value.
    unit: str
    logarithmic: bool


def bars(names: Sequence[str], panels: Sequence[Bar]) -> str:
    """Panels side by side, a row a name; a line marks the value 1."""
    width = _NAMES + len(panels) * (_PANEL + _GAP)
    height = _HEAD + _ROW * len(names) + 12
    size = f'width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect {size} fill="white"/>',
    ]
    parts += [
        _text(name, _NAMES - 8, _middle(row), 'text-anchor="end"') for row, name in enumerate(names)
    ]
    for index, panel in enumerate(panels):
        left = _NAMES + index * (_PANEL + _GAP)
        parts += _panel(panel, left, _COLOURS[index % len(_COLOURS)], height)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Bar, left: int, colour: str, height: int) -> list[str]:
    known = [value for value in panel.values if value is not None]
    greatest = max([*known, 1.0])
    one = left + _length(1.0, greatest, logarithmic=panel.logarithmic)
    ends = f'x1="{one:.1f}" y1="{_HEAD - 6}" x2="{one:.1f}" y2="{height - 8}"'
    shapes = []
    texts = [
        _text(panel.title, left, 18, 'font-weight="bold"'),
        _text("1", one, _HEAD - 10, 'text-anchor="middle" fill="gray"'),
    ]
    for row, value in enumerate(panel.values):
        if value is None:
            texts.append(_text("none", left, _middle(row), 'fill="gray"'))
            continue
        length = _length(value, greatest, logarithmic=panel.logarithmic)
        size = f'width="{length:.1f}" height="{_ROW - 6}"'
        shapes.append(f'<rect x="{left}" y="{_HEAD + _ROW * row + 3}" {size} fill="{colour}"/>')
        # A white edge keeps the number legible across the line.
        edge = 'paint-order="stroke" stroke="white" stroke-width="3"'
        texts.append(_text(f"{value:.3g}{panel.unit}", left + length + 4, _middle(row), edge))
    line = f'<line {ends} stroke="black" stroke-dasharray="3 3"/>'
    return [*shapes, line, *texts]


def _text(text: str, x: float, y: float, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _length(value: float, greatest: float, *, logarithmic: bool) -> float:
    """Pixels; a logarithmic axis starts at one half."""
    if not logarithmic:
        return _PANEL * value / greatest
    return _PANEL * max(0.0, math.log(2 * value)) / math.log(2 * greatest)


def _middle(row: int) -> int:
    return _HEAD + _ROW * row + 13
