"""Model files: what is accepted, what is refused and in which words, and the tag input."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx as onnx_format
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from oracle.circuits import onnx
from oracle.errors import ModelMalformed, ModelUnsupported
from oracle.prover.child import Limits, Sandbox
from oracle.types import TagLayout
from tests.circuits.makers import linear, saved, single_node

SANDBOX = Sandbox(Limits(timeout=30, memory_bytes=4 << 30, threads=1))


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
    monkeypatch.setattr(onnx, "MAX_BYTES", 100)
    with pytest.raises(ModelUnsupported, match="the limit is 100"):
        onnx.load(iris_onnx, SANDBOX)


@pytest.mark.parametrize(
    ("model", "operator"),
    [
        (single_node("Gelu", opset=20), "Gelu"),
        (single_node("Mish", opset=18), "Mish"),
        (
            single_node("Scaler", domain="ai.onnx.ml", offset=[0.0] * 4, scale=[1.0] * 4),
            "ai.onnx.ml.Scaler",
        ),
    ],
    ids=["gelu", "mish", "scaler"],
)
def test_load__unprovable_operator__named_with_its_node(
    tmp_path: Path, model: onnx_format.ModelProto, operator: str
) -> None:
    with pytest.raises(ModelUnsupported) as caught:
        onnx.load(saved(model, tmp_path), SANDBOX)
    assert f"operator {operator} (node 'the_node')" in caught.value.message


def test_load__second_free_dimension__named(tmp_path: Path) -> None:
    path = saved(single_node("Relu", shape=("batch", "width")), tmp_path)
    with pytest.raises(ModelUnsupported, match="dimension 1 of input 'input' is not fixed"):
        onnx.load(path, SANDBOX)


def test_load__no_dimensions__refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnsupported, match="no fixed, non-empty shape"):
        onnx.load(saved(single_node("Relu", shape=(1, 0)), tmp_path), SANDBOX)


def test_load__two_inputs__refused(tmp_path: Path) -> None:
    model = linear()
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1]))
    with pytest.raises(ModelUnsupported, match="2 inputs"):
        onnx.load(saved(model, tmp_path), SANDBOX)


def test_load__two_outputs__refused(tmp_path: Path) -> None:
    model = linear()
    model.graph.output.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["batch", 2]))
    with pytest.raises(ModelUnsupported, match="2 outputs"):
        onnx.load(saved(model, tmp_path), SANDBOX)


def test_load__weights_listed_as_inputs__accepted(tmp_path: Path) -> None:
    model = linear()
    model.graph.input.append(helper.make_tensor_value_info("weights", TensorProto.FLOAT, [2, 2]))
    assert onnx.load(saved(model, tmp_path), SANDBOX).input_shape == (1, 2)


def test_load__integer_input__refused(tmp_path: Path) -> None:
    model = single_node("Abs")
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(ModelUnsupported, match="not float32"):
        onnx.load(saved(model, tmp_path), SANDBOX)


def test_load__weights_in_another_file__refused(tmp_path: Path) -> None:
    """A path in a model could name any file of this machine."""
    (tmp_path / "weights.bin").write_bytes(np.zeros(4, np.float32).tobytes())
    model = linear()
    set_external_data(model.graph.initializer[0], "weights.bin")
    with pytest.raises((ModelUnsupported, ModelMalformed)):
        onnx.load(saved(model, tmp_path), SANDBOX)


def test_load__own_function__refused(tmp_path: Path) -> None:
    model = linear()
    model.opset_import.append(helper.make_opsetid("custom", 1))
    node = helper.make_node("Relu", ["x"], ["y"])
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("custom", "Twist", ["x"], ["y"], [node], opsets))
    with pytest.raises(ModelUnsupported, match="'Twist'"):
        onnx.load(saved(model, tmp_path), SANDBOX)


def test_load__same_file__same_bytes(iris_onnx: Path) -> None:
    tagged = [onnx.add_tag(onnx.load(iris_onnx, SANDBOX), TagLayout()) for _ in range(2)]
    assert tagged[0] == tagged[1]
    weights = onnx_format.load_model_from_string(tagged[0]).graph.initializer
    assert numpy_helper.to_array(weights[0]).shape == (4, 16)


def test_load__negative_dimensions_whose_product_is_positive__refused(tmp_path: Path) -> None:
    model = single_node("Relu", shape=(-2, -2))
    with pytest.raises((ModelUnsupported, ModelMalformed)):
        onnx.load(saved(model, tmp_path), SANDBOX)


@pytest.mark.parametrize("opset", [8, 23])
def test_load__opset_that_the_circuit_compiler_was_not_made_for__refused(
    tmp_path: Path, opset: int
) -> None:
    with pytest.raises(ModelUnsupported, match=f"opset {opset}"):
        onnx.load(saved(single_node("Relu", opset=opset), tmp_path), SANDBOX)


def test_load__endless_graph__refused_at_once(tmp_path: Path) -> None:
    names = ["input", *(f"x{i}" for i in range(onnx.MAX_NODES)), "output"]
    nodes = [helper.make_node("Relu", [a], [b]) for a, b in itertools.pairwise(names)]
    model = single_node("Relu")
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    with pytest.raises(ModelUnsupported, match="2001 nodes"):
        onnx.load(saved(model, tmp_path), SANDBOX)
