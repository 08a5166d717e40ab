"""Models as exporters leave them: weights beside the file, chains of constants, chosen branches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from oracle.circuits.onnx import load
from oracle.circuits.source import file_hash, read
from oracle.circuits.srs import sha256_file
from oracle.errors import ModelMalformed, ModelUnsupported
from oracle.prover import preparation
from tests.circuits.lowered import (
    FLOAT,
    INT64,
    SANDBOX,
    answers,
    assert_same,
    circuit_error,
    graph_of,
    loaded,
    rewritten,
)
from tests.circuits.makers import linear, saved

ROWS = np.random.default_rng(7).integers(-512, 512, size=(8, 4)) / 512
WEIGHTS = np.random.default_rng(8).normal(0, 0.4, (4, 3)).astype(np.float32)


def product(nodes: list[onnx.NodeProto], **constants: Any) -> onnx.ModelProto:
    """``x @ W``, where the nodes make W."""
    last = helper.make_node("MatMul", ["x", "W"], ["y"])
    shapes = ([("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 3])])
    return graph_of([*nodes, last], *shapes, **constants)


# --- constants ------------------------------------------------------------------------------------


def test_fold__weights_stored_in_bytes__are_the_floats_that_they_stand_for(tmp_path: Path) -> None:
    scale = np.float32(np.abs(WEIGHTS).max() / 127)
    model = product(
        [helper.make_node("DequantizeLinear", ["q", "s", "z"], ["W"])],
        q=np.rint(WEIGHTS / scale).astype(np.int8),
        s=scale,
        z=np.int8(0),
    )
    same = assert_same(model, tmp_path, ROWS)
    assert circuit_error(same, ROWS, tmp_path) < 0.02


def test_fold__operators_that_no_circuit_has__of_constants_alone_are_no_obstacle(
    tmp_path: Path,
) -> None:
    nodes = [
        helper.make_node("Mod", ["nine", "five"], ["four"]),
        helper.make_node("Concat", ["four", "one"], ["repeats"], axis=0),
        helper.make_node("Tile", ["row", "repeats"], ["tiled"]),
        helper.make_node("LRN", ["image"], ["normal"], size=1),
        helper.make_node("Reshape", ["normal", "flat"], ["factor"]),
        helper.make_node("Mul", ["tiled", "factor"], ["W"]),
    ]
    model = product(
        nodes,
        nine=np.array([9]),
        five=np.array([5]),
        one=np.array([1]),
        row=WEIGHTS[:1],
        image=np.ones((1, 3, 1, 1), dtype=np.float32),
        flat=np.array([1, 3]),
    )
    assert circuit_error(assert_same(model, tmp_path, ROWS), ROWS, tmp_path) < 0.02


def test_fold__what_the_input_decides__is_refused_by_name_as_before(tmp_path: Path) -> None:
    node = helper.make_node("LRN", ["x"], ["y"], "the_node", size=1)
    shape = ["n", 4, 1, 1]
    model = graph_of([node], [("x", FLOAT, shape)], [("y", FLOAT, shape)])
    with pytest.raises(ModelUnsupported, match=r"operator LRN \(node 'the_node'\)"):
        loaded(model, tmp_path, ROWS)


def test_fold__random_numbers__are_no_constants(tmp_path: Path) -> None:
    node = helper.make_node("RandomNormal", [], ["W"], "the_node", shape=[4, 3])
    with pytest.raises(ModelUnsupported, match=r"operator RandomNormal \(node 'the_node'\)"):
        loaded(product([node]), tmp_path, ROWS)


def test_fold__constant_that_unfolds_to_a_large_one__stays_as_it_is() -> None:
    nodes = [helper.make_node("ConstantOfShape", ["large"], ["zeros"])]
    proto = product(nodes, large=np.array([1 << 10, 1 << 10]), W=WEIGHTS)
    preparation._fold(proto)
    assert [node.op_type for node in proto.graph.node] == ["ConstantOfShape", "MatMul"]


# --- branches -------------------------------------------------------------------------------------


def branch(name: str, nodes: list[onnx.NodeProto], result: str, **constants: Any) -> Any:
    return helper.make_graph(
        nodes,
        name,
        [],
        [helper.make_tensor_value_info(result, FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), key) for key, v in constants.items()],
    )


def choice(before: list[onnx.NodeProto], **constants: Any) -> onnx.ModelProto:
    """``2 |x|`` or ``-x``: both branches use one inner name, and one takes a tensor from outside."""
    double = [
        helper.make_node("Abs", ["x"], ["inner"]),
        helper.make_node("Mul", ["inner", "two"], ["yes"]),
    ]
    negative = [
        helper.make_node("Neg", ["x"], ["inner"]),
        helper.make_node("Identity", ["inner"], ["no"]),
    ]
    nodes = [
        *before,
        helper.make_node(
            "If",
            ["condition"],
            ["y"],
            then_branch=branch("then", double, "yes", two=np.float32(2)),
            else_branch=branch("else", negative, "no"),
        ),
    ]
    return graph_of(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])], **constants)


@pytest.mark.parametrize("size", [1, 3])
def test_branch__condition_that_constants_decide__is_taken(tmp_path: Path, size: int) -> None:
    condition = [
        helper.make_node("Equal", ["size", "one"], ["same"]),
        helper.make_node("Squeeze", ["same"], ["condition"]),
    ]
    model = choice(condition, size=np.array([size]), one=np.array([1]))
    expected = 2 * np.abs(ROWS) if size == 1 else -ROWS
    np.testing.assert_array_equal(answers(model, ROWS, ["y"]), expected)
    assert circuit_error(assert_same(model, tmp_path, ROWS), ROWS, tmp_path) < 0.01


def test_branch__within_a_branch__is_taken_too(tmp_path: Path) -> None:
    inside = choice([], condition=np.array(True)).graph
    (inner,) = inside.node
    inner.output[0] = "nested"
    nodes = [
        helper.make_node(
            "If",
            ["outer"],
            ["y"],
            then_branch=branch("outer_then", [inner], "nested"),
            else_branch=branch("outer_else", [helper.make_node("Neg", ["x"], ["other"])], "other"),
        )
    ]
    shapes = ([("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])])
    model = graph_of(nodes, *shapes, outer=np.array(True), condition=np.array(False))
    same = assert_same(model, tmp_path, ROWS)
    np.testing.assert_array_equal(rewritten(same, ROWS), -ROWS)


def test_branch__that_passes_on_what_is_outside__passes_it_on(tmp_path: Path) -> None:
    node = helper.make_node(
        "If",
        ["condition"],
        ["z"],
        then_branch=branch("then", [], "h"),
        else_branch=branch("else", [], "x"),
    )
    nodes = [helper.make_node("Abs", ["x"], ["h"]), node, helper.make_node("Neg", ["z"], ["y"])]
    shapes = ([("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])])
    model = graph_of(nodes, *shapes, condition=np.array(True))
    preparation._fold(model)
    np.testing.assert_array_equal(answers(model, ROWS, ["y"]), -np.abs(ROWS))


# --- weights in other files -----------------------------------------------------------------------


def stored_beside(folder: Path, location: str = "model.onnx.data") -> Path:
    path = folder / "model.onnx"
    onnx.save(
        product([], W=WEIGHTS),
        path,
        save_as_external_data=True,
        location=location,
        size_threshold=0,
    )
    return path


def renamed(path: Path, location: str) -> Path:
    """The model whose weights are said to be somewhere else."""
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(proto.SerializeToString())
    return path


def test_external__weights_beside_the_model__are_read(tmp_path: Path) -> None:
    path = stored_beside(tmp_path)
    model = load(path, SANDBOX, samples=ROWS)
    whole = load(saved(product([], W=WEIGHTS), tmp_path / ".."), SANDBOX, samples=ROWS)
    assert model.data == whole.data
    np.testing.assert_allclose(rewritten(model, ROWS), ROWS @ WEIGHTS, atol=1e-6)
    assert list(read(path, SANDBOX).beside) == ["model.onnx.data"]
    assert model.file_hash == file_hash(path, SANDBOX)


def test_file_hash__any_byte_of_either_file_changed__is_another_one(tmp_path: Path) -> None:
    path = stored_beside(tmp_path)
    before = file_hash(path, SANDBOX)
    assert before != sha256_file(path)
    data = tmp_path / "model.onnx.data"
    content = bytearray(data.read_bytes())
    content[5] ^= 1
    data.write_bytes(content)
    assert file_hash(path, SANDBOX) != before
    single = saved(linear(), tmp_path)
    assert file_hash(single, SANDBOX) == sha256_file(single)


def test_external__missing_data__says_which_file(tmp_path: Path) -> None:
    path = stored_beside(tmp_path)
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(ModelMalformed, match=r"model\.onnx\.data, where a tensor") as caught:
        load(path, SANDBOX)
    assert "Put model.onnx.data beside model.onnx" in caught.value.line()


def test_external__data_cut_short__malformed(tmp_path: Path) -> None:
    path = stored_beside(tmp_path)
    os.truncate(tmp_path / "model.onnx.data", 7)
    with pytest.raises(ModelMalformed):
        load(path, SANDBOX)


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/hostname", "folder/data", "..", ".", "", "link", "pipe"]
)
def test_external__path_that_leads_elsewhere__refused_unread(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(WEIGHTS.tobytes())
    (folder / "folder").mkdir()
    (folder / "folder" / "data").write_bytes(WEIGHTS.tobytes())
    (folder / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    path = renamed(stored_beside(folder), location)
    with pytest.raises((ModelUnsupported, ModelMalformed)) as caught:
        load(path, SANDBOX)
    assert "\n" not in caught.value.line()


def test_external__word_alone__is_no_other_file(tmp_path: Path) -> None:
    model = linear()
    model.graph.node[0].name = "location"
    path = saved(model, tmp_path)
    assert read(path, SANDBOX).beside == {}
    assert load(path, SANDBOX).input_length == 2


# --- operators of onnxruntime's own ---------------------------------------------------------------


def test_gelu__of_onnxruntime__is_the_exact_one(tmp_path: Path) -> None:
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    model = graph_of([node], [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    rows = 4 * ROWS
    assert circuit_error(assert_same(model, tmp_path, rows), rows, tmp_path) < 0.02


def test_dimension__of_an_output__is_fixed_by_its_name(tmp_path: Path) -> None:
    node = helper.make_node("Neg", ["x"], ["y"])
    model = graph_of([node], [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", "k"])])
    found = loaded(model, tmp_path, ROWS, dims={"k": 4})
    assert [tensor.shape for tensor in found.outputs] == [(1, 4)]


def test_integers__as_labels_of_a_choice__are_no_constants(tmp_path: Path) -> None:
    nodes = [helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=1)]
    model = graph_of(nodes, [("x", FLOAT, ["n", 4])], [("y", INT64, ["n", 1])])
    assert circuit_error(assert_same(model, tmp_path, ROWS), ROWS, tmp_path) == 0
