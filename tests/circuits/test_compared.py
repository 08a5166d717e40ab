"""Where a policy hides the scores, the rows that bring a coarse circuit to another answer are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from oracle.circuits.arithmetic import Arithmetic
from oracle.circuits.compared import Compared
from oracle.circuits.cost import Objective
from oracle.circuits.judge import Goal
from oracle.circuits.shapes import Shape
from tests.circuits.judged import judged
from tests.sampling import seed

SCALE = 5
LENGTH = 8
SAMPLES = np.random.default_rng(2).normal(0, 1, (32, LENGTH))
GOAL = Goal(0.05, Objective.GAS, speed=1.0, memory_bytes=4 << 30, seconds=600)


def model(scores: int) -> onnx.ModelProto:
    """Linear scores, of which the policy compares what comes before a softmax."""
    weights = np.random.default_rng(6).normal(0, 0.5, (LENGTH, scores)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, ["batch", LENGTH])],
        [helper.make_tensor_value_info("y", 1, ["batch", scores])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("policy", "scores"), [("top1", 3), ("topk:2", 4), ("threshold:0.25", 2), ("round:1", 2)]
)
def test_astray__a_coarse_circuit__worse_rows_than_thousands_at_random(
    policy: str, scores: int, tmp_path: Path
) -> None:
    subject, judge = judged(model(scores), tmp_path, SAMPLES, GOAL, policy)
    run_args = Shape(15, 1, 2, 3, 1 << 14).run_args(SCALE)
    arithmetic = Arithmetic.of(subject.graph.path.read_bytes(), run_args)
    compared = Compared.of(subject, judge.reference.scored, subject.graph, arithmetic)
    assert compared is not None
    bounds = np.array(subject.promise.integers(SCALE))

    def errors(rows: np.ndarray) -> np.ndarray:
        found = arithmetic.evaluate(rows)
        assert not found.overflow.any()
        revealed = np.ldexp(found.outputs.astype(np.float64), -arithmetic.output_scale)
        return subject.reveal.error(judge.reference.answers(np.ldexp(rows, -SCALE)), revealed)

    for turn in range(2):
        random = np.random.default_rng([seed(), turn])

        def moved(rows: np.ndarray, tries: int, random: np.random.Generator = random) -> np.ndarray:
            near = np.repeat(rows, tries, axis=0)
            changed = random.random(near.shape) < 0.25
            return np.where(changed, random.integers(*bounds.T, near.shape, endpoint=True), near)

        rows = random.integers(*bounds.T, (1500, LENGTH), endpoint=True)
        answers = judge.reference.answers(np.ldexp(rows, -SCALE))
        found = compared.astray(rows, answers, moved, random)
        assert ((found >= bounds[:, 0]) & (found <= bounds[:, 1])).all()
        assert errors(found).max() > errors(rows).max()


def test_of__no_policy__nothing_compared(tmp_path: Path) -> None:
    subject, judge = judged(model(2), tmp_path, SAMPLES, GOAL)
    arithmetic = Arithmetic.of(
        subject.graph.path.read_bytes(), Shape(15, 1, 2, 3, 1 << 14).run_args(SCALE)
    )
    assert Compared.of(subject, judge.reference.scored, subject.graph, arithmetic) is None
