"""Maxima without sorting: the same numbers, and no shuffle in the circuit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from oracle.chain.toolchain import toolchain
from oracle.circuits import onnx as models
from oracle.circuits import shapes
from oracle.circuits.trial import Graph, reference
from oracle.prover.child import Limits
from oracle.prover.sandbox import Sandbox
from oracle.types import TagLayout
from tests.circuits.makers import saved, single_node

SANDBOX = Sandbox(Limits(60, 4 << 30, 1), toolchain().ezkl_home)


def loaded(model: onnx.ModelProto, folder: Path) -> tuple[models.Model, Path]:
    made = models.load(saved(model, folder), SANDBOX)
    path = folder / "lowered.onnx"
    path.write_bytes(made.data)
    return made, path


@pytest.mark.parametrize("width", [1, 2, 5, 8])
def test_load__softmax__same_numbers_from_a_tournament(tmp_path: Path, width: int) -> None:
    made, path = loaded(single_node("Softmax", shape=("batch", width), axis=1), tmp_path)
    rows = np.random.default_rng(0).normal(size=(6, width))
    # Equal numbers too.
    rows[0] = 1.5
    raised = np.exp(rows - rows.max(axis=1, keepdims=True))
    found = reference(path, made.input_name, made.output_name, rows, SANDBOX)
    assert found == pytest.approx(raised / raised.sum(axis=1, keepdims=True), abs=1e-6)
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert not operators & {"Softmax", "ReduceMax"}


def test_load__softmax__circuit_without_shuffles(tmp_path: Path) -> None:
    made, _ = loaded(single_node("Softmax", shape=("batch", 5), axis=1), tmp_path)
    tagged = tmp_path / "tagged.onnx"
    tagged.write_bytes(models.add_tag(made, TagLayout()))
    surveyed = shapes.survey(Graph(tagged, TagLayout(), SANDBOX), [1])
    assert all(settings["num_shuffles"] == 0 for settings in surveyed.settings.values())


def test_load__softmax__rows_of_a_batch_stay_apart(tmp_path: Path) -> None:
    made, _ = loaded(single_node("Softmax", shape=("batch", 3), axis=1), tmp_path)
    batch = tmp_path / "batch.onnx"
    batch.write_bytes(models.add_tag(made, TagLayout(), 2))
    rows = np.array([[3.0, 1.0, 2.0, -1.0, -2.0, -9.0]])
    found = reference(batch, made.input_name, made.output_name, rows, SANDBOX)
    halves = rows.reshape(2, 3)
    raised = np.exp(halves - halves.max(axis=1, keepdims=True))
    expected = raised / raised.sum(axis=1, keepdims=True)
    assert found.reshape(2, 3) == pytest.approx(expected, abs=1e-6)


def position(operator: str, width: int, **attributes: int) -> onnx.ModelProto:
    """A model that answers where, among so many numbers, the greatest or the least is."""
    model = single_node(operator, shape=("batch", width), **attributes)
    shape = ("batch", 1) if attributes.get("keepdims", 1) else ("batch",)
    output = helper.make_tensor_value_info("output", onnx.TensorProto.INT64, shape)
    model.graph.output[0].CopyFrom(output)
    return model


@pytest.mark.parametrize("operator", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("width", [2, 3, 5, 7, 8])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_load__position_of_the_greatest__the_first_of_equals(
    operator: str, width: int, keepdims: int, tmp_path: Path
) -> None:
    model = position(operator, width, axis=-1, keepdims=keepdims)
    made, path = loaded(model, tmp_path)
    rows = np.random.default_rng(0).integers(-2, 3, size=(24, width)).astype(float)
    rows[0] = 1.5
    found = reference(path, made.input_name, made.output_name, rows, SANDBOX)
    wanted = rows.argmax(axis=1) if operator == "ArgMax" else rows.argmin(axis=1)
    assert found.ravel().tolist() == wanted.tolist()
    assert operator not in {node.op_type for node in onnx.load(path).graph.node}


@pytest.mark.parametrize(
    ("width", "attributes"), [(3, {"axis": 1, "select_last_index": 1}), (1, {"axis": 1})]
)
def test_load__position_that_no_tournament_gives__left_to_the_compiler(
    width: int, attributes: dict[str, int], tmp_path: Path
) -> None:
    made = models.load(saved(position("ArgMax", width, **attributes), tmp_path), SANDBOX)
    operators = [each.op_type for each in onnx.load_model_from_string(made.data).graph.node]
    assert "ArgMax" in operators
