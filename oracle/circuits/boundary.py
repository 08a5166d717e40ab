"""Rows beside a jump: so near to it that a circuit may go the other way, and too far to be excused.

Of rows at random few lie there, and a wrong answer shows nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from oracle.circuits.trial import Floats

Integers = npt.NDArray[np.int64]

#: How far rows are from the next jump, in margins [n]: above 1 nothing is excused.
Distances = Callable[[Integers], Floats]

#: Of rows, one on each segment, on which side of something they are [n].
Sides = Callable[[Integers], npt.NDArray[np.bool_]]

#: The rows found are so many margins from a jump, at most.
_FURTHEST = 1.6
#: Points of a segment that are looked at first, and how often its nearest stretch is looked at again.
_POINTS, _CLOSER = 9, 3
#: Halvings between a point within the margin and one beyond it.
_HALVINGS = 8


def beside(
    first: Integers, second: Integers, distances: Distances, random: np.random.Generator
) -> Integers:
    """On segments from ``first`` to ``second``, rows just beyond the margin of a jump.

    Args:
        first: rows of fixed-point numbers, int64 [n, inputs].
        second: as many others.
        distances: of rows, none of them off the segments but by rounding.
        random: chooses how near.

    Returns:
        int64 [k, inputs], k <= 2 n: one for each end of a segment that comes within a margin and
        whose end does not.
    """
    nearest, reached = _nearest(first, second, distances)
    ends, nearest = np.vstack([first, second]), np.vstack([nearest, nearest])
    level = random.uniform(1.0, _FURTHEST, len(ends))
    crosses = (np.tile(reached, 2) < level) & (distances(ends) > level)
    return _crossing(ends[crosses], nearest[crosses], level[crosses], distances)


def between(first: Integers, second: Integers, share: Floats) -> Integers:
    """The rows of the grid next to a share [n] of the way."""
    way = np.rint(share[:, np.newaxis] * (second - first))
    return np.asarray(first + way.astype(np.int64))


def halved(
    first: Integers, second: Integers, is_first: Sides, times: int
) -> tuple[Integers, Integers]:
    """Segments halved so many times: of each the part where the side changes, by its ends.

    ``is_first`` says of rows, one on each segment, whether they are on the side of ``first``.
    """
    first, second = first.copy(), second.copy()
    for _ in range(times if len(first) else 0):
        middle = between(first, second, np.full(len(first), 0.5))
        side = is_first(middle)
        first[side], second[~side] = middle[side], middle[~side]
    return first, second


def _nearest(first: Integers, second: Integers, distances: Distances) -> tuple[Integers, Floats]:
    """The row of each segment that is nearest to a jump, as far as is seen, and how far it is."""
    count = len(first)
    low, high = np.zeros(count), np.ones(count)
    best, reached = first.copy(), np.full(count, np.inf)
    for _ in range(_CLOSER):
        shares = np.linspace(low, high, _POINTS)
        rows = np.stack([between(first, second, share) for share in shares])
        found = distances(rows.reshape(-1, first.shape[1])).reshape(_POINTS, count)
        least, columns = found.argmin(axis=0), np.arange(count)
        better = found[least, columns] < reached
        best[better] = rows[least, columns][better]
        reached = np.minimum(reached, found[least, columns])
        width = (high - low) / (_POINTS - 1)
        middle = shares[least, columns]
        low, high = np.clip(middle - width, 0, 1), np.clip(middle + width, 0, 1)
    return best, reached


def _crossing(far: Integers, near: Integers, level: Floats, distances: Distances) -> Integers:
    """Between rows beyond a level and rows within it, the last one beyond it."""
    last, _ = halved(far, near, lambda rows: distances(rows) > level, _HALVINGS)
    return last
