"""Rows that put a promise to the test: they reach what promised inputs can reach, and no further."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from oracle.chain.toolchain import toolchain
from oracle.circuits import trial
from oracle.circuits.probes import driven, inside
from oracle.circuits.trial import Graph
from oracle.prover.child import Limits
from oracle.prover.sandbox import Sandbox
from oracle.types import TagLayout

LENGTH = 12
WEIGHTS = np.random.default_rng(5).normal(size=(LENGTH, 3)).astype(np.float32)


def graph(folder: Path) -> Graph:
    """Three sums of twelve numbers, then tanh."""
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("MatMul", ["input", "weights"], ["sums"]),
                helper.make_node("Tanh", ["sums"], ["output"]),
            ],
            "sums",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, LENGTH])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3])],
            initializer=[numpy_helper.from_array(WEIGHTS, "weights")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    path = folder / "model.onnx"
    onnx.save(model, path)
    return Graph(path, TagLayout(), Sandbox(Limits(60, 4 << 30, 1), toolchain().ezkl_home))


def test_driven__linear_layer__the_corner_of_each_extreme_sum(tmp_path: Path) -> None:
    low, high = np.full(LENGTH, -1.0), np.full(LENGTH, 3.0)
    sums = driven(graph(tmp_path), "input", low, high) @ WEIGHTS
    corners = (np.where(WEIGHTS > 0, 3.0, -1.0), np.where(WEIGHTS > 0, -1.0, 3.0))
    greatest = max(float(corners[0][:, i] @ WEIGHTS[:, i]) for i in range(3))
    least = min(float(corners[1][:, i] @ WEIGHTS[:, i]) for i in range(3))
    assert sums.max() == pytest.approx(greatest)
    assert sums.min() == pytest.approx(least)


def test_driven__twice__the_same(tmp_path: Path) -> None:
    ends = np.full(LENGTH, -1.0), np.full(LENGTH, 1.0)
    one, other = (driven(graph(tmp_path), "input", *ends) for _ in range(2))
    assert np.array_equal(one, other)


def test_inside__any_seed__within_the_ranges_and_whole_where_it_has_to_be() -> None:
    low, high = np.array([-3.0, 0.0, 2.5]), np.array([1.0, 9.0, 2.5])
    samples = np.array([[-2.0, 3.0, 2.5], [0.5, 8.0, 2.5]])
    whole = np.array([False, True, False])
    for seed in range(20):
        rows = inside(low, high, samples, whole, seed=seed)
        assert np.all((rows >= low) & (rows <= high))
        assert np.array_equal(rows[:, 1], np.rint(rows[:, 1]))
        assert not np.array_equal(rows, inside(low, high, samples, whole, seed=seed + 1))
        # Corners, the middle, and zero where it is promised.
        assert {-3.0, 1.0, -1.0, 0.0} <= set(rows[:, 0])


def test_reference__inner_tensor__its_floats(tmp_path: Path) -> None:
    made = graph(tmp_path)
    rows = np.random.default_rng(0).normal(size=(3, LENGTH))
    sums = trial.reference(made.path, "input", "sums", rows, made.sandbox)
    assert sums == pytest.approx(rows @ WEIGHTS, abs=1e-4)
