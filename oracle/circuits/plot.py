"""The Pareto front of gas and proving time, drawn as SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _RED, _GREY, _LINE = "#1f6feb", "#d1242f", "#9aa5b1", "#e5e8eb"


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
    # Half a second to import, which only builds need.
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(8, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.set(
        title="Circuits that were considered",
        xlabel="seconds to prove",
        ylabel="gas to verify",
        xscale="log",
    )
    axes.grid(color=_LINE)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    kinds: tuple[tuple[str, list[Point], dict[str, Any]], ...] = (
        ("estimated", [p for p in points if not p.measured], {"c": _GREY, "s": 28}),
        ("measured", [p for p in points if p.measured], {"c": _BLUE, "s": 60}),
        (
            "chosen",
            [p for p in points if p.chosen],
            {"facecolors": "none", "edgecolors": _RED, "s": 180, "linewidths": 2},
        ),
    )
    for name, some, style in kinds:
        if some:
            axes.scatter([p.seconds for p in some], [p.gas for p in some], label=name, **style)
    front = front_of(points)
    axes.step(
        [p.seconds for p in front],
        [p.gas for p in front],
        where="post",
        color=_BLUE,
        alpha=0.5,
        label="Pareto front",
    )
    for point in front:
        axes.annotate(
            point.label,
            (point.seconds, point.gas),
            xytext=(8, 6),
            textcoords="offset points",
            fontsize=8,
        )
    axes.margins(0.1)
    axes.legend(frameon=False)
    return svg_of(figure)


def front_of(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in both respects, by rising time."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.seconds, p.gas)):
        if not front or point.gas < front[-1].gas:
            front.append(point)
    return front


def svg_of(figure: Figure) -> str:
    """The same text for the same figure: no date, no random names, letters as letters."""
    import matplotlib as mpl

    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "oracle"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
