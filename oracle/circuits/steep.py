"""Rows where answers change fastest: there a small error inside a circuit becomes a large one.

A softmax of large scores is flat nearly everywhere. Of rows at random few lie between its plateaus,
and a climb from a plateau finds no way up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from oracle.circuits.boundary import between
from oracle.circuits.trial import Floats

Integers = npt.NDArray[np.int64]

#: Scores of rows [n, scores].
Answers = Callable[[Integers], Floats]

#: Halvings of a segment.
_HALVINGS = 14


def halfway(first: Integers, second: Integers, answers: Answers) -> Integers:
    """On segments, the rows where the score that differs most between the ends is halfway.

    Args:
        first: rows of fixed-point numbers, int64 [n, inputs].
        second: as many others.
        answers: of rows, none of them off the segments but by rounding.

    Returns:
        int64 [2 n, inputs]: of each segment the last row on either side, as far as halvings go.
    """
    low, high = first.copy(), second.copy()
    if not len(low):
        return low
    at_low, at_high = answers(low), answers(high)
    with np.errstate(invalid="ignore"):
        apart = np.nan_to_num(np.abs(at_high - at_low))
    rows, column = np.arange(len(low)), apart.argmax(axis=1)
    rises = at_high[rows, column] > at_low[rows, column]
    level = (at_low[rows, column] + at_high[rows, column]) / 2
    for _ in range(_HALVINGS):
        middle = between(low, high, np.full(len(low), 0.5))
        above = (answers(middle)[rows, column] > level) == rises
        high[above], low[~above] = middle[above], middle[~above]
    return np.vstack([low, high])
