"""Probes reach what promised inputs can reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from oracle.chain.toolchain import toolchain
from oracle.circuits import trial
from oracle.circuits.probes import probes
from oracle.circuits.ranges import promised
from oracle.circuits.row import Range, TensorInfo
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


def test_promised__samples__their_range_and_a_quarter_more() -> None:
    assert promised(np.array([[0.0, 4.0], [1.0, 2.0]])) == Range(-1.0, 5.0)


def of_type(*dtypes: str) -> list[TensorInfo]:
    return [TensorInfo(f"input{i}", (1, 1), dtype) for i, dtype in enumerate(dtypes)]


def test_promised__whole_numbers__no_more_than_the_samples_have() -> None:
    ids = np.array([[0.0, 9.0], [3.0, 4.0]])
    for dtypes in (("int64", "int64"), ("uint8", "int32"), ("int64", "bool")):
        assert promised(ids, of_type(*dtypes)) == Range(0.0, 9.0)
    assert promised(ids, of_type("int64", "float32")) == Range(-2.25, 11.25)


def test_promised__bits__both_of_them_whatever_the_samples_have() -> None:
    assert promised(np.zeros((2, 2)), of_type("bool", "bool")) == Range(0.0, 1.0)


def test_probes__linear_layer__furthest_corner_of_each_extreme_sum(tmp_path: Path) -> None:
    within = Range(-1.0, 3.0)
    rows = probes(graph(tmp_path), "input", within, LENGTH)
    assert rows.shape[1] == LENGTH
    sums = rows @ WEIGHTS
    corners = (
        np.where(WEIGHTS > 0, within.high, within.low),
        np.where(WEIGHTS > 0, within.low, within.high),
    )
    greatest = max(float(corners[0][:, i] @ WEIGHTS[:, i]) for i in range(3))
    least = min(float(corners[1][:, i] @ WEIGHTS[:, i]) for i in range(3))
    assert sums.max() >= greatest
    assert sums.min() <= least


def test_probes__twice__the_same(tmp_path: Path) -> None:
    one, other = (probes(graph(tmp_path), "input", Range(-1, 1), LENGTH) for _ in range(2))
    assert np.array_equal(one, other)


def test_reference__inner_tensor__its_floats(tmp_path: Path) -> None:
    made = graph(tmp_path)
    rows = np.random.default_rng(0).normal(size=(3, LENGTH))
    sums = trial.reference(made.path, "input", "sums", rows, made.sandbox)
    assert sums == pytest.approx(rows @ WEIGHTS, abs=1e-4)
