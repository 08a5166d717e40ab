"""Lookups at places that the model computes: onnxruntime's answers, in the circuit too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from oracle.circuits import onnx as door
from oracle.errors import ModelUnsupported
from oracle.types import TagLayout
from tests.circuits.lowered import (
    FLOAT,
    INT64,
    Floats,
    answers,
    assert_same,
    circuit_error,
    graph_of,
    loaded,
    rewritten,
)

RNG = np.random.default_rng(11)
TABLE = RNG.integers(-64, 64, (6, 3)).astype(np.float32) / 16
#: Indices from -3 to 2, once they are made whole.
SEEN = RNG.integers(-3, 3, (6, 3)).astype(np.float64)
UNSEEN = np.array([[-3.0, 2, 0], [1, -1, -2], [2.75, -2.25, 0.5]])


def checked(model: onnx.ModelProto, folder: Path, seen: Floats, unseen: Floats) -> door.Model:
    """The model, which says what the original says on rows that were not there when it was loaded."""
    same = assert_same(model, folder, seen)
    names = [tensor.name for tensor in same.outputs]
    np.testing.assert_allclose(rewritten(same, unseen), answers(model, unseen, names), atol=1e-5)
    assert circuit_error(same, unseen, folder) < 0.01
    return same


def computed(*nodes: Any, outputs: list[Any], kind: int = FLOAT, **constants: Any) -> Any:
    """A model whose nodes look up at ``i``, the input's numbers without their fractions."""
    whole = helper.make_node("Cast", ["x"], ["i"], to=INT64)
    return graph_of([whole, *nodes], [("x", FLOAT, ["n", 3])], [("y", kind, outputs)], **constants)


@pytest.mark.parametrize(
    ("table", "axis", "shape"),
    [
        (TABLE, 0, ["n", 3, 3]),
        (TABLE[:, 0], 0, ["n", 3]),
        (TABLE.reshape(6, 1, 3), 0, ["n", 3, 1, 3]),
        (TABLE.T[:, :4], 1, [3, "n", 3]),
        (TABLE[:, :3].astype(np.int64), 0, ["n", 3, 3]),
        (TABLE[:, 0] > 0, 0, ["n", 3]),
    ],
    ids=["rows", "numbers", "matrices", "columns", "integers", "bits"],
)
def test_gather__from_a_table__at_indices_of_either_sign(
    tmp_path: Path, table: Any, axis: int, shape: list[Any]
) -> None:
    # Not the input itself, which is promised to be an index counted from the start.
    nodes = [
        helper.make_node("Neg", ["i"], ["j"]),
        helper.make_node("Gather", ["table", "j"], ["found"], axis=axis),
        helper.make_node("Cast", ["found"], ["y"], to=FLOAT),
    ]
    checked(computed(*nodes, outputs=shape, table=table), tmp_path, SEEN, UNSEEN)


@pytest.mark.parametrize("axis", [0, 1])
def test_gather_elements__of_the_input__at_computed_places(tmp_path: Path, axis: int) -> None:
    nodes = [
        helper.make_node("Neg", ["i"], ["j"]),
        helper.make_node(*(("Mul", ["j", "zero"]) if axis == 0 else ("Sub", ["j", "one"])), ["k"]),
        helper.make_node("GatherElements", ["x", "k"], ["y"], axis=axis),
    ]
    model = computed(*nodes, outputs=["n", 3], zero=np.array(0), one=np.array(1))
    checked(model, tmp_path, SEEN, UNSEEN)


def test_gather_elements__of_a_table__along_its_columns(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Neg", ["i"], ["j"]),
        helper.make_node("GatherElements", ["table", "j"], ["y"], axis=0),
    ]
    checked(computed(*nodes, outputs=[None, 3], table=TABLE), tmp_path, SEEN, UNSEEN)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("values", [[0, 1], [2, -3]], ids=["bits", "other numbers"])
def test_one_hot__at_computed_places(tmp_path: Path, axis: int, values: list[int]) -> None:
    nodes = [
        helper.make_node("Neg", ["i"], ["j"]),
        helper.make_node("OneHot", ["j", "depth", "values"], ["hot"], axis=axis),
        helper.make_node("Cast", ["hot"], ["y"], to=FLOAT),
    ]
    model = computed(*nodes, outputs=["n", None, None], depth=np.array(5), values=np.array(values))
    checked(model, tmp_path, SEEN, UNSEEN)


def test_embedding__by_the_input__pays_for_no_sign(tmp_path: Path) -> None:
    """The promise ends at zero, so there is nothing to bring up."""
    model = graph_of(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        [("ids", INT64, ["n", 3])],
        [("y", FLOAT, ["n", 3, 3])],
        table=TABLE,
    )
    same = checked(model, tmp_path, np.array([[0.0, 5, 1]]), np.array([[5.0, 4, 0], [3, 2, 1]]))
    operators = [node.op_type for node in onnx.load_model_from_string(same.data).graph.node]
    assert "Less" not in operators


@pytest.mark.parametrize("name", ["gathered", "selected"])
def test_tree__walked_by_indices__as_compilers_of_trees_write_it(tmp_path: Path, name: str) -> None:
    """Two perfect trees of depth two: the next node is twice this one and which way it goes."""
    depth_one, depth_two = np.array([0, 2, 1, 0]), np.array([1.0, -0.5, 0.25, 0.75])
    leaves = RNG.integers(-32, 32, (8, 2)).astype(np.float32) / 8
    feature = {
        "gathered": [helper.make_node("GatherElements", ["x", "where"], ["value"], axis=1)],
        "selected": [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "last"], ["depth"]),
            helper.make_node("OneHot", ["where", "depth", "bits"], ["hot"], axis=1),
            helper.make_node("Cast", ["hot"], ["mask"], to=FLOAT),
            helper.make_node("Unsqueeze", ["x", "two"], ["columns"]),
            helper.make_node("Mul", ["columns", "mask"], ["picked"]),
            helper.make_node("ReduceSum", ["picked", "one"], ["value"], keepdims=0),
        ],
    }[name]
    nodes = [
        helper.make_node("Gather", ["x", "roots"], ["first"], axis=1),
        helper.make_node("Less", ["first", "bounds"], ["left"]),
        helper.make_node("Cast", ["left"], ["step"], to=INT64),
        helper.make_node("Add", ["step", "offsets"], ["at"]),
        helper.make_node("Reshape", ["at", "flat"], ["node"]),
        helper.make_node("Gather", ["features", "node"], ["feature"]),
        helper.make_node("Reshape", ["feature", "trees"], ["where"]),
        *feature,
        helper.make_node("Reshape", ["value", "flat"], ["values"]),
        helper.make_node("Gather", ["thresholds", "node"], ["bound"]),
        helper.make_node("Less", ["values", "bound"], ["again"]),
        helper.make_node("Cast", ["again"], ["more"], to=INT64),
        helper.make_node("Mul", ["node", "double"], ["twice"]),
        helper.make_node("Add", ["twice", "more"], ["leaf"]),
        helper.make_node("Gather", ["leaves", "leaf"], ["votes"]),
        helper.make_node("Reshape", ["votes", "by_tree"], ["every"]),
        helper.make_node("ReduceSum", ["every", "one"], ["y"], keepdims=0),
    ]
    model = graph_of(
        nodes,
        [("x", FLOAT, ["n", 3])],
        [("y", FLOAT, ["n", 2])],
        roots=np.array([1, 0]),
        bounds=np.array([[0.0, 0.5]], dtype=np.float32),
        offsets=np.array([[0, 2]]),
        flat=np.array([-1]),
        trees=np.array([-1, 2]),
        features=depth_one,
        thresholds=depth_two.astype(np.float32),
        double=np.array(2),
        leaves=leaves,
        by_tree=np.array([-1, 2, 2]),
        last=np.array(1),
        bits=np.array([0, 1]),
        two=np.array([2]),
        one=np.array([1]),
    )
    same = checked(model, tmp_path, RNG.normal(0, 1, (8, 3)).round(2), UNSEEN + 0.125)
    assert same.takes_batches
    session = onnxruntime.InferenceSession(door.add_tag(same, TagLayout(), 3))
    feeds = {same.input_name: UNSEEN.astype(np.float32), "tag": np.zeros((1, 5), np.float32)}
    np.testing.assert_allclose(session.run(None, feeds)[0], answers(model, UNSEEN, ["y"]))


def test_gather_elements__in_a_part_of_its_lines__refused_by_name(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["i", "some"], ["j"], axis=0),
        helper.make_node("Transpose", ["table"], ["t"]),
        helper.make_node("GatherElements", ["t", "j"], ["y"], "the_node", axis=1),
    ]
    model = computed(*nodes, outputs=[None, 3], table=TABLE, some=np.array([0]))
    with pytest.raises(ModelUnsupported, match=r"GatherElements \(node 'the_node'\) .*part of"):
        loaded(model, tmp_path, np.abs(SEEN))


def test_gather__table_that_no_circuit_holds__refused_with_its_size(tmp_path: Path) -> None:
    model = computed(
        helper.make_node("Gather", ["table", "i"], ["y"]),
        outputs=["n", 3],
        table=np.zeros(5000, dtype=np.float32),
    )
    with pytest.raises(ModelUnsupported, match="one of 5000 positions, the limit is 4096"):
        loaded(model, tmp_path, np.abs(SEEN))


def test_power__exponents_of_each_feature__in_their_order(tmp_path: Path) -> None:
    model = graph_of(
        [helper.make_node("Pow", ["x", "e"], ["y"])],
        [("x", FLOAT, ["n", 4])],
        [("y", FLOAT, ["n", 4])],
        e=np.array([2, 0.75, 1, 2], dtype=np.float32),
    )
    rows = np.array([[0.5, 1.25, -2, 1.5], [1, 2, 0.5, -1.25], [-0.75, 0.5, 1, 0]])
    checked(model, tmp_path, rows[:1], rows)
