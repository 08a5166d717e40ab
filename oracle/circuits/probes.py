"""Inputs that put to the test what a circuit promises: all lie within the promised ranges."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from oracle.circuits.trial import Floats, Graph

#: Corners at random.
_CORNERS = 8
#: Probes that drive single numbers of the graph as far as they go.
_DRIVEN = 32
#: Rows of each kind, in the search.
_EACH = 8


def driven(graph: Graph, input_name: str, low: Floats, high: Floats) -> Floats:
    """Corners, float [n, inputs], that drive numbers of the float graph furthest.

    What these need, any promised input has: nearly so, and exactly in a first layer.
    """
    found = graph.sandbox.run(
        "extremes",
        {
            "model": str(graph.path),
            "input": input_name,
            "low": low.tolist(),
            "high": high.tolist(),
            "count": _DRIVEN,
        },
    )["rows"]
    return np.asarray(found, dtype=np.float64).reshape(-1, len(low))


def inside(
    low: Floats,
    high: Floats,
    samples: Floats,
    whole: npt.NDArray[np.bool_],
    *,
    seed: int,
    each: int = _EACH,
) -> Floats:
    """Rows of many kinds, float [n, inputs].

    Corners, and edges, where some elements are at an end; rows of the whole box, of each element's
    own range, between two samples, and samples with one element moved; rows of equal numbers; rows
    at and around zero, where many functions bend.

    Args:
        low: least value of each element.
        high: greatest value of each element.
        samples: float [n, inputs].
        whole: which elements are whole numbers.
        seed: the same seed gives the same rows.
        each: how many of each kind.
    """
    random, length = np.random.default_rng(seed), len(low)
    ends = np.stack([low, high])
    alternating = np.arange(length) % 2
    corners = [np.zeros(length), np.ones(length), alternating, 1 - alternating]
    corners += list(random.integers(0, 2, (_CORNERS, length)))
    picked = np.asarray(corners, dtype=np.int64)
    own = np.clip(np.stack([samples.min(axis=0), samples.max(axis=0)]), low, high)
    first, second = (samples[random.integers(0, len(samples), each)] for _ in range(2))
    moved = samples[random.integers(0, len(samples), 2 * each)].copy()
    columns = random.integers(0, length, 2 * each)
    moved[np.arange(2 * each), columns] = random.uniform(low[columns], high[columns])
    edges = random.uniform(low, high, (each, length))
    ends_of = np.take_along_axis(ends, random.integers(0, 2, (each, length)), axis=0)
    edges = np.where(random.integers(0, 2, (each, length)) == 1, ends_of, edges)
    equal = random.uniform(low.min(), high.max(), (each, 1))
    small = np.ldexp(random.choice([-1.0, 1.0], (each, length)), -random.integers(0, 12, (each, 1)))
    rows = np.vstack(
        [
            np.take_along_axis(ends, picked, axis=0),
            (low + high)[np.newaxis] / 2,
            random.uniform(low, high, (2 * each, length)),
            random.uniform(own[0], own[1], (each, length)),
            first + random.uniform(0, 1, (each, 1)) * (second - first),
            moved,
            edges,
            np.broadcast_to(equal, (each, length)),
            np.zeros((1, length)),
            small,
        ]
    )
    rows = np.where(whole, np.rint(rows), rows)
    return np.asarray(np.clip(rows, low, high), dtype=np.float64)
