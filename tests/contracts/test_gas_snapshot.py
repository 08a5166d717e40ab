"""Gas against the committed snapshot and the promised bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from oracle.circuits.bundle import Bundle
from scripts.bench_gas import measure

SNAPSHOT = Path(__file__).with_name("gas_snapshot.json")
TOLERANCE = 0.02
BOUNDS = {
    "request_4": 75_000,
    "request_4_repeated": 75_000,
    "request_784": 160_000,
    "fulfil_overhead": 50_000,
    "batch32_fulfil_per_inference": 45_000,
    "batch32_all_in_per_inference": 110_000,
}


@pytest.fixture(scope="module")
def figures(iris_batch_bundle: Bundle) -> dict[str, Any]:
    return measure(iris_batch_bundle)


def test_gas__every_figure__is_within_two_percent_of_the_snapshot(figures: dict[str, Any]) -> None:
    """After a change that is meant: ``make bench-gas``, then copy build/bench/gas.json here."""
    snapshot = json.loads(SNAPSHOT.read_text())
    assert figures.keys() == snapshot.keys()
    for name, value in snapshot.items():
        if isinstance(value, str):
            assert figures[name] == value
        else:
            assert abs(figures[name] - value) <= TOLERANCE * value, name


@pytest.mark.parametrize("name", BOUNDS)
def test_gas__promised_bound__holds(figures: dict[str, Any], name: str) -> None:
    assert figures[name] <= BOUNDS[name]
