"""What an input element may say, by its type and by what looks it up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from oracle.circuits.row import Range, TensorInfo
from oracle.circuits.vocabulary import allowed, of_type
from oracle.errors import ModelUnsupported, TensorRange
from tests.circuits.lowered import FLOAT, INT64, graph_of, loaded

ANY = Range(-math.inf, math.inf)
TABLE = np.arange(30, dtype=np.float32).reshape(10, 3)


def inferred(nodes: Sequence[Any], kind: int = INT64, **constants: Any) -> onnx.ModelProto:
    """A model of four indices, ``ids``, whose last node's result is the output."""
    model = graph_of(list(nodes), [("ids", kind, [1, 4])], [("y", FLOAT, None)], **constants)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def of(model: onnx.ModelProto, dtype: str = "int64") -> tuple[Range, ...]:
    return allowed(model, [TensorInfo("ids", (1, 4), dtype)])


def lookup(index: str, axis: int = 0) -> onnx.NodeProto:
    return helper.make_node("Gather", ["table", index], ["y"], axis=axis)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("bool", Range(0, 1)),
        ("uint8", Range(0, 255)),
        ("int8", Range(-128, 127)),
        ("uint16", Range(0, 65535)),
        ("int32", Range(-(2**31), 2**31 - 1)),
        ("int64", ANY),
        ("uint64", Range(0, math.inf)),
        ("float32", ANY),
        ("float16", ANY),
    ],
)
def test_type__limits_to_the_numbers_that_it_has(dtype: str, expected: Range) -> None:
    assert of_type(dtype) == expected


@pytest.mark.parametrize(
    ("axis", "last"), [(0, 9), (1, 2), (-1, 2)], ids=["rows", "columns", "columns from the end"]
)
def test_lookup__by_the_input_itself__limits_to_what_is_there(axis: int, last: int) -> None:
    model = inferred([lookup("ids", axis)], table=TABLE)
    assert of(model) == (Range(0, last),) * 4
    assert of(model, "int8") == (Range(0, last),) * 4


MOVES = {
    "cast": [helper.make_node("Cast", ["ids"], ["i"], to=TensorProto.INT32)],
    "dimensions": [
        helper.make_node("Unsqueeze", ["ids", "axis"], ["u"]),
        helper.make_node("Reshape", ["u", "flat"], ["r"]),
        helper.make_node("Identity", ["r"], ["i"]),
    ],
    "transposed": [helper.make_node("Transpose", ["ids"], ["i"])],
}


@pytest.mark.parametrize("name", MOVES)
def test_lookup__by_what_was_moved__limits_all_the_same(name: str) -> None:
    model = inferred(
        [*MOVES[name], lookup("i")], table=TABLE, axis=np.array([2]), flat=np.array([-1])
    )
    assert of(model) == (Range(0, 9),) * 4


PARTS = {
    "gathered": helper.make_node("Gather", ["ids", "which"], ["i"], axis=1),
    "sliced": helper.make_node("Slice", ["ids", "start", "end", "axes"], ["i"]),
}


@pytest.mark.parametrize("name", PARTS)
def test_lookup__by_some_elements__leaves_the_others_alone(name: str) -> None:
    model = inferred(
        [PARTS[name], lookup("i")],
        table=TABLE,
        which=np.array([1, 3]),
        start=np.array([1]),
        end=np.array([4]),
        axes=np.array([1]),
    )
    between = ANY if name == "gathered" else Range(0, 9)
    assert of(model) == (ANY, Range(0, 9), between, Range(0, 9))


def test_lookup__in_two_tables__limits_to_the_smaller() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["a"]),
        helper.make_node("Gather", ["short", "ids"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    assert of(inferred(nodes, table=TABLE, short=TABLE[:6])) == (Range(0, 5),) * 4


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Add", ["ids", "one"], ["i"]),
        helper.make_node("Abs", ["ids"], ["i"]),
    ],
    ids=["sum", "size"],
)
def test_lookup__by_what_was_computed__limits_nothing(node: onnx.NodeProto) -> None:
    assert of(inferred([node, lookup("i")], table=TABLE, one=np.array([1]))) == (ANY,) * 4


def test_lookup__by_whether_it_is_zero__does_not_limit_the_number() -> None:
    nodes = [
        helper.make_node("Cast", ["ids"], ["bit"], to=TensorProto.BOOL),
        helper.make_node("Cast", ["bit"], ["i"], to=INT64),
        lookup("i"),
    ]
    assert of(inferred(nodes, table=TABLE[:2])) == (ANY,) * 4


def test_lookup__along_each_line__limits_to_the_line() -> None:
    node = helper.make_node("GatherElements", ["row", "ids"], ["y"], axis=1)
    assert of(inferred([node], row=TABLE[:1])) == (Range(0, 2),) * 4


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Transpose", ["ids"], ["i"], perm=[0, 7]),
        helper.make_node("Gather", ["ids", "far"], ["i"], axis=1),
    ],
    ids=["order", "position"],
)
def test_walk__attributes_that_do_not_fit__refused_by_name(node: onnx.NodeProto) -> None:
    model = graph_of(
        [node, lookup("i")],
        [("ids", INT64, [1, 4])],
        [("y", FLOAT, None)],
        table=TABLE,
        far=np.array([99]),
    )
    with pytest.raises(ModelUnsupported, match="do not fit together"):
        of(model)


TOKENS = graph_of(
    [helper.make_node("Gather", ["table", "ids"], ["y"])],
    [("ids", INT64, ["n", 4])],
    [("y", FLOAT, ["n", 4, 3])],
    table=TABLE,
)


@pytest.mark.parametrize(
    ("number", "words"),
    [(10, "from 0 to 9"), (-1, "from 0 to 9"), (2.5, "takes whole numbers")],
    ids=["beyond", "from the end", "half"],
)
def test_samples__that_the_model_cannot_be_asked__are_named(
    tmp_path: Path, number: float, words: str
) -> None:
    rows = np.array([[0, 1, 2, 3], [4, 5, number, 7]], dtype=np.float64)
    with pytest.raises(TensorRange, match=rf"sample 1 says {number:g} for 'ids'.* {words}"):
        loaded(TOKENS, tmp_path, rows)


def test_model__says_what_each_element_may_be(tmp_path: Path) -> None:
    assert loaded(TOKENS, tmp_path, np.zeros((1, 4))).allowed == (Range(0, 9),) * 4
