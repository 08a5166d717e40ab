"""Small constants of several sums stay what they are at the scale of each sum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from oracle.circuits import trial
from oracle.circuits.lowering import summands
from oracle.circuits.onnx import Model, add_tag
from oracle.circuits.shapes import roomy
from oracle.types import TagLayout
from tests.circuits.lowered import FLOAT, SANDBOX, graph_of, loaded

TAG = TagLayout()
SAMPLES = np.random.default_rng(1).uniform(-1, 1, (8, 4))


def node(operator: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], name=output, **attributes)


def normalised(folder: Path, *, written_out: bool) -> Model:
    """Two layer norms of one epsilon, as an operator or as older exporters write it."""
    nodes = []
    for before, after in (("x", "one"), ("one", "y")):
        if not written_out:
            nodes.append(node("LayerNormalization", f"{before} scale bias", after, axis=-1))
            continue
        nodes += [
            node("ReduceMean", before, f"{after}-m", axes=[-1]),
            node("Sub", f"{before} {after}-m", f"{after}-c"),
            node("Mul", f"{after}-c {after}-c", f"{after}-s"),
            node("ReduceMean", f"{after}-s", f"{after}-v", axes=[-1]),
            node("Add", f"{after}-v epsilon", f"{after}-e"),
            node("Sqrt", f"{after}-e", f"{after}-r"),
            node("Div", f"{after}-c {after}-r", f"{after}-d"),
            node("Add", f"{after}-d bias", after),
        ]
    constants = {
        "scale": np.array([1, 0.5, 1.5, 1], np.float32),
        "bias": np.array([0.2, -0.1, 0.3, -0.4], np.float32),
        "epsilon": np.float32(1e-5),
    }
    if written_out:
        del constants["scale"]
    else:
        del constants["epsilon"]
    shapes = ([("x", FLOAT, ["batch", 4])], [("y", FLOAT, ["batch", 4])])
    return loaded(graph_of(nodes, *shapes, **constants), folder, SAMPLES)


@pytest.mark.parametrize("written_out", [True, False], ids=["written out", "an operator"])
def test_epsilon_of_two_norms__equal_numbers__have_a_proof(
    tmp_path: Path, *, written_out: bool
) -> None:
    model = normalised(tmp_path, written_out=written_out)
    path = (tmp_path / "tagged.onnx").resolve()
    path.write_bytes(add_tag(model, TAG))
    rows = np.vstack([np.zeros(4), np.full(4, 0.75)])
    # A variance of zero, and an epsilon that the weights' eight bits do not hold.
    found = trial.sketch(trial.Graph(path, TAG, SANDBOX), roomy(2).run_args(8), rows)
    assert found.complete


def test_part__sums_with_one_small_number__as_many_constants() -> None:
    small = np.array([1e-5], np.float32)
    graph = helper.make_graph(
        [
            node("Add", "x small", "a"),
            node("Add", "a other", "b"),
            node("Sub", "small b", "c"),
            node("Add", "c large", "d"),
            node("Add", "d large", "e"),
            node("Mul", "e small", "y"),
        ],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", FLOAT, [1, 4])],
        [
            numpy_helper.from_array(small, "small"),
            numpy_helper.from_array(small[np.newaxis], "other"),
            numpy_helper.from_array(np.array([0.5], np.float32), "large"),
        ],
    )
    summands.part(graph)
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    names = [graph.node[0].input[1], graph.node[1].input[1], graph.node[2].input[0]]
    numbers = [float(constants[name].flat[0]) for name in names]
    assert len(set(numbers)) == 3
    assert numbers == pytest.approx([1e-5] * 3, rel=1e-6)
    assert constants[names[1]].shape == (1, 1)
    assert [graph.node[i].input[1] for i in (3, 4, 5)] == ["large", "large", "small"]
