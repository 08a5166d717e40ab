"""Core operators that are rewritten: the original's numbers, in the circuit too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from oracle.circuits import onnx as door
from oracle.circuits.srs import SrsSource
from oracle.errors import ModelMalformed, ModelUnsupported
from tests.circuits.lowered import (
    FLOAT,
    INT64,
    SANDBOX,
    Floats,
    assert_same,
    circuit_error,
    graph_of,
    loaded,
    one_node,
    proved,
    rewritten,
)
from tests.circuits.makers import saved

SLOW = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def rows_of(*shape: int, seed: int = 0, count: int = 3) -> Floats:
    width = int(np.prod(shape))
    return np.random.default_rng(seed).integers(-1024, 1024, size=(count, width)) / 512


def spatial(
    operator: str, shape: tuple[int, ...], weights: Any = None, **attributes: Any
) -> onnx.ModelProto:
    """One spatial operator over [batch, *shape]; a kernel if weights are given."""
    inputs = ["x"] if weights is None else ["x", "w"]
    node = helper.make_node(operator, inputs, ["y"], "the_node", **attributes)
    constants = {} if weights is None else {"w": np.asarray(weights, dtype=np.float32)}
    rank = len(shape) + 1
    return graph_of(
        [node],
        [("x", FLOAT, ["batch", *shape])],
        [("y", FLOAT, ["batch", *[None] * (rank - 1)])],
        **constants,
    )


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("Celu", {"alpha": 0.5}),
        ("HardSigmoid", {"alpha": 0.3}),
        ("LeakyRelu", {"alpha": 0.2}),
        ("LogSoftmax", {"axis": -1}),
        ("LpNormalization", {"p": 1}),
        ("LpNormalization", {"p": 2}),
        ("Mish", {}),
        ("ReduceProd", {"axes": [1]}),
    ],
    ids=str,
)
def test_activation__circuit_near_the_definition(
    tmp_path: Path, operator: str, attributes: dict[str, Any]
) -> None:
    rows = rows_of(4)
    model = one_node(operator, 4, opset=18 if operator == "Mish" else 17, **attributes)
    assert circuit_error(assert_same(model, tmp_path, rows), rows, tmp_path) < 0.02


@pytest.mark.parametrize("exponent", [-2.0, -0.5, 0.5, 1.0, 2.0, 3.0])
def test_pow__whole_half_and_negative_exponents(tmp_path: Path, exponent: float) -> None:
    node = helper.make_node("Pow", ["x", "exponent"], ["y"])
    model = graph_of(
        [node],
        [("x", FLOAT, ["n", 3])],
        [("y", FLOAT, ["n", 3])],
        exponent=np.array([exponent], dtype=np.float32),
    )
    rows = np.abs(rows_of(3)) + 0.75
    assert circuit_error(assert_same(model, tmp_path, rows), rows, tmp_path) < 0.03


@pytest.mark.parametrize("base", [[2.0], [0.3], [2.0, 0.5, 1.0]])
def test_pow__of_a_known_base__an_exponential(tmp_path: Path, base: list[float]) -> None:
    model = graph_of(
        [helper.make_node("Pow", ["base", "x"], ["y"])],
        [("x", FLOAT, ["n", 3])],
        [("y", FLOAT, ["n", 3])],
        base=np.array(base, dtype=np.float32),
    )
    rows = rows_of(3) / 2
    assert circuit_error(assert_same(model, tmp_path, rows), rows, tmp_path) < 0.03


@pytest.mark.parametrize("names", [["x"], ["x", "a"], ["x", "a", "x", "b"]])
def test_sum__of_any_number__in_the_files_order(tmp_path: Path, names: list[str]) -> None:
    others = {"a": np.array([0.5, -1.0, 0.25], dtype=np.float32), "b": np.float32(0.75)}
    model = graph_of(
        [helper.make_node("Sum", names, ["y"])],
        [("x", FLOAT, ["n", 3])],
        [("y", FLOAT, ["n", 3])],
        **{name: value for name, value in others.items() if name in names},
    )
    rows = rows_of(3)
    lowered = assert_same(model, tmp_path, rows)
    assert circuit_error(lowered, rows, tmp_path) < 0.01


@pytest.mark.parametrize("operator", ["Max", "Min", "Clip", "PRelu"])
def test_bounds__vectors_and_open_ends(tmp_path: Path, operator: str) -> None:
    others = {"a": np.array([0.5, -1.0, 0.25], dtype=np.float32), "b": np.float32(0.75)}
    names = {"Clip": ["x", "low", "b"], "PRelu": ["x", "a"]}.get(operator, ["x", "a", "b"])
    if operator == "Clip":
        others["low"] = np.float32(-3.4e38)
    model = graph_of(
        [helper.make_node(operator, names, ["y"])],
        [("x", FLOAT, ["n", 3])],
        [("y", FLOAT, ["n", 3])],
        **{name: value for name, value in others.items() if name in names},
    )
    rows = rows_of(3)
    assert circuit_error(assert_same(model, tmp_path, rows), rows, tmp_path) < 0.01


def test_equal__as_number_as_bit_and_as_selector(tmp_path: Path) -> None:
    model = graph_of(
        [
            helper.make_node("Equal", ["x", "a"], ["same"]),
            helper.make_node("Cast", ["same"], ["number"], to=TensorProto.FLOAT),
            helper.make_node("Not", ["same"], ["other"]),
            helper.make_node("Where", ["other", "x", "number"], ["y"]),
        ],
        [("x", FLOAT, ["n", 3])],
        [("y", FLOAT, ["n", 3]), ("number", FLOAT, ["n", 3])],
        a=np.array([0.5, 1.0, -0.25], dtype=np.float32),
    )
    rows = np.array([[0.5, 0.5, 0.5], [0.25, 1.0, -0.25]])
    assert circuit_error(assert_same(model, tmp_path, rows), rows, tmp_path) < 0.01


def test_gather__embedding_of_tokens__proof_says_what_the_float_model_says(
    tmp_path: Path, devnet_srs: SrsSource
) -> None:
    table = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    model = graph_of(
        [helper.make_node("Gather", ["table", "x"], ["y"], axis=0)],
        [("x", INT64, ["n", 3])],
        [("y", FLOAT, ["n", 3, 2])],
        table=table,
    )
    rows = np.array([[4.0, 0.0, 2.0]])
    same = assert_same(model, tmp_path, rows)
    found = proved(same, rows[0].tolist(), tmp_path, devnet_srs)
    np.testing.assert_allclose(found, table[[4, 0, 2]].ravel(), atol=0.01)


def padded(mode: str, pads: list[int], value: float) -> onnx.ModelProto:
    return graph_of(
        [helper.make_node("Pad", ["x", "pads", "value"], ["y"], mode=mode)],
        [("x", FLOAT, ["n", 2, 4])],
        [("y", FLOAT, ["n", None, None])],
        pads=np.array(pads),
        value=np.float32(value),
    )


@pytest.mark.parametrize(
    ("mode", "pads", "value"),
    [
        ("constant", [0, 0, 1, 0, 1, 2], 1.5),
        ("constant", [0, 0, -1, 0, 0, 2], 0.0),
        ("constant", [0, 0, -1, 0, 0, -1], 0.5),
        ("reflect", [0, 0, 2, 0, 0, 1], 0.0),
        ("edge", [0, 1, 2, 0, 0, 1], 0.0),
    ],
    ids=str,
)
def test_pad__each_mode_and_negative_sizes(
    tmp_path: Path, mode: str, pads: list[int], value: float
) -> None:
    rows = rows_of(2, 4)
    same = assert_same(padded(mode, pads, value), tmp_path, rows)
    assert circuit_error(same, rows, tmp_path) < 0.01


def test_tile_and_expand__repeated(tmp_path: Path) -> None:
    model = graph_of(
        [
            helper.make_node("Tile", ["x", "repeats"], ["t"]),
            helper.make_node("Expand", ["t", "shape"], ["y"]),
        ],
        [("x", FLOAT, ["n", 1, 2])],
        [("y", FLOAT, ["n", None, None])],
        repeats=np.array([1, 1, 2]),
        shape=np.array([1, 3, 4]),
    )
    rows = rows_of(2)
    assert circuit_error(assert_same(model, tmp_path, rows), rows, tmp_path) < 0.01


@SLOW
@given(
    size=st.integers(4, 7),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    pads=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    dilation=st.integers(1, 2),
    ceil=st.booleans(),
)
def test_max_pool__any_window(
    tmp_path: Path,
    size: int,
    kernel: int,
    stride: int,
    pads: tuple[int, int],
    dilation: int,
    ceil: bool,
) -> None:
    pads = tuple(min(pad, (kernel - 1) // 2) for pad in pads)
    model = spatial(
        "MaxPool",
        (2, size, size),
        kernel_shape=[kernel, kernel],
        strides=[stride, stride],
        pads=[pads[0], 0, pads[1], 0],
        dilations=[dilation, 1],
        ceil_mode=int(ceil),
    )
    room = size + sum(pads) - (kernel - 1) * dilation - 1
    assume(room >= 0)
    # ONNX's shape inference counts a window that begins in the padding, onnxruntime does not.
    assume(not ceil or -(-room // stride) * stride < size + min(pads))
    assume(not ceil or -(-(size - kernel) // stride) * stride < size)
    assert_same(model, tmp_path, rows_of(2, size, size) - 3)


def test_max_pool__negative_values_beside_padding__zeros_take_no_part(tmp_path: Path) -> None:
    rows = -np.abs(rows_of(1, 4, 4)) - 0.5
    model = spatial("MaxPool", (1, 4, 4), kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    assert circuit_error(assert_same(model, tmp_path, rows), rows, tmp_path) < 0.01


@pytest.mark.parametrize("count_include_pad", [0, 1])
@pytest.mark.parametrize("ceil_mode", [0, 1])
def test_average_pool__padding_counted_or_not(
    tmp_path: Path, count_include_pad: int, ceil_mode: int
) -> None:
    rows = rows_of(2, 5, 4)
    model = spatial(
        "AveragePool",
        (2, 5, 4),
        kernel_shape=[3, 2],
        pads=[1, 0, 1, 1],
        strides=[2, 1],
        count_include_pad=count_include_pad,
        ceil_mode=ceil_mode,
    )
    assert circuit_error(assert_same(model, tmp_path, rows), rows, tmp_path) < 0.02


def test_conv__dilated_and_grouped(tmp_path: Path) -> None:
    kernel = np.random.default_rng(0).normal(size=(4, 1, 2, 2))
    model = spatial("Conv", (2, 5, 5), kernel, dilations=[2, 1], group=2, pads=[1, 0, 0, 1])
    rows = rows_of(2, 5, 5, count=2)
    assert circuit_error(assert_same(model, tmp_path, rows), rows, tmp_path) < 0.03


@SLOW
@given(
    stride=st.integers(1, 3),
    kernel=st.integers(1, 3),
    pad=st.integers(0, 1),
    extra=st.integers(0, 1),
    dilation=st.integers(1, 2),
    group=st.sampled_from([1, 2]),
)
def test_conv_transpose__any_window(
    tmp_path: Path, stride: int, kernel: int, pad: int, extra: int, dilation: int, group: int
) -> None:
    weights = np.random.default_rng(0).normal(size=(2, 3, kernel, kernel))
    if extra >= stride or 2 * pad > (kernel - 1) * dilation:
        extra, pad = 0, 0
    model = spatial(
        "ConvTranspose",
        (2, 3, 2),
        weights,
        strides=[stride, 1],
        pads=[pad, 0, pad, 0],
        output_padding=[extra, 0],
        dilations=[dilation, 1],
        group=group,
    )
    assert_same(model, tmp_path, rows_of(2, 3, 2))


def test_conv_transpose__circuit_near_the_definition(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(2, 1, 2, 2))
    model = spatial("ConvTranspose", (2, 2, 2), weights, strides=[2, 2], output_padding=[1, 0])
    rows = rows_of(2, 2, 2, count=2)
    assert circuit_error(assert_same(model, tmp_path, rows), rows, tmp_path) < 0.02


@pytest.mark.parametrize("operator", ["InstanceNormalization", "LayerNormalization"])
def test_normalization__scale_and_bias(tmp_path: Path, operator: str) -> None:
    width = 2 if operator == "InstanceNormalization" else 3
    model = graph_of(
        [helper.make_node(operator, ["x", "scale", "bias"], ["y"])],
        [("x", FLOAT, ["n", 2, 3])],
        [("y", FLOAT, ["n", 2, 3])],
        scale=np.linspace(0.5, 1, width, dtype=np.float32),
        bias=np.linspace(-1, 1, width, dtype=np.float32),
    )
    rows = rows_of(2, 3)
    assert circuit_error(assert_same(model, tmp_path, rows), rows, tmp_path) < 0.05


def test_shapes_from_the_input__as_exporters_write_them__several_rows(tmp_path: Path) -> None:
    """Shape, Gather, Unsqueeze, Concat, Reshape, and a Gemm with a transposed weight."""
    model = graph_of(
        [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "first"], ["rows"], axis=0),
            helper.make_node("Unsqueeze", ["rows", "zero"], ["rows_1"]),
            helper.make_node("Constant", [], ["rest"], value_ints=[-1]),
            helper.make_node("Concat", ["rows_1", "rest"], ["flat_shape"], axis=0),
            helper.make_node("Reshape", ["x", "flat_shape"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w", "b"], ["y"], transB=1),
        ],
        [("x", FLOAT, ["batch", 2, 2])],
        [("y", FLOAT, ["batch", 3])],
        first=np.array(0),
        zero=np.array([0]),
        w=np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),
        b=np.array([0.5, 0, -0.5], dtype=np.float32),
    )
    rows = rows_of(2, 2)
    same = assert_same(model, tmp_path, rows)
    assert same.takes_batches
    assert rewritten(same, rows).shape == (3, 3)
    assert circuit_error(same, rows, tmp_path) < 0.02


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            graph_of(
                [helper.make_node("Pow", ["x", "x"], ["y"], "the_node")],
                [("x", FLOAT, ["n", 2])],
                [("y", FLOAT, ["n", 2])],
            ),
            r"operator Pow \(node 'the_node'\) needs exponents",
        ),
        (
            graph_of(
                [helper.make_node("MaxPool", ["x"], ["y", "i"], "the_node", kernel_shape=[2])],
                [("x", FLOAT, ["n", 1, 4])],
                [("y", FLOAT, ["n", 1, 3]), ("i", INT64, ["n", 1, 3])],
            ),
            r"operator MaxPool \(node 'the_node'\) gives the positions",
        ),
        (
            graph_of(
                [helper.make_node("Resize", ["x", "", "s"], ["y"], "the_node", mode="linear")],
                [("x", FLOAT, ["n", 1, 2, 2])],
                [("y", FLOAT, ["n", 1, 4, 4])],
                s=np.array([1, 1, 2, 2], dtype=np.float32),
            ),
            r"operator Resize \(node 'the_node'\) in mode linear",
        ),
    ],
    ids=["exponent", "positions", "interpolation"],
)
def test_load__no_form_for_these_parameters__named_with_its_node(
    tmp_path: Path, model: onnx.ModelProto, words: str
) -> None:
    with pytest.raises(ModelUnsupported, match=words):
        loaded(model, tmp_path, np.ones((1, 4)))


@pytest.mark.parametrize(
    "model",
    [
        spatial("MaxPool", (1, 4, 4), kernel_shape=[2**40, 1], pads=[2**40, 0, 2**40, 0]),
        spatial("Conv", (1, 4, 4), np.ones((1, 1, 2, 2)), dilations=[2**40, 1]),
        padded("constant", [0, 0, 0, 0, 0, 2**50], 1.0),
        graph_of(
            [helper.make_node("Expand", ["x", "shape"], ["y"], "the_node")],
            [("x", FLOAT, ["n", 1])],
            [("y", FLOAT, ["n", None])],
            shape=np.array([1, 2**40]),
        ),
    ],
    ids=["window", "dilation", "padding", "expansion"],
)
def test_load__few_bytes_that_unfold_to_much__refused_before_any_memory_is_taken(
    tmp_path: Path, model: onnx.ModelProto
) -> None:
    with pytest.raises((ModelUnsupported, ModelMalformed)) as caught:
        door.load(saved(model, tmp_path), SANDBOX)
    assert "\n" not in caught.value.line()
