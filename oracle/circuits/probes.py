"""Inputs that put to the test what a circuit promises to take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oracle.circuits.row import Range
from oracle.circuits.trial import Floats, Graph

#: Probes reach this many times as far from the centre as the promised range.
_REACH = 1.25
_RANDOM = 16
#: Probes that drive single numbers of the graph as far as they go.
_DRIVEN = 32


def probes(
    graph: Graph, input_name: str, within: Range, length: int, limits: Sequence[Range] = ()
) -> Floats:
    """Corners a little outside the promised range, float [n, length].

    Uniform, alternating and random ones, and those that drive the numbers of the float graph
    furthest from what they are at the centre: what these need, any promised input has.
    Where the graph limits its features, the numbers depend on nothing beyond ``limits``.
    """
    centre, reach = (within.low + within.high) / 2, _REACH * (within.high - within.low) / 2
    alternating = np.where(np.arange(length) % 2 == 0, 1.0, -1.0)
    # Seeded: the same model and samples must give the same circuit.
    random = np.random.default_rng(0).choice([-1.0, 1.0], size=(_RANDOM, length))
    signs = np.vstack([np.ones(length), -np.ones(length), alternating, -alternating, random])
    corners = np.asarray(centre + reach * signs, dtype=np.float64)
    driven = graph.sandbox.run(
        "extremes",
        {
            "model": str(graph.path),
            "input": input_name,
            "low": [each.low for each in limits] or centre - reach,
            "high": [each.high for each in limits] or centre + reach,
            "count": _DRIVEN,
        },
    )["rows"]
    return np.vstack([corners, np.asarray(driven, dtype=np.float64).reshape(-1, length)])
