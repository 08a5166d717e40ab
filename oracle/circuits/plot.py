"""The Pareto front of gas and proving time, drawn as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 760, 500
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 140, 50, 60
#: Space around the data, as a share of its extent.
_MARGIN = 0.08
_BLUE, _RED, _GREY, _LINE = "#1f6feb", "#d1242f", "#9aa5b1", "#e5e8eb"
#: Round numbers for the marks of an axis.
_ROUND = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Point:
    """A circuit in the picture."""

    #: Of a proof.
    seconds: float
    #: Of a verification.
    gas: float
    label: str
    #: Built, not only estimated.
    measured: bool = False
    chosen: bool = False


def pareto(points: Sequence[Point]) -> str:
    """An SVG of gas over proving time (logarithmic), at least one point."""
    front = front_of(points)
    x = _axis([math.log(p.seconds) for p in points], _LEFT, _WIDTH - _RIGHT)
    y = _axis([p.gas for p in points], _HEIGHT - _BOTTOM, _TOP)
    size = f'width="{_WIDTH}" height="{_HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect {size} fill="white"/>',
        _text("Circuits that were considered", _LEFT, 24, 'font-size="15" font-weight="bold"'),
        *_grid(points, x, y),
        *_steps(front, x, y),
    ]
    for point in sorted(points, key=lambda p: (p.measured, p.chosen)):
        parts += _mark(x(math.log(point.seconds)), y(point.gas), point)
    parts += [
        _text(point.label, x(math.log(point.seconds)) + 9, y(point.gas) - 7, 'font-size="11"')
        for point in front
    ]
    return "\n".join([*parts, *_legend(), "</svg>"]) + "\n"


def front_of(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in both respects, by rising time."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.seconds, p.gas)):
        if not front or point.gas < front[-1].gas:
            front.append(point)
    return front


def _axis(values: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    """From a value to its place, with a margin around the data."""
    low, high = min(values), max(values)
    margin = _MARGIN * (high - low) or 0.5 * (abs(high) or 1)
    low, high = low - margin, high + margin
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _grid(
    points: Sequence[Point], x: Callable[[float], float], y: Callable[[float], float]
) -> Iterator[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    times = [p.seconds for p in points]
    for second in _decades(min(times) / 2, max(times) * 2):
        at = x(math.log(second))
        if _LEFT <= at <= right:
            yield f'<path d="M{at:.1f} {_TOP}V{bottom}" stroke="{_LINE}"/>'
            yield _text(f"{second:g}", at, bottom + 18, 'text-anchor="middle"')
    prices = [p.gas for p in points]
    step = _step(max(prices) - min(prices) or max(prices))
    for index in range(int(max(prices) / step) + 3):
        at = y(index * step)
        if _TOP <= at <= bottom:
            yield f'<path d="M{_LEFT} {at:.1f}H{right}" stroke="{_LINE}"/>'
            yield _text(f"{index * step / 1000:,g}k", _LEFT - 8, at + 4, 'text-anchor="end"')
    yield f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#57606a"/>'
    middle = (_LEFT + right) / 2
    yield _text("seconds to prove", middle, _HEIGHT - 18, 'text-anchor="middle"')
    turned = f'text-anchor="middle" transform="rotate(-90 18 {_HEIGHT / 2:.0f})"'
    yield _text("gas to verify", 18, _HEIGHT / 2, turned)


def _decades(low: float, high: float) -> Iterator[float]:
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        yield from (digit * 10.0**power for digit in _ROUND)


def _step(extent: float) -> float:
    """A round distance that cuts ``extent`` into four to ten parts."""
    power = 10.0 ** math.floor(math.log10(extent / 4))
    return max(digit * power for digit in _ROUND if digit * power <= extent / 4)


def _steps(
    front: Sequence[Point], x: Callable[[float], float], y: Callable[[float], float]
) -> Iterator[str]:
    first, *others = front
    path = f"M{x(math.log(first.seconds)):.1f} {y(first.gas):.1f}"
    for point in others:
        path += f"H{x(math.log(point.seconds)):.1f}V{y(point.gas):.1f}"
    yield f'<path d="{path}" fill="none" stroke="{_BLUE}" stroke-opacity="0.5"/>'


def _mark(x: float, y: float, point: Point) -> Iterator[str]:
    colour, radius = (_BLUE, 5) if point.measured else (_GREY, 3.5)
    yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>'
    if point.chosen:
        ring = f'fill="none" stroke="{_RED}" stroke-width="2"'
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" {ring}/>'


def _legend() -> Iterator[str]:
    left, top = _WIDTH - _RIGHT + 24, _TOP + 10
    samples = (
        ("chosen", Point(1, 1, "", measured=True, chosen=True)),
        ("measured", Point(1, 1, "", measured=True)),
        ("estimated", Point(1, 1, "")),
    )
    for row, (name, sample) in enumerate(samples):
        yield from _mark(left, top + 24 * row, sample)
        yield _text(name, left + 16, top + 24 * row + 4)
    line = top + 24 * len(samples)
    yield f'<path d="M{left - 8} {line}h16" stroke="{_BLUE}" stroke-opacity="0.5"/>'
    yield _text("Pareto front", left + 16, line + 4)


def _text(text: str, x: float, y: float, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'
