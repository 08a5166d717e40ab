"""Model files: what is accepted, what is refused and in which words, and the tag input."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx as onnx_format
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from oracle.circuits import onnx, refusals, source
from oracle.errors import ModelMalformed, ModelUnsupported, TensorLength, UsageError
from oracle.prover.child import Limits
from oracle.prover.sandbox import Sandbox
from oracle.types import TagLayout
from tests.circuits.lowered import assert_same, circuit_error, rewritten
from tests.circuits.makers import linear, saved, single_node
from tests.patience import PATIENCE

SANDBOX = Sandbox(Limits(timeout=PATIENCE, memory_bytes=4 << 30, threads=1))


def branching() -> onnx_format.ModelProto:
    """A choice between two graphs."""
    output = [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 4])]
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op_type, ["input"], ["output"])], name, [], output
        )
        for name, op_type in (("then", "Relu"), ("else", "Neg"))
    }
    graph = helper.make_graph(
        [helper.make_node("If", ["condition"], ["output"], name="the_node", **branches)],
        "graph",
        [
            helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 4]),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, [1]),
        ],
        output,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_load__free_batch_dimension__fixed_to_one(iris_onnx: Path) -> None:
    model = onnx.load(iris_onnx, SANDBOX)
    assert model.input_name == "input"
    assert model.output_name == "logits"
    assert model.input_shape == (1, 4)
    assert model.input_length == 4


def test_add_tag__last_input_and_read_by_no_node(iris_onnx: Path) -> None:
    model = onnx.load(iris_onnx, SANDBOX)
    graph = onnx_format.load_model_from_string(onnx.add_tag(model, TagLayout(limbs=5))).graph
    assert [value.name for value in graph.input] == ["input", "tag"]
    assert [dim.dim_value for dim in graph.input[1].type.tensor_type.shape.dim] == [1, 5]
    assert all("tag" not in node.input for node in graph.node)


def test_add_tag__name_taken__refused(tmp_path: Path) -> None:
    model = linear()
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = "tag"
    with pytest.raises(ModelUnsupported, match="'tag'"):
        onnx.add_tag(onnx.load(saved(model, tmp_path), SANDBOX), TagLayout())


@pytest.mark.parametrize(
    "data",
    [b"", b"not a model", b"\x08\x08" + b"\xff" * 500, bytes(1000)],
    ids=["empty", "text", "broken protobuf", "zeros"],
)
def test_load__garbage__malformed_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelMalformed) as caught:
        onnx.load(path, SANDBOX)
    assert "\n" not in caught.value.line()
    assert caught.value.remedy


def test_load__truncated_file__malformed(tmp_path: Path, iris_onnx: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(iris_onnx.read_bytes()[:700])
    with pytest.raises(ModelMalformed):
        onnx.load(path, SANDBOX)


def test_load__missing_file__says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelMalformed, match="No such file"):
        onnx.load(tmp_path / "model.onnx", SANDBOX)


def test_load__too_large__refused_unread(
    tmp_path: Path, iris_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_BYTES", 100)
    with pytest.raises(ModelUnsupported, match="the limit is 100"):
        onnx.load(iris_onnx, SANDBOX)


@pytest.mark.parametrize(
    ("model", "operator"),
    [
        (single_node("FusedGelu", domain="com.microsoft"), "com.microsoft.FusedGelu"),
        (single_node("Normalizer", domain="ai.onnx.ml", norm="L3"), "ai.onnx.ml.Normalizer"),
        (branching(), "If"),
        (single_node("LRN", shape=("batch", 4, 2, 2), size=3), "LRN"),
        (single_node("RandomNormalLike"), "RandomNormalLike"),
    ],
    ids=["foreign", "parameter", "branch", "core", "random"],
)
def test_load__unprovable_operator__named_with_its_node(
    tmp_path: Path, model: onnx_format.ModelProto, operator: str
) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(ModelUnsupported) as caught:
        onnx.load(saved(model, tmp_path), SANDBOX)
    assert f"operator {operator} (node 'the_node')" in caught.value.message
    assert "\n" not in caught.value.line()


def test_load__second_free_dimension__named(tmp_path: Path) -> None:
    path = saved(single_node("Relu", shape=("batch", "width")), tmp_path)
    with pytest.raises(
        ModelUnsupported, match=r"dimension 1 \(width\) of 'input' is not fixed"
    ) as caught:
        onnx.load(path, SANDBOX)
    assert "--dim width=SIZE" in caught.value.line()


def test_load__named_dimension_given__fixed(tmp_path: Path) -> None:
    path = saved(single_node("Relu", shape=("batch", "width")), tmp_path)
    model = onnx.load(path, SANDBOX, dims={"width": 3})
    assert model.input_shape == (1, 3)
    assert model.takes_batches


def test_load__batch_given_as_a_dimension__no_batches(tmp_path: Path) -> None:
    model = onnx.load(saved(single_node("Relu"), tmp_path), SANDBOX, dims={"batch": 2})
    assert model.input_shape == (1, 8)
    assert not model.takes_batches


@pytest.mark.parametrize(
    ("dims", "words"),
    [
        ({"depth": 3}, "no input or output has a free dimension 'depth'"),
        ({"batch": 0}, "0 is no size"),
    ],
    ids=["unknown", "zero"],
)
def test_load__dimension_that_makes_no_sense__usage_error(
    tmp_path: Path, dims: dict[str, int], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        onnx.load(saved(single_node("Relu"), tmp_path), SANDBOX, dims=dims)


def test_load__no_dimensions__refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnsupported, match="no fixed, non-empty shape"):
        onnx.load(saved(single_node("Relu", shape=(1, 0)), tmp_path), SANDBOX)


def several() -> onnx_format.ModelProto:
    """Float, integer and bool inputs of a row; a float and an integer output."""
    nodes = [
        helper.make_node("Gather", ["table", "token"], ["row"], axis=0),
        helper.make_node("Flatten", ["row"], ["flat"]),
        helper.make_node("Add", ["flat", "x"], ["sum"]),
        helper.make_node("Where", ["mask", "sum", "x"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "several",
        [
            helper.make_tensor_value_info("token", TensorProto.INT64, ["batch", 1]),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("mask", TensorProto.BOOL, ["batch", 3]),
        ],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("best", TensorProto.INT64, ["batch"]),
        ],
        [numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(4, 3), "table")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


ROWS = np.array([[2, 0.5, -1, 9, 1, 0, 1], [0, 0.5, 1, 2, 0, 0, 0], [3, 1, 1, 1, 1, 1, 1.0]])


def test_load__several_inputs_and_outputs__side_by_side_in_a_row(tmp_path: Path) -> None:
    model = assert_same(several(), tmp_path, ROWS)
    assert model.input_shape == (1, 7)
    assert [(t.name, t.shape, t.dtype) for t in model.inputs] == [
        ("token", (1, 1), "int64"),
        ("x", (1, 3), "float32"),
        ("mask", (1, 3), "bool"),
    ]
    assert [(t.name, t.length) for t in model.outputs] == [("scores", 3), ("best", 1)]
    assert circuit_error(model, ROWS, tmp_path) < 0.01


def test_load__outputs_by_name__in_that_order_and_nothing_else(tmp_path: Path) -> None:
    model = assert_same(several(), tmp_path, ROWS, "best", "scores", outputs=["best", "scores"])
    assert [tensor.name for tensor in model.outputs] == ["best", "scores"]
    alone = assert_same(several(), tmp_path, ROWS, "scores", outputs=["scores"])
    graph = onnx_format.load_model_from_string(alone.data).graph
    assert "ArgMax" not in [node.op_type for node in graph.node]


def test_load__output_that_the_model_lacks__usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no output 'worst'") as caught:
        onnx.load(saved(several(), tmp_path), SANDBOX, outputs=["worst"])
    assert "scores, best" in caught.value.line()


def test_add_tag__several_rows_of_several_tensors__each_as_alone(tmp_path: Path) -> None:
    model = onnx.load(saved(several(), tmp_path), SANDBOX)
    session = onnxruntime.InferenceSession(onnx.add_tag(model, TagLayout(), 3))
    feeds = {model.input_name: ROWS.astype(np.float32), "tag": np.zeros((1, 5), np.float32)}
    np.testing.assert_allclose(session.run(None, feeds)[0], rewritten(model, ROWS))


def test_load__file_in_the_proved_form__no_node_added(tmp_path: Path) -> None:
    model = onnx.load(saved(linear(), tmp_path), SANDBOX)
    graph = onnx_format.load_model_from_string(model.data).graph
    assert [node.op_type for node in graph.node] == ["MatMul", "Relu"]
    assert (model.input_name, model.output_name) == ("input", "output")


@pytest.mark.parametrize("dtype", [TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_load__other_floats__float32(tmp_path: Path, dtype: int) -> None:
    numbers = np.array([[1.5, -2.0], [0.25, 3.0]], dtype=helper.tensor_dtype_to_np_dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", dtype, ["batch", 2])],
        [helper.make_tensor_value_info("y", dtype, ["batch", 2])],
        [numpy_helper.from_array(numbers, "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    rows = np.array([[1.0, 2.0]])
    model = onnx.load(saved(proto, tmp_path), SANDBOX, samples=rows)
    np.testing.assert_allclose(rewritten(model, rows), [[2.0, 4.0]])


def test_load__rewriting_that_changes_the_answers__refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(proto: onnx_format.ModelProto, _indices: object) -> None:
        next(node for node in proto.graph.node if node.op_type == "Relu").op_type = "Neg"

    monkeypatch.setattr(onnx.lowering, "lower_core", wrong)
    with pytest.raises(ModelUnsupported, match="for sample 0, not"):
        onnx.load(saved(linear(), tmp_path), SANDBOX, samples=np.array([[1.0, 2.0]]))


def test_load__samples_of_another_width__said(tmp_path: Path) -> None:
    with pytest.raises(TensorLength, match="rows of 2"):
        onnx.load(saved(linear(), tmp_path), SANDBOX, samples=np.zeros((3, 5)))


def test_load__weights_listed_as_inputs__accepted(tmp_path: Path) -> None:
    model = linear()
    model.graph.input.append(helper.make_tensor_value_info("weights", TensorProto.FLOAT, [2, 2]))
    assert onnx.load(saved(model, tmp_path), SANDBOX).input_shape == (1, 2)


def test_load__text_input__refused(tmp_path: Path) -> None:
    model = single_node("Identity")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.STRING
    with pytest.raises(ModelUnsupported, match="'input' does not hold real numbers"):
        onnx.load(saved(model, tmp_path), SANDBOX)


def test_load__weights_in_another_file__refused(tmp_path: Path) -> None:
    """A path in a model could name any file of this machine."""
    (tmp_path / "weights.bin").write_bytes(np.zeros(4, np.float32).tobytes())
    model = linear()
    set_external_data(model.graph.initializer[0], "weights.bin")
    with pytest.raises((ModelUnsupported, ModelMalformed)):
        onnx.load(saved(model, tmp_path), SANDBOX)


def test_load__own_function__inlined(tmp_path: Path) -> None:
    model = single_node("Twist", domain="custom")
    model.opset_import.append(helper.make_opsetid("custom", 1))
    node = helper.make_node("Relu", ["a"], ["b"])
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("custom", "Twist", ["a"], ["b"], [node], opsets))
    proto = onnx_format.load_model_from_string(onnx.load(saved(model, tmp_path), SANDBOX).data)
    assert [node.op_type for node in proto.graph.node] == ["Relu"]
    assert not proto.functions


def test_load__same_file__same_bytes(iris_onnx: Path) -> None:
    tagged = [onnx.add_tag(onnx.load(iris_onnx, SANDBOX), TagLayout()) for _ in range(2)]
    assert tagged[0] == tagged[1]
    weights = onnx_format.load_model_from_string(tagged[0]).graph.initializer
    assert numpy_helper.to_array(weights[0]).shape == (4, 16)


def test_load__negative_dimensions_whose_product_is_positive__refused(tmp_path: Path) -> None:
    model = single_node("Relu", shape=(-2, -2))
    with pytest.raises((ModelUnsupported, ModelMalformed)):
        onnx.load(saved(model, tmp_path), SANDBOX)


@pytest.mark.parametrize("opset", [7, 9, 13, 18, 21, 23])
def test_load__opset_in_the_field__brought_into_reach(tmp_path: Path, opset: int) -> None:
    model = single_node("Softmax", opset=opset, axis=1)
    model.ir_version = 11 if opset > 21 else 8
    same = assert_same(model, tmp_path, np.array([[0.5, 1.0, -1.0, 2.0]]))
    (core,) = [
        imported.version
        for imported in onnx_format.load_model_from_string(same.data).opset_import
        if imported.domain == ""
    ]
    assert onnx.OPSETS[0] <= core <= onnx.OPSETS[1]


@pytest.mark.parametrize(("operator", "opset"), [("Gelu", 20), ("Swish", 24)])
def test_load__operator_newer_than_the_loader__inlined(
    tmp_path: Path, operator: str, opset: int
) -> None:
    model = single_node(operator, opset=opset)
    model.ir_version = 11
    rows = np.array([[0.5, 1.0, -1.0, 2.0]])
    assert circuit_error(assert_same(model, tmp_path, rows), rows, tmp_path) < 0.02


def test_load__endless_graph__refused_at_once(tmp_path: Path) -> None:
    names = ["input", *(f"x{i}" for i in range(refusals.MAX_NODES)), "output"]
    nodes = [helper.make_node("Relu", [a], [b]) for a, b in itertools.pairwise(names)]
    model = single_node("Relu")
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    with pytest.raises(ModelUnsupported, match="2001 nodes"):
        onnx.load(saved(model, tmp_path), SANDBOX)
