"""Comparisons of an input with a constant decide on the grid as float32 does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from oracle.circuits.onnx import Model, load
from oracle.circuits.thresholds import jumps, snap
from tests.circuits.lowered import SANDBOX
from tests.circuits.makers import saved

WIDTH = 6
OPERATORS = ("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal")
Nodes = list[onnx.NodeProto]


def model_of(nodes: Nodes, **constants: np.ndarray) -> Model:
    """Bits of comparisons, as floats; inputs are ``x``, the comparison's result is ``bits``."""
    graph = helper.make_graph(
        [*nodes, helper.make_node("Cast", ["bits"], ["y"], to=TensorProto.FLOAT)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", WIDTH])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Model(proto.SerializeToString(), "x", "y", (1, WIDTH), takes_batches=True)


def run(model: Model, numbers: np.ndarray, scale: int) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.data)
    rows = np.ldexp(numbers.astype(np.float64), -scale).astype(np.float32)
    return np.asarray(session.run(None, {"x": rows})[0])


def in_fixed_point(model: Model, numbers: np.ndarray, scale: int) -> np.ndarray:
    """As a circuit does: constants rounded to the grid of the inputs, whole numbers compared."""
    proto = onnx.load_model_from_string(model.data)
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            rounded = np.ldexp(np.rint(np.ldexp(values.astype(np.float64), scale)), -scale)
            tensor.CopyFrom(numpy_helper.from_array(rounded.astype(np.float32), tensor.name))
    changed = Model(proto.SerializeToString(), "x", "y", (1, WIDTH), takes_batches=True)
    return run(changed, numbers, scale)


def scaled(random: np.random.Generator) -> tuple[Nodes, dict[str, np.ndarray]]:
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "factor"], ["scaled"]),
    ]
    factor = random.uniform(0.01, 3, WIDTH) * random.choice([-1, 1])
    mean = random.normal(0, 2, WIDTH)
    return nodes, {"mean": mean.astype(np.float32), "factor": factor.astype(np.float32)}


def picked(random: np.random.Generator) -> tuple[Nodes, dict[str, np.ndarray]]:
    order = random.permutation(WIDTH)
    return [helper.make_node("Gather", ["x", "order"], ["scaled"], axis=1)], {"order": order}


def chosen(random: np.random.Generator) -> tuple[Nodes, dict[str, np.ndarray]]:
    matrix = np.eye(WIDTH, dtype=np.float32)[random.permutation(WIDTH)]
    return [helper.make_node("MatMul", ["x", "matrix"], ["scaled"])], {"matrix": matrix}


def straight(_: np.random.Generator) -> tuple[Nodes, dict[str, np.ndarray]]:
    return [helper.make_node("Identity", ["x"], ["scaled"])], {}


WAYS: dict[str, Callable[[np.random.Generator], tuple[Nodes, dict[str, np.ndarray]]]] = {
    "straight": straight,
    "picked": picked,
    "chosen by a matrix": chosen,
    "scaled": scaled,
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("way", WAYS)
def test_snap__any_threshold_and_scale__as_float32_decides(way: str, operator: str) -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        nodes, constants = WAYS[way](random)
        thresholds = random.normal(0, 2, (1, WIDTH)).astype(np.float32)
        # Some lie on the grid, and one beyond it.
        thresholds[0, :2] = np.rint(thresholds[0, :2] * 4) / 4
        thresholds[0, 2] = 100
        arguments = ["scaled", "t"] if seed % 2 else ["t", "scaled"]
        compare = helper.make_node(operator, arguments, ["bits"])
        model = model_of([*nodes, compare], t=thresholds, **constants)
        scale = int(random.integers(1, 10))
        most = 5 << scale
        exact = snap(model, scale, ((-most, most),) * WIDTH)
        numbers = random.integers(-most, most, (400, WIDTH), endpoint=True)
        # Around the thresholds, where it matters.
        near = np.rint(np.ldexp(thresholds.astype(np.float64), scale)).clip(-most, most)
        numbers[:100] = (near + random.integers(-1, 2, (100, WIDTH))).clip(-most, most)
        expected = run(model, numbers, scale)
        assert np.array_equal(run(exact, numbers, scale), expected)
        if way == "scaled" and operator == "Equal":
            # Several numbers of the grid may give the same float: left as it is, and a jump.
            assert [jump.operator for jump in jumps(model, "y")] == ["Equal"]
            continue
        assert np.array_equal(in_fixed_point(exact, numbers, scale), expected), seed
        assert jumps(model, "y") == ()


def test_snap__without_it__rounding_decides_otherwise() -> None:
    """So that the test above can fail."""
    thresholds = np.full((1, WIDTH), 0.3, dtype=np.float32)
    model = model_of([helper.make_node("Less", ["x", "t"], ["bits"])], t=thresholds)
    numbers = np.ones((1, WIDTH), dtype=np.int64)
    assert run(model, numbers, 2)[0, 0] == 1.0
    assert in_fixed_point(model, numbers, 2)[0, 0] == 0.0


def test_snap__nothing_to_compare__the_same_model() -> None:
    model = model_of([helper.make_node("Identity", ["x"], ["bits"])])
    assert snap(model, 4, ((-9, 9),) * WIDTH) is model


def test_jumps__computed_numbers__named_with_their_operator(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Floor", ["square"], ["whole"]),
        helper.make_node("Floor", ["x"], ["exact"]),
        helper.make_node("Sub", ["whole", "exact"], ["apart"]),
        helper.make_node("Greater", ["square", "t"], ["bits"]),
    ]
    model = model_of(nodes, t=np.full((1, WIDTH), 0.3, dtype=np.float32))
    assert [jump.operator for jump in jumps(model, "y")] == ["Greater"]
    wanted = model_of([*nodes[:4], helper.make_node("Identity", ["apart"], ["bits"])])
    assert [(jump.operator, jump.arguments) for jump in jumps(wanted, "y")] == [
        ("Floor", ("square",))
    ]


def test_jumps__a_number_compared_with_itself__is_none() -> None:
    """As whether a number is none is written, which no fixed point is."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Less", ["square", "square"], ["bits"]),
    ]
    assert jumps(model_of(nodes), "y") == ()


def test_snap__a_tree_as_it_is_loaded__no_jump_is_left(tmp_path: Path) -> None:
    tree = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[1, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values=[0.3, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0],
        target_nodeids=[1, 2],
        target_ids=[0, 0],
        target_weights=[1.0, 5.0],
    )
    graph = helper.make_graph(
        [tree],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    model = load(saved(proto, tmp_path), SANDBOX)
    assert jumps(model, model.output_name) == ()
    exact = snap(model, 2, ((-8, 8),) * WIDTH)
    assert exact is not model
    rows = np.zeros((17, WIDTH), dtype=np.float32)
    rows[:, 1] = np.arange(-8, 9) / 4
    answers = [
        onnxruntime.InferenceSession(each.data).run(None, {model.input_name: row[np.newaxis]})[0]
        for each in (exact, model)
        for row in rows
    ]
    assert np.array_equal(answers[:17], answers[17:])
