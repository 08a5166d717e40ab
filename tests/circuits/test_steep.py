"""Rows between the plateaus of answers: where they change fastest, and nowhere else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from oracle.circuits.steep import halfway

Integers = npt.NDArray[np.int64]


class Scores:
    """A softmax of large scores of products of inputs: flat nearly everywhere."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self._weights = random.normal(0, 1 / 2**14, (10, 3))

    def __call__(self, rows: Integers) -> npt.NDArray[np.float64]:
        real = rows.astype(np.float64)
        first, second = np.triu_indices(4)
        scores = real[:, first] * real[:, second] @ self._weights
        scores -= scores.max(axis=1, keepdims=True)
        return np.asarray(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("seed", range(20))
def test_halfway__scores_flat_nearly_everywhere__rows_on_either_side_of_the_middle(
    seed: int,
) -> None:
    scores, random = Scores(seed), np.random.default_rng(seed + 100)
    first, second = random.integers(-3000, 3000, (2, 60, 4))
    apart = np.abs(scores(second) - scores(first)).max(axis=1)
    low, high = np.split(halfway(first, second, scores), 2)
    for begin, end, below, above, wide in zip(first, second, low, high, apart, strict=True):
        # Neighbours on the segment, as near as its numbers come to it.
        assert np.abs(above - below).max() <= 1
        assert np.all(np.minimum(begin, end) <= below)
        assert np.all(below <= np.maximum(begin, end))
        ends = scores(np.stack([begin, end]))
        column = int(np.abs(ends[1] - ends[0]).argmax())
        level = ends[:, column].mean()
        sides = scores(np.stack([below, above]))[:, column]
        assert min(sides) <= level <= max(sides) or wide == 0
    # Of as many rows at random hardly any is off the plateaus.
    found = scores(low[apart > 0.9]).max(axis=1)
    assert len(found) > 5
    assert np.mean(found < 0.9) > 0.8
    assert np.mean(scores(first).max(axis=1) < 0.9) < 0.2


def test_halfway__no_segments__no_rows() -> None:
    none = np.empty((0, 4), dtype=np.int64)
    assert halfway(none, none, Scores(1)).shape == (0, 4)


def test_halfway__answers_that_are_no_numbers__are_left_alone() -> None:
    def scores(rows: Integers) -> npt.NDArray[np.float64]:
        return np.full((len(rows), 2), np.nan)

    rows = np.arange(8).reshape(2, 4)
    assert halfway(rows, rows + 9, scores).shape == (4, 4)
