"""Recurrent layers, unfolded: against onnxruntime, and in half the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from oracle.circuits import onnx as door
from oracle.circuits import shapes
from oracle.circuits.trial import Graph
from oracle.types import TagLayout
from tests.circuits.lowered import FLOAT, SANDBOX, assert_same, circuit_error, graph_of

STEPS, WIDTH, HIDDEN = 3, 2, 3
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def layer(
    operator: str,
    *,
    directions: int = 1,
    bias: bool = True,
    states: bool = False,
    outputs: tuple[str, ...] = ("every", "last"),
    **attributes: Any,
) -> onnx.ModelProto:
    """A layer over a sequence of three steps, [3, n, 2]; its named outputs."""
    rng = np.random.default_rng(3)
    rows = GATES[operator] * HIDDEN
    constants = {
        "w": rng.normal(0, 0.7, (directions, rows, WIDTH)),
        "r": rng.normal(0, 0.5, (directions, rows, HIDDEN)),
    }
    inputs = ["x", "w", "r"]
    if bias:
        constants["b"] = rng.normal(0, 0.3, (directions, 2 * rows))
    inputs += ["b" if bias else "", ""]
    if states:
        constants["h"] = rng.normal(0, 0.5, (directions, 1, HIDDEN))
        inputs.append("h")
        if operator == "LSTM":
            constants["c"] = rng.normal(0, 0.5, (directions, 1, HIDDEN))
            inputs.append("c")
    names = ["every", "last", "cell"][: 3 if operator == "LSTM" else 2]
    node = helper.make_node(
        operator,
        inputs,
        [name if name in outputs else "" for name in names],
        "the_node",
        hidden_size=HIDDEN,
        **attributes,
    )
    shapes_of = {
        "every": [STEPS, directions, 1, HIDDEN],
        "last": [directions, 1, HIDDEN],
        "cell": [directions, 1, HIDDEN],
    }
    return graph_of(
        [node],
        [("x", FLOAT, [STEPS, 1, WIDTH])],
        [(name, FLOAT, shapes_of[name]) for name in outputs],
        **{name: value.astype(np.float32) for name, value in constants.items()},
    )


def rows(count: int = 6) -> np.ndarray:
    return np.random.default_rng(4).uniform(-1.5, 1.5, (count, STEPS * WIDTH)).round(3)


def operators(model: door.Model) -> set[str]:
    return {node.op_type for node in onnx.load_model_from_string(model.data).graph.node}


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_layer__every_direction__as_onnxruntime(
    tmp_path: Path, operator: str, states: bool, direction: str
) -> None:
    outputs = ("every", "last", "cell") if operator == "LSTM" else ("every", "last")
    model = layer(
        operator,
        directions=2 if direction == "bidirectional" else 1,
        states=states,
        outputs=outputs,
        direction=direction,
    )
    found = assert_same(model, tmp_path, rows(), *outputs)
    assert operator not in operators(found)


@pytest.mark.parametrize("states", [False, True])
def test_gru__reset_after_the_product__as_onnxruntime(tmp_path: Path, states: bool) -> None:
    model = layer("GRU", states=states, linear_before_reset=1)
    assert "GRU" not in operators(assert_same(model, tmp_path, rows()))


def test_layer__other_activations_and_no_bias__as_onnxruntime(tmp_path: Path) -> None:
    model = layer("LSTM", bias=False, activations=["Sigmoid", "Relu", "Tanh"])
    assert_same(model, tmp_path, rows())


@pytest.mark.parametrize("operator", GATES)
def test_layer__circuit_near_the_definition(tmp_path: Path, operator: str) -> None:
    found = assert_same(layer(operator, outputs=("last",)), tmp_path, rows())
    assert circuit_error(found, rows(), tmp_path) < 0.02


@pytest.mark.parametrize(
    "attributes",
    [{"clip": 3.0}, {"activations": ["HardSigmoid", "Tanh", "Tanh"], "activation_alpha": [0.3]}],
    ids=str,
)
def test_layer__what_is_rare__left_as_it_is(tmp_path: Path, attributes: dict[str, Any]) -> None:
    assert "LSTM" in operators(assert_same(layer("LSTM", **attributes), tmp_path, rows()))


def test_lstm__unfolded__two_thirds_of_the_rows(tmp_path: Path) -> None:
    """A clip that never takes part leaves the layer to the circuit compiler."""
    counts = []
    for attributes in ({}, {"clip": 1e6}):
        found = assert_same(layer("LSTM", outputs=("last",), **attributes), tmp_path, rows())
        path = tmp_path / "tagged.onnx"
        path.write_bytes(door.add_tag(found, TagLayout()))
        counts.append(shapes.survey(Graph(path, TagLayout(), SANDBOX), [1]).rows_of((1, False), 3))
    assert counts[0] < counts[1] * 2 / 3
