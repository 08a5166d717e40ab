"""Horizontal bar charts as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from oracle.circuits.plot import svg_of

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
    figure = Figure(figsize=(2 + 4.5 * len(panels), 1 + 0.24 * len(names)), layout="constrained")
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel, colour in zip(row, panels, _COLOURS, strict=False):
        known = [(place, v) for place, v in enumerate(panel.values) if v is not None]
        drawn = axes.barh([place for place, _ in known], [v for _, v in known], color=colour)
        axes.bar_label(drawn, [f"{v:.3g}{panel.unit}" for _, v in known], padding=3, fontsize=8)
        for place, value in enumerate(panel.values):
            if value is None:
                axes.text(0.01, place, "none", transform=axes.get_yaxis_transform(), va="center")
        axes.axvline(1, color="black", linestyle="--", linewidth=0.8)
        if panel.logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.set_title(panel.title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.12)
    row[0].set_yticks(range(len(names)), names, fontsize=8)
    row[0].invert_yaxis()
    return svg_of(figure)
