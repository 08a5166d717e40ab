"""An attack finds what a circuit does otherwise than its file, and says it with the input."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from oracle.circuits import guarantee, trial, tuner
from oracle.circuits.attack import attack
from oracle.circuits.cost import Objective
from oracle.circuits.judge import Goal, Judge, Tuned
from oracle.circuits.promise import Kind
from tests.circuits.judged import judged
from tests.sampling import seed

GOAL = Goal(0.05, Objective.GAS, speed=1.0, memory_bytes=4 << 30, seconds=600)
SAMPLES = np.random.default_rng(3).uniform(-1, 1, (24, 3))


def model(bend: float = 0.0) -> onnx.ModelProto:
    """A product of weights, and beyond what samples have, if asked for, a bend."""
    weights = np.random.default_rng(6).normal(0, 0.5, (3, 2)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["sum"]),
        helper.make_node("Sub", ["x", "edge"], ["past"]),
        helper.make_node("Relu", ["past"], ["beyond"]),
        helper.make_node("MatMul", ["beyond", "steep"], ["more"]),
        helper.make_node("Add", ["sum", "more"], ["y"]),
    ]
    constants = {
        "w": weights,
        "edge": np.full(3, 1.25, np.float32),
        "steep": np.full((3, 2), bend, np.float32),
    }
    graph = helper.make_graph(
        nodes if bend else [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, ["batch", 3])],
        [helper.make_tensor_value_info("y", 1, ["batch", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tuned, Judge]:
    subject, judge = judged(model(), tmp_path_factory.mktemp("plain"), SAMPLES, GOAL)
    return tuner.tune(subject, judge).finalists[0], judge


def arithmetic_of(tuned: Tuned) -> guarantee.Arithmetic | None:
    path = tuned.subject.graph_for(tuned.tag).path
    return guarantee.arithmetic_of(path, tuned.settings["run_args"])


def test_attack__the_circuit_of_the_file__withstands(found: tuple[Tuned, Judge]) -> None:
    tuned, judge = found
    arithmetic = arithmetic_of(tuned)
    many = attack(tuned, judge.reference, SAMPLES, GOAL, arithmetic)
    few = attack(tuned, judge.reference, SAMPLES, GOAL, None)
    for attacked in (many, few):
        assert len(attacked.broken) == 0
        assert attacked.finding == ""
        assert 0 < attacked.error <= GOAL.max_error
        assert attacked.near == 0
    # Our own arithmetic computes thousands, and its worst is the circuit's.
    assert many.rows > 2000 > few.rows
    certain = judge.guarantee(tuned.subject, tuned.settings["run_args"])
    assert certain is not None
    assert many.error <= certain.error


@pytest.mark.parametrize("with_arithmetic", [True, False])
def test_attack__a_file_that_bends_beyond_the_samples__found(
    found: tuple[Tuned, Judge], tmp_path: Path, *, with_arithmetic: bool
) -> None:
    tuned, _ = found
    _, other = judged(model(bend=3.0), tmp_path, SAMPLES, GOAL)
    arithmetic = arithmetic_of(tuned) if with_arithmetic else None
    attacked = attack(tuned, other.reference, SAMPLES, GOAL, arithmetic)
    assert len(attacked.broken)
    assert np.abs(attacked.broken).max() > 1.25
    assert "within the promised range, is off by" in attacked.finding
    # Not one of the samples shows it.
    samples = dataclasses.replace(tuned.subject.promise, kind=Kind.SAMPLES)
    alone = dataclasses.replace(tuned, subject=dataclasses.replace(tuned.subject, promise=samples))
    assert not len(attack(alone, other.reference, SAMPLES, GOAL, arithmetic).broken)


def test_attack__a_row_that_the_circuit_does_not_take__found(found: tuple[Tuned, Judge]) -> None:
    tuned, judge = found
    tight = dataclasses.replace(tuned.output, minimum=-1, maximum=1)
    attacked = attack(
        dataclasses.replace(tuned, output=tight), judge.reference, SAMPLES, GOAL, None
    )
    assert len(attacked.broken)
    assert "cannot be proved" in attacked.finding


def test_attack__arithmetic_that_is_not_the_circuits__not_believed(
    found: tuple[Tuned, Judge], tmp_path: Path
) -> None:
    tuned, judge = found
    subject, other = judged(model(bend=3.0), tmp_path, SAMPLES, GOAL)
    wrong = arithmetic_of(tuner.tune(subject, other).finalists[0])
    attacked = attack(tuned, judge.reference, SAMPLES, GOAL, wrong)
    # The circuit itself computed the rows.
    assert attacked.rows < 2000
    assert not len(attacked.broken)


@pytest.mark.parametrize("reveal", ["top1", "topk:2", "threshold:0.25"])
def test_attack__a_policy_that_hides_scores__their_error_found(reveal: str, tmp_path: Path) -> None:
    wide = dataclasses.replace(GOAL, max_error=0.4)
    subject, judge = judged(model(), tmp_path, SAMPLES, wide, reveal)
    tuned = tuner.tune(subject, judge).finalists[0]
    attacked = attack(tuned, judge.reference, SAMPLES, GOAL, arithmetic_of(tuned))
    # A coarse circuit: few of many rows at random show it, and none shows more.
    rows = np.random.default_rng(seed()).uniform(-1.25, 1.25, (400, 3))
    scale = tuned.input.scale
    found = trial.run(subject.graph_for(tuned.tag), tuned.settings, rows)
    scores = judge.reference.answers(np.ldexp(np.rint(np.ldexp(rows, scale)), -scale))
    errors = subject.reveal.error(scores, found.floats())
    assert attacked.error > GOAL.max_error
    assert attacked.error >= errors.max()
    assert len(attacked.broken)
    assert 0 < attacked.near < 1


def test_attack__rounding__is_of_every_sample_and_of_the_file_alone(
    found: tuple[Tuned, Judge],
) -> None:
    tuned, judge = found
    samples = np.random.default_rng(8).uniform(-1, 1, (700, 3))
    attacked = attack(tuned, judge.reference, samples, GOAL, None)
    scale = tuned.input.scale
    grid = np.ldexp(tuned.subject.promise.on_grid(samples, scale).astype(float), -scale)
    lost = np.abs(judge.reference.answers(samples) - judge.reference.answers(grid))
    assert attacked.rounding.rows == 700
    assert attacked.rounding.most == lost.max()
    assert attacked.rounding.moved == np.mean(lost.any(axis=1))


def test_attack__twice__the_same(found: tuple[Tuned, Judge]) -> None:
    tuned, judge = found
    one, other = (attack(tuned, judge.reference, SAMPLES, GOAL, None) for _ in range(2))
    assert (one.rows, one.error, one.rounding) == (other.rows, other.error, other.rounding)
