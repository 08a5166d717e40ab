"""Estimates follow a circuit's structure and height, and every objective ranks by its own cost."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from oracle.circuits import cost
from oracle.circuits.cost import Objective, Structure
from oracle.errors import UsageError

PLAIN = Structure(
    columns=1,
    tables=2,
    spread=0,
    shuffles=False,
    dynamic=False,
    freivalds=False,
    instances=12,
)
SETTINGS = {
    "run_args": {"logrows": 9, "num_inner_cols": 1, "lookup_range": [-300, 300]},
    "required_lookups": [{"Sigmoid": {"scale": 64.0}}],
    "required_range_checks": [[-1, 1], [0, 503]],
    "num_shuffles": 0,
    "num_dynamic_lookups": 0,
    "einsum_params": {"total_einsum_col_size": 0},
    "model_instance_shapes": [[1, 4], [1, 5], [1, 3]],
}


def test_estimate__plain_circuit__near_what_ezkl_makes() -> None:
    # Measured: ReLU and linear models in one column.
    estimate = cost.estimate(PLAIN, 11)
    assert estimate.proof_bytes == pytest.approx(1952, rel=0.05)
    assert estimate.gas == pytest.approx(344_200, rel=0.03)
    assert estimate.key_bytes == pytest.approx(5_902_000, rel=0.1)


@pytest.mark.parametrize(
    "change",
    [
        {"columns": 2},
        {"tables": 3},
        {"spread": 1},
        {"shuffles": True},
        {"dynamic": True},
        {"freivalds": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_estimate__more_polynomials__dearer_in_every_respect(change: dict[str, int]) -> None:
    less = dataclasses.asdict(cost.estimate(PLAIN, 12))
    more = dataclasses.asdict(cost.estimate(dataclasses.replace(PLAIN, **change), 12))
    assert all(more[name] > less[name] for name in less)


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 6, 8])
def test_estimate__twice_the_height__at_most_twice_the_key_and_the_same_gas(columns: int) -> None:
    circuit = dataclasses.replace(PLAIN, columns=columns)
    for low, high in itertools.pairwise(cost.estimate(circuit, k) for k in range(8, 18)):
        assert high.key_bytes == pytest.approx(2 * low.key_bytes, rel=1e-6)
        assert low.prove_seconds < high.prove_seconds < 2 * low.prove_seconds
        assert high.gas == low.gas


def test_estimate__slower_machine__seconds_alone_differ() -> None:
    here, there = cost.estimate(PLAIN, 10), cost.estimate(PLAIN, 10, speed=3)
    assert there.prove_seconds == pytest.approx(3 * here.prove_seconds)
    assert dataclasses.replace(there, prove_seconds=here.prove_seconds) == here


def test_structure__of_settings__counts_tables_and_what_does_not_fit_one_column() -> None:
    found = cost.structure(SETTINGS)
    # 601 values to look up in columns of 504.
    assert found == dataclasses.replace(PLAIN, tables=3, spread=1)
    higher = SETTINGS | {"run_args": SETTINGS["run_args"] | {"logrows": 10}}
    assert cost.structure(higher).spread == 0


@pytest.mark.parametrize(
    ("objective", "best"),
    [(Objective.GAS, "frugal"), (Objective.LATENCY, "quick"), (Objective.BALANCED, "both")],
)
def test_rank__each_objective__its_own_best(objective: Objective, best: str) -> None:
    circuits = {"frugal": (300, 3.0), "quick": (600, 1.35), "both": (400, 1.8)}
    assert min(circuits, key=lambda name: objective.rank(*circuits[name])) == best


def test_parse__unknown_objective__usage_error() -> None:
    assert Objective.parse("latency") is Objective.LATENCY
    with pytest.raises(UsageError, match="'fast' is no objective") as caught:
        Objective.parse("fast")
    assert "gas, latency, balanced" in caught.value.line()
