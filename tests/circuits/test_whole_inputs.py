"""Integers and bits at the door: whole numbers in the circuit, whatever a request's bytes could say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from oracle.circuits import onnx as door
from oracle.circuits import trial
from oracle.circuits.fixed import planned
from oracle.circuits.folding import folded
from oracle.circuits.plan import Plan
from oracle.circuits.shapes import Shape
from oracle.types import TagLayout
from tests.circuits.lowered import (
    BOOL,
    FLOAT,
    INT64,
    SANDBOX,
    Floats,
    answers,
    assert_same,
    circuit_error,
    graph_of,
    rewritten,
)

RNG = np.random.default_rng(12)
WEIGHTS = RNG.normal(0, 0.5, (4, 3)).astype(np.float32)
SLOW = settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SEEN = RNG.integers(-4, 8, (6, 4)).astype(np.float64)
UNSEEN = np.array([[-4.0, 7, 0, 1], [3, -1, -2, 5], [0, 0, 0, 0], [7, 7, 7, 7]])


def floats_of(*nodes: Any, kind: int = INT64, width: int = 4, **constants: Any) -> onnx.ModelProto:
    """Four inputs of a type, cast to floats ``f``, and nodes that end in ``y``."""
    cast = helper.make_node("Cast", ["x"], ["f"], to=FLOAT)
    shapes = ([("x", kind, ["n", 4])], [("y", FLOAT, ["n", width])])
    return graph_of([cast, *nodes], *shapes, **constants)


def kind_of(model: door.Model) -> int:
    (row,) = onnx.load_model_from_string(model.data).graph.input
    return int(row.type.tensor_type.elem_type)


CURVES = {
    "softmax": [helper.make_node("Softmax", ["f"], ["y"], axis=1)],
    "sigmoid of a sum": [
        helper.make_node("ReduceSum", ["f", "axis"], ["s"], keepdims=1),
        helper.make_node("Mul", ["s", "quarter"], ["t"]),
        helper.make_node("Sub", ["f", "t"], ["u"]),
        helper.make_node("Sigmoid", ["u"], ["y"]),
    ],
    "half": [helper.make_node("Mul", ["f", "half"], ["y"])],
    "quotient": [helper.make_node("Div", ["f", "three"], ["y"])],
    "exponential": [
        helper.make_node("Mul", ["f", "half"], ["h"]),
        helper.make_node("Tanh", ["h"], ["y"]),
    ],
    "product": [helper.make_node("Mul", ["f", "f"], ["m"]), helper.make_node("Neg", ["m"], ["y"])],
}
NUMBERS: dict[str, Any] = {
    "axis": np.array([1]),
    "quarter": np.float32(0.25),
    "half": np.float32(0.5),
    "three": np.float32(3),
}


@pytest.mark.parametrize("name", CURVES)
def test_curve__of_whole_numbers__has_fractions_all_the_same(tmp_path: Path, name: str) -> None:
    used = {each for node in CURVES[name] for each in node.input}
    constants = {key: value for key, value in NUMBERS.items() if key in used}
    model = assert_same(floats_of(*CURVES[name], **constants), tmp_path, SEEN)
    assert kind_of(model) == INT64
    assert circuit_error(model, UNSEEN, tmp_path) < 0.01


def test_weights__of_whole_numbers__no_product_more(tmp_path: Path) -> None:
    """A matrix has fractions enough."""
    node = helper.make_node("MatMul", ["f", "w"], ["y"])
    model = assert_same(floats_of(node, width=3, w=WEIGHTS), tmp_path, SEEN)
    graph = onnx.load_model_from_string(model.data).graph
    assert [each.op_type for each in graph.node] == ["Cast", "MatMul"]
    assert circuit_error(model, UNSEEN, tmp_path) < 0.02


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        (TensorProto.UINT8, np.array([[0, 255, 1, 128], [7, 8, 9, 254]])),
        (TensorProto.INT8, np.array([[-128, 127, -1, 0], [5, -6, 7, 1]])),
        (TensorProto.INT32, np.array([[-1000, 1000, 0, 1], [5, -6, 7, 3]])),
        (BOOL, np.array([[0, 1, 1, 0], [1, 1, 0, 0]])),
    ],
    ids=["uint8", "int8", "int32", "bool"],
)
def test_type__of_all_inputs__its_own_numbers_up_to_the_ends(
    tmp_path: Path, kind: int, rows: Any
) -> None:
    node = helper.make_node("MatMul", ["f", "w"], ["y"])
    # What the circuit's grid holds.
    weights = np.rint(WEIGHTS * 8) / np.float32(8)
    model = assert_same(floats_of(node, kind=kind, width=3, w=weights), tmp_path, rows[:1] * 1.0)
    assert kind_of(model) == (BOOL if kind == BOOL else INT64)
    assert circuit_error(model, rows * 1.0, tmp_path) == 0


def test_bits__decide_and_are_decided_upon(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Not", ["a"], ["not_a"]),
        helper.make_node("Or", ["not_a", "b"], ["either"]),
        helper.make_node("Where", ["either", "high", "low"], ["y"]),
    ]
    model = graph_of(
        nodes,
        [("a", BOOL, ["n", 2]), ("b", BOOL, ["n", 2])],
        [("y", FLOAT, ["n", 2])],
        high=np.array([[0.75, 2]], dtype=np.float32),
        low=np.array([[-1, -0.5]], dtype=np.float32),
    )
    rows = np.array([[a, b, c, d] for a in (0, 1) for b in (0, 1) for c in (0, 1) for d in (0, 1)])
    same = assert_same(model, tmp_path, rows[:3] * 1.0)
    assert kind_of(same) == BOOL
    assert circuit_error(same, rows * 1.0, tmp_path) < 0.01


def test_bits_and_integers__in_one_row__whole_numbers(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["n"], ["f"], to=FLOAT),
        helper.make_node("Where", ["b", "f", "zero"], ["y"]),
    ]
    model = graph_of(
        nodes,
        [("n", TensorProto.INT32, ["k", 2]), ("b", BOOL, ["k", 2])],
        [("y", FLOAT, ["k", 2])],
        zero=np.float32(0),
    )
    rows = np.array([[-3.0, 9, 0, 1], [4, 5, 1, 1], [0, -1, 1, 0]])
    same = assert_same(model, tmp_path, rows[:1])
    assert kind_of(same) == INT64
    assert circuit_error(same, rows, tmp_path) == 0


def mixed() -> onnx.ModelProto:
    """A number, an integer and a bit in a row."""
    nodes = [
        helper.make_node("Cast", ["i"], ["f"], to=FLOAT),
        helper.make_node("Where", ["b", "f", "x"], ["chosen"]),
        helper.make_node("Add", ["chosen", "f"], ["y"]),
    ]
    inputs = [("x", FLOAT, ["n", 2]), ("i", INT64, ["n", 2]), ("b", BOOL, ["n", 2])]
    return graph_of(nodes, inputs, [("y", FLOAT, ["n", 2])])


TYPED = np.array([[0.5, -0.5, 2.0, -2.0, 0.0, 1.0]])
#: What no sample may say, and what lies one step of the test circuits' grid beside whole numbers.
BESIDE = np.array(
    [
        [0.5, -0.5, 2.0, -2.0, 0.0, 1.0],
        [0.25, 1, 2.5, -2.5, 0.5, -0.5],
        [0.25, 1, 0.9980469, -0.9980469, 0.0019531, -0.0019531],
        [-1, 3, -0.5, 0.5, -7, 0.25],
        [0, 0, -3.0, 3.9980469, 2, 0],
    ]
)


def test_beside_floats__any_number__is_what_the_files_own_type_makes_of_it(tmp_path: Path) -> None:
    model = assert_same(mixed(), tmp_path, TYPED)
    assert kind_of(model) == FLOAT
    np.testing.assert_array_equal(rewritten(model, BESIDE), answers(mixed(), BESIDE, ["y"]))
    assert circuit_error(model, BESIDE, tmp_path) < 0.005


@SLOW
@given(grid=st.lists(st.integers(-2048, 2048), min_size=6, max_size=6))
def test_beside_floats__any_number_on_the_grid__as_onnxruntime_casts(
    tmp_path: Path, grid: list[int]
) -> None:
    rows = np.array([grid]) / 512
    model = assert_same(mixed(), tmp_path, TYPED)
    np.testing.assert_array_equal(rewritten(model, rows), answers(mixed(), rows, ["y"]))
    assert circuit_error(model, rows, tmp_path) < 0.005


PLAN = Plan(
    scale=7, weight_scale=8, weight_scales=(), multiplier=1, rounded=(), looked_up=()
)  # fmt: skip
PLANNED = {
    "weights": [
        helper.make_node("Mul", ["f", "half"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["m"]),
        helper.make_node("Relu", ["m"], ["y"]),
    ],
    "curve": [
        helper.make_node("MatMul", ["f", "w"], ["m"]),
        helper.make_node("Sigmoid", ["m"], ["y"]),
    ],
    "curve of the input": [helper.make_node("Sigmoid", ["f"], ["y"])],
    "sums": [
        helper.make_node("ReduceSum", ["f", "axis"], ["s"], keepdims=1),
        helper.make_node("Sub", ["f", "s"], ["y"]),
    ],
}


def of_plan(model: door.Model, rows: Floats, folder: Path) -> Floats:
    """What the circuit of a plan makes of rows."""
    path = (folder / "planned.onnx").resolve()
    path.write_bytes(door.add_tag(planned(model, PLAN), TagLayout()))
    graph = trial.Graph(path, TagLayout(), SANDBOX, PLAN.asked)
    asked = Shape(16, 1, PLAN.multiplier, 3, 1 << 14).run_args(PLAN.scale)
    return trial.sketch(graph, asked, rows).floats()


@pytest.mark.parametrize("name", PLANNED)
def test_plan__of_whole_numbers__as_near_as_its_scales(tmp_path: Path, name: str) -> None:
    used = {each for node in PLANNED[name] for each in node.input}
    known = NUMBERS | {"w": WEIGHTS}
    constants = {key: value for key, value in known.items() if key in used}
    width = 3 if "w" in used else 4
    model = assert_same(floats_of(*PLANNED[name], width=width, **constants), tmp_path, SEEN)
    found = of_plan(model, UNSEEN, tmp_path)
    np.testing.assert_allclose(found, rewritten(model, UNSEEN), atol=0.03)


def test_fold__scaler_of_integers__runs(tmp_path: Path) -> None:
    """A matrix product takes no integers, so the cast before a scaler stays."""
    nodes = [
        helper.make_node("Mul", ["f", "half"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    model = floats_of(*nodes, width=3, w=WEIGHTS, half=np.float32(0.5))
    same = assert_same(model, tmp_path, SEEN)
    session = onnxruntime.InferenceSession(folded(same.data))
    rows = UNSEEN[:1].astype(np.int64)
    (found,) = session.run(None, {same.input_name: rows})
    np.testing.assert_allclose(found, answers(model, UNSEEN[:1], ["y"]), atol=1e-5)


def test_batch__of_whole_numbers__each_row_as_alone(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "a"], ["rows"]),
        helper.make_node("Flatten", ["rows"], ["flat"]),
        helper.make_node("Cast", ["b"], ["f"], to=FLOAT),
        helper.make_node("Add", ["flat", "f"], ["y"]),
    ]
    model = graph_of(
        nodes,
        [("a", INT64, ["n", 1]), ("b", TensorProto.INT32, ["n", 3])],
        [("y", FLOAT, ["n", 3])],
        table=WEIGHTS,
    )
    rows = np.array([[3.0, 1, 2, 3], [0, -1, 0, 7]])
    same = assert_same(model, tmp_path, rows)
    session = onnxruntime.InferenceSession(door.add_tag(same, TagLayout(), 2))
    feeds = {same.input_name: rows.astype(np.int64), "tag": np.zeros((1, 5), np.float32)}
    np.testing.assert_allclose(session.run(None, feeds)[0], rewritten(same, rows), atol=1e-6)
