"""Rows where answers change fastest: there a small error inside a circuit becomes a large one.

A softmax of large scores is flat nearly everywhere. Of rows at random few lie between its plateaus,
and a climb from a plateau finds no way up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from oracle.circuits.boundary import halved
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
    if not len(first):
        return first
    at_first, at_second = answers(first), answers(second)
    with np.errstate(invalid="ignore"):
        apart = np.nan_to_num(np.abs(at_second - at_first))
    segments, column = np.arange(len(first)), apart.argmax(axis=1)
    rises = at_second[segments, column] > at_first[segments, column]
    level = (at_first[segments, column] + at_second[segments, column]) / 2

    def is_first(rows: Integers) -> npt.NDArray[np.bool_]:
        return np.asarray((answers(rows)[segments, column] > level) != rises)

    return np.vstack(halved(first, second, is_first, _HALVINGS))
