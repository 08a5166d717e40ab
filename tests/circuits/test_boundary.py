"""Rows just beyond a margin lie where they are said to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oracle.circuits import onnx
from oracle.circuits.boundary import beside
from oracle.circuits.reference import Reference
from scripts.truth import listed
from tests.circuits.lowered import SANDBOX
from tests.sampling import seed


@pytest.mark.parametrize("turn", range(20))
def test_beside__a_plane__rows_from_one_margin_to_less_than_two(turn: int) -> None:
    random = np.random.default_rng([seed(), turn])
    normal = random.normal(0, 1, 5)
    margin = random.uniform(20, 200)

    def distances(rows: np.ndarray) -> np.ndarray:
        return np.abs(rows @ normal - 30) / margin

    first, second = random.integers(-2000, 2000, (2, 64, 5))
    found = beside(first, second, distances, random)
    # Segments that cross the plane have a row on each side of it.
    crossing = np.sign(first @ normal - 30) != np.sign(second @ normal - 30)
    assert len(found) >= np.count_nonzero(crossing)
    # A halving too few for the longest leaves them a little further.
    assert (distances(found) > 1).all()
    assert np.quantile(distances(found), 0.9) < 2


def test_beside__no_jump_anywhere__nothing() -> None:
    random = np.random.default_rng(1)
    rows = random.integers(-9, 9, (2, 8, 3))
    found = beside(rows[0], rows[1], lambda each: np.full(len(each), np.inf), random)
    assert found.shape == (0, 3)


@pytest.mark.parametrize("name", ["counts", "tokens", "bytes", "bits", "signed_bytes"])
def test_distances__inputs_that_are_whole_numbers__are_asked_as_their_type(
    name: str, tmp_path: Path
) -> None:
    case = listed.make(name)
    path = tmp_path / "model.onnx"
    path.write_bytes(case.onnx)
    scored = onnx.load(path, SANDBOX, samples=case.samples)
    reference = Reference(path, scored, tmp_path, SANDBOX)
    distances = reference.distances(case.samples[:4])
    assert distances.shape == (4,)
    assert (distances >= 0).all()
