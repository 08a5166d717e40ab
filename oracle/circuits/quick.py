"""What a circuit computes, in milliseconds: by our own model of its arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.circuits.guarantee import arithmetic_of
from oracle.circuits.trial import Floats, Graph, Outcome
from oracle.tensor import quantize

Json = dict[str, Any]


def sketch(graph: Graph, run_args: Json, rows: Floats) -> Outcome | None:
    """As `trial.sketch`, by our own model of the arithmetic; None where it lacks something.

    What it says of a circuit to be refused is to be believed; one to be built computes rows itself.
    """
    arithmetic = arithmetic_of(graph.path, run_args | graph.asked)
    if arithmetic is None:
        return None
    scale = arithmetic.input_scale
    numbers = [[quantize(value, scale) for value in row] for row in rows.tolist()]
    found = arithmetic.evaluate(np.array(numbers, dtype=np.int64).reshape(len(rows), -1))
    integers: list[list[int] | None] = list(found.outputs.tolist())
    if found.overflow.any():
        integers = [None] * len(rows)
    return Outcome(integers, found.lookups, arithmetic.output_scale)
