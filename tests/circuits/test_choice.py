"""Which of the circuits that were built is kept."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from oracle.circuits import build
from oracle.circuits.cost import Objective


def made(gas: int, seconds: float) -> SimpleNamespace:
    return SimpleNamespace(measures=SimpleNamespace(verify_gas=gas), processor_seconds=seconds)


@pytest.mark.parametrize(
    ("objective", "measured", "best"),
    [
        (Objective.GAS, [made(400, 1), made(390, 2)], 1),
        (Objective.LATENCY, [made(400, 1.0), made(400, 0.5)], 1),
        (Objective.BALANCED, [made(400, 4.0), made(500, 2.0), made(450, 2.8)], 1),
    ],
    ids=["gas", "latency", "balanced"],
)
def test_best__clear_winner__kept_though_its_estimate_was_not_the_best(
    objective: Objective, measured: list[SimpleNamespace], best: int
) -> None:
    assert build._best(measured, objective) is measured[best]


@pytest.mark.parametrize(
    ("objective", "rival"),
    [(Objective.LATENCY, made(300, 0.9)), (Objective.GAS, made(100_000 - 100, 0.1))],
)
def test_best__rival_ahead_by_noise__the_better_estimate_stays(
    objective: Objective, rival: SimpleNamespace
) -> None:
    first = made(100_000, 1.0)
    assert build._best([first, rival], objective) is first
