"""Reveal policies: what is published, by onnxruntime, by definition and by proof."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from oracle.circuits.build import build
from oracle.circuits.lowering import lower_core
from oracle.circuits.lowering.graph import prune
from oracle.circuits.onnx import Model, add_tag
from oracle.circuits.reveal import Reveal, apply
from oracle.circuits.srs import SrsSource
from oracle.errors import UsageError
from oracle.prover.base import memory_cap
from oracle.prover.local import LocalProver
from oracle.tensor import dequantize, quantize
from oracle.types import Proof, ProofJob, TagLayout
from tests.circuits.makers import TAG, linear, outcome, saved

POLICIES = ("top1", "topk:1", "topk:2", "topk:3", "threshold:0.5", "threshold:-1", "round:0")


def scores_model(count: int) -> Model:
    """A model whose scores are its inputs."""
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, count])
        for name in ("input", "revealed")
    ]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["input"], ["revealed"])], "g", tensors[:1], tensors[1:]
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return Model(proto.SerializeToString(), "input", "revealed", (1, count), takes_batches=True)


def run(model: Model, rows: np.ndarray) -> np.ndarray:
    """onnxruntime's outputs for all rows in one batch."""
    data = add_tag(model, TagLayout(), len(rows))
    onnx.checker.check_model(data, full_check=True)
    session = onnxruntime.InferenceSession(data)
    feeds = {model.input_name: rows.astype(np.float32), "tag": np.zeros((1, 5), np.float32)}
    return np.asarray(session.run([model.output_name], feeds)[0])


def defined(text: str, rows: np.ndarray) -> np.ndarray:
    """What the policy is defined to publish."""
    name, _, parameter = text.partition(":")
    if name == "threshold":
        return (rows >= float(parameter)).astype(float)
    if name == "round":
        return np.floor(rows * 10 ** int(parameter) + 0.5)
    best_first = np.argsort(-rows, axis=1, kind="stable")  # of equals the first stays first
    return best_first[:, : 1 if name == "top1" else int(parameter)].astype(float)


@pytest.mark.parametrize(
    "text", ["full", "top1", "topk:3", "threshold:0.5", "threshold:-2", "round:0", "round:6"]
)
def test_parse__a_policy__reads_back_as_written(text: str) -> None:
    assert str(Reveal.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "all",
        "top1:2",
        "full:",
        "topk",
        "topk:0",
        "topk:-1",
        "topk:x",
        "topk:1.5",
        "threshold",
        "threshold:",
        "threshold:nan",
        "threshold:1e9",
        "round:-1",
        "round:2.5",
    ],
)
def test_parse__no_policy__names_the_forms(text: str) -> None:
    with pytest.raises(UsageError, match="no reveal policy") as caught:
        Reveal.parse(text)
    assert "topk:K" in caught.value.line()


def test_parse__more_decimals_than_a_float_has__refused() -> None:
    with pytest.raises(UsageError, match="at most 6 decimals"):
        Reveal.parse("round:7")


def test_apply__full__the_model_itself() -> None:
    model = scores_model(3)
    assert apply(model, Reveal()) is model


@pytest.mark.parametrize("text", POLICIES)
@pytest.mark.parametrize("count", [3, 4, 5, 10])
def test_apply__many_ties_in_a_batch__each_row_as_defined(text: str, count: int) -> None:
    rows = np.random.default_rng(count).integers(-2, 3, size=(64, count)) / 2
    revealed = run(apply(scores_model(count), Reveal.parse(text)), rows)
    assert revealed.tolist() == defined(text, rows).tolist()


def test_apply__all_ranks__a_permutation() -> None:
    rows = np.random.default_rng(0).normal(size=(32, 6))
    revealed = run(apply(scores_model(6), Reveal.parse("topk:6")), rows)
    assert revealed.tolist() == defined("topk:6", rows).tolist()


def test_apply__one_score__threshold_and_round_only() -> None:
    rows = np.array([[0.25], [0.75]])
    for text in ("threshold:0.5", "round:1"):
        revealed = run(apply(scores_model(1), Reveal.parse(text)), rows)
        assert revealed.tolist() == defined(text, rows).tolist()
    for text in ("top1", "topk:1"):
        with pytest.raises(UsageError, match="needs 2 scores, the model has 1") as caught:
            apply(scores_model(1), Reveal.parse(text))
        assert "threshold" in caught.value.line()


def test_apply__more_ranks_than_scores__refused() -> None:
    with pytest.raises(UsageError, match="topk:4 needs 4 scores, the model has 3"):
        apply(scores_model(3), Reveal.parse("topk:4"))


@pytest.mark.parametrize("last", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_apply__order_of_scores_that_a_last_node_keeps__taken_before_it(last: str) -> None:
    model = scores_model(4)
    proto = onnx.load_model_from_string(model.data)
    proto.graph.node[0].op_type = last
    if last != "Sigmoid":
        proto.graph.node[0].attribute.append(helper.make_attribute("axis", -1))
    model = dataclasses.replace(model, data=proto.SerializeToString())
    rows = np.random.default_rng(0).normal(size=(32, 4))
    ranked = apply(model, Reveal.parse("topk:2"))
    assert run(ranked, rows).tolist() == defined("topk:2", rows).tolist()
    # 100 and 101 have the same sigmoid in float32.
    assert run(ranked, np.array([[100.0, 101, 0, 1]])).tolist() == [[1, 0]]
    nodes = {node.name: node for node in onnx.load_model_from_string(ranked.data).graph.node}
    assert not any(model.output_name in node.input for node in nodes.values())
    bits = apply(model, Reveal.parse("threshold:0.5"))
    nodes = {node.name: node for node in onnx.load_model_from_string(bits.data).graph.node}
    assert any(model.output_name in node.input for node in nodes.values())


def test_apply__rows_normalised_by_their_sum__order_taken_before() -> None:
    model = scores_model(3)
    proto = onnx.load_model_from_string(model.data)
    proto.graph.node[0].op_type = "Div"
    proto.graph.node[0].input.append("sum")
    proto.graph.node.insert(0, helper.make_node("Abs", ["input"], ["size"]))
    proto.graph.node.insert(1, helper.make_node("ReduceSum", ["size", "axes"], ["sum"]))
    proto.graph.initializer.append(helper.make_tensor("axes", TensorProto.INT64, [1], [1]))
    rows = np.abs(np.random.default_rng(0).normal(size=(32, 3)))
    model = dataclasses.replace(model, data=proto.SerializeToString())
    ranked = apply(model, Reveal.parse("top1"))
    assert run(ranked, rows).tolist() == defined("top1", rows).tolist()
    graph = onnx.load_model_from_string(ranked.data).graph
    assert [node.op_type for node in graph.node if "input" in node.input][-1] == "Gather"


def lowered_softmax(axis: int) -> Model:
    """`scores_model` after a softmax, as the rules write it."""
    model = scores_model(3)
    proto = onnx.load_model_from_string(model.data)
    proto.graph.node[0].op_type = "Softmax"
    proto.graph.node[0].attribute.append(helper.make_attribute("axis", axis))
    if axis != 0:
        lower_core(proto)
    return dataclasses.replace(model, data=proto.SerializeToString())


def test_apply__softmax_that_was_lowered__order_taken_before_it() -> None:
    ranked = apply(lowered_softmax(1), Reveal.parse("top1"))
    assert run(ranked, np.array([[100.0, 101, 0]])).tolist() == [[1]]
    graph = onnx.load_model_from_string(ranked.data).graph
    prune(graph)
    assert "Exp" not in {node.op_type for node in graph.node}


def test_apply__one_row_subtracted_from_the_batch__not_taken_for_the_greatest() -> None:
    model = lowered_softmax(1)
    proto = onnx.load_model_from_string(model.data)
    for node in proto.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Gather" and attribute.name == "axis":
                attribute.i = 0
    graph = onnx.load_model_from_string(
        apply(dataclasses.replace(model, data=proto.SerializeToString()), Reveal.parse("top1")).data
    ).graph
    prune(graph)
    assert "Sub" in {node.op_type for node in graph.node if node.name.startswith("lowered")}


def test_apply__softmax_over_the_batch__not_taken_for_one_over_the_row() -> None:
    model = scores_model(3)
    proto = onnx.load_model_from_string(model.data)
    proto.graph.node[0].op_type = "Softmax"
    proto.graph.node[0].attribute.append(helper.make_attribute("axis", 0))
    model = dataclasses.replace(model, data=proto.SerializeToString())
    graph = onnx.load_model_from_string(apply(model, Reveal.parse("top1")).data).graph
    assert any(node.input[0] == model.output_name for node in graph.node)


NUMBERS = st.integers(-16, 16).map(lambda value: value / 8)


@settings(max_examples=300)
@given(
    text=st.sampled_from(["full", *POLICIES, "round:1"]),
    scores=st.lists(NUMBERS, min_size=3, max_size=6),
    offsets=st.lists(st.integers(-4, 4).map(lambda value: value / 16), min_size=6, max_size=6),
)
def test_error__scores_that_are_off__no_more_than_they_are_off(
    text: str, scores: list[float], offsets: list[float]
) -> None:
    exact = np.array([scores])
    used = exact + np.array(offsets[: len(scores)])
    revealed = used if text == "full" else defined(text, used)
    found = Reveal.parse(text).error(exact, revealed)
    assert found <= np.abs(used - exact).max() + 1e-12
    if text != "full" and revealed.tolist() == defined(text, exact).tolist():
        assert found == 0


@pytest.mark.parametrize(
    ("text", "revealed", "error"),
    [
        ("full", [0.9, 0.2, 0.1], 0.1),
        ("top1", [1], 0.3),
        ("topk:2", [0, 2], 0.05),
        ("threshold:0.5", [1, 1, 0], 0.3),
        ("threshold:0.5", [0, 0, 0], 0.3),
        ("round:1", [8, 2, 3], 0.15),
        ("topk:2", [0, 0], np.inf),
    ],
)
def test_error__what_the_scores_lack(text: str, revealed: list[float], error: float) -> None:
    scores = np.array([[0.8, 0.2, 0.1]])
    assert Reveal.parse(text).error(scores, np.array([revealed])) == pytest.approx([error])


@pytest.mark.parametrize("text", POLICIES)
def test_answers__of_exact_scores__as_defined_and_off_by_nothing(text: str) -> None:
    # Of few values, so that there are ties and scores at the edge.
    scores = np.random.default_rng(4).integers(-4, 5, (400, 5)) / 4
    reveal = Reveal.parse(text)
    answers = reveal.answers(scores)
    assert answers.tolist() == defined(text, scores).tolist()
    assert not reveal.error(scores, answers).any()


@pytest.mark.parametrize("revealed", [[[3.0], [0.0]], [[-1.0], [0.0]], [[1e9], [0.0]]])
def test_error__no_such_index__is_as_wrong_as_can_be(revealed: list[list[float]]) -> None:
    scores = np.array([[0.2, 0.1, 0.0]] * 2)
    assert Reveal.parse("top1").error(scores, np.array(revealed)).tolist() == [np.inf, 0]
    both = np.array([[0.0, 0.0], [0.0, 1.0]])
    assert Reveal.parse("topk:2").error(scores, both).tolist() == [np.inf, 0]


@pytest.mark.parametrize("text", ["top1", "topk:2", "threshold:0.25", "round:1"])
def test_build__a_policy__proofs_publish_it_for_every_row_of_a_batch(
    text: str, tmp_path: Path, devnet_srs: SrsSource
) -> None:
    rng = np.random.default_rng(1)
    policy = Reveal.parse(text)
    bundle = build(
        saved(linear("Identity"), tmp_path),
        rng.uniform(-1, 1, size=(16, 2)),
        name="small",
        max_error=0.05,
        out=tmp_path / "bundle",
        srs=devnet_srs,
        batches=(2,),
        reveal=policy,
    )
    rows = np.array([[0.75, -0.5], [-0.25, 0.5]])
    scores = rows @ np.array([[0.5, -1.0], [1.5, 0.25]])
    inputs = tuple(quantize(value, bundle.spec.input.scale) for value in rows.ravel().tolist())
    prover = LocalProver(tmp_path / "jobs")
    try:
        circuit = bundle.fitting(2).circuit
        prover.submit(ProofJob("two", circuit, inputs, TAG, 60, memory_cap(circuit)))
        proof = outcome(prover).result
    finally:
        prover.close()
    assert isinstance(proof, Proof), proof
    revealed = [dequantize(value, bundle.spec.output.scale) for value in proof.outputs]
    assert revealed == defined(text, scores).ravel().tolist()
    assert bundle.spec.output.length == policy.length(2)
