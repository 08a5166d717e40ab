"""What can be said of a model without building it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from oracle.circuits.build import LIMITS
from oracle.circuits.inspect import Tensor, inspect
from oracle.circuits.reveal import Reveal
from oracle.cli.model import app
from oracle.errors import ModelMalformed, ModelUnsupported, UsageError
from oracle.prover.sandbox import Sandbox
from tests.circuits.makers import linear, saved, single_node

SANDBOX = Sandbox(LIMITS)


class Asked(Sandbox):
    """Counts the layouts that the compiler is asked for; starts anew with each object."""

    layouts = 0

    def __post_init__(self) -> None:
        Asked.layouts = 0

    def run(self, verb: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if verb == "settings":
            Asked.layouts += len(params["run_args"])
        return super().run(verb, params)


def test_inspect__small_model__what_it_holds_and_what_it_would_cost(tmp_path: Path) -> None:
    found = inspect(saved(linear(), tmp_path), SANDBOX, batches=(1, 4))
    assert found.given.operators == {"MatMul": 1, "Relu": 1}
    assert found.given.parameters == 4
    assert found.given.inputs == (Tensor("input", "float", ("batch", 2)),)
    assert found.given.opsets == {"ai.onnx": 17}
    assert found.refusal == ""
    assert found.provable is not None
    assert (found.provable.input_length, found.provable.output_length) == (2, 2)
    assert found.provable.takes_batches
    best = {(each.size, each.objective.value): each for each in found.provable.estimates}
    assert set(best) == {(n, o) for n in (1, 4) for o in ("gas", "latency", "balanced")}
    assert best[1, "gas"].cost.gas < best[1, "latency"].cost.gas
    assert best[1, "latency"].cost.prove_seconds < best[1, "gas"].cost.prove_seconds
    assert best[1, "gas"].cost.gas < best[4, "gas"].cost.gas < 4 * best[1, "gas"].cost.gas
    assert not any(each.problem for each in found.provable.estimates)


def test_inspect__reveal_policy__is_part_of_what_would_be_proved(tmp_path: Path) -> None:
    found = inspect(saved(linear(), tmp_path), SANDBOX, reveal=Reveal.parse("top1"))
    assert found.provable is not None
    assert found.provable.output_length == 1
    assert "Less" in found.provable.graph.operators
    assert "Less" not in found.given.operators


def test_inspect__operators_of_other_domains__named_and_what_became_of_them(
    tmp_path: Path,
) -> None:
    scaler = single_node("Scaler", domain="ai.onnx.ml", offset=[1.0] * 4, scale=[2.0] * 4)
    found = inspect(saved(scaler, tmp_path), SANDBOX)
    assert found.given.operators == {"ai.onnx.ml.Scaler": 1}
    assert found.given.parameters == 8
    assert found.rewritten == ("ai.onnx.ml.Scaler",)
    assert found.provable is not None
    assert not any("ai.onnx.ml" in name for name in found.provable.graph.operators)


def test_inspect__operator_that_cannot_be_proved__refused_with_its_node_but_described(
    tmp_path: Path,
) -> None:
    found = inspect(saved(single_node("Bernoulli"), tmp_path), SANDBOX)
    assert found.provable is None
    assert "operator Bernoulli (node 'the_node')" in found.refusal
    assert found.refusal.startswith(ModelUnsupported.code)
    assert found.given.operators == {"Bernoulli": 1}


def test_inspect__too_little_memory__said_before_any_key_is_made(tmp_path: Path) -> None:
    small = Sandbox(dataclasses.replace(LIMITS, memory_bytes=1 << 30))
    weights = np.ones((256, 2048), dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["input", "weights"], ["wide"]),
            helper.make_node("Tanh", ["wide"], ["output"]),
        ],
        "wide",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 256])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 2048])],
        initializer=[numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = inspect(saved(model, tmp_path), small)
    assert found.provable is not None
    for each in found.provable.estimates:
        assert "of memory, 1,024 are there: use a smaller model" in each.problem


def test_inspect__more_products_than_any_circuit_has__refused_before_any_layout(
    tmp_path: Path,
) -> None:
    weights = np.zeros((64, 3, 9, 9), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "weights"], ["output"])],
        "large",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 40, 40])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 64, 32, 32])],
        initializer=[numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = inspect(saved(model, tmp_path), Asked(LIMITS))
    assert "its convolutions multiply 15,925,248 times" in found.refusal
    assert Asked.layouts == 0


def test_inspect__graph_of_many_nodes__laid_out_with_one_multiplier(tmp_path: Path) -> None:
    model = single_node("Neg")
    names = ["input", *(f"x{i}" for i in range(500)), "output"]
    nodes = [helper.make_node("Neg", [a], [b]) for a, b in itertools.pairwise(names)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert inspect(saved(model, tmp_path), Asked(LIMITS)).provable is not None
    many = Asked.layouts
    assert inspect(saved(single_node("Neg"), tmp_path), Asked(LIMITS)).provable is not None
    assert many < Asked.layouts


def test_inspect__names_with_control_characters__made_printable(tmp_path: Path) -> None:
    model = linear()
    model.graph.node[1].output[0] = model.graph.output[0].name = "\x1b[31mred"
    found = inspect(saved(model, tmp_path), SANDBOX)
    assert found.given.outputs[0].name == "?[31mred"


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x08\x3a\xff\xff\xff\xff\x0f"])
def test_inspect__no_model__malformed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelMalformed):
        inspect(tmp_path / "model.onnx", SANDBOX)


def test_inspect__no_file__malformed(tmp_path: Path) -> None:
    with pytest.raises(ModelMalformed, match="No such file"):
        inspect(tmp_path / "model.onnx", SANDBOX)


def test_inspect__output_that_is_not_there__usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no output 'label'"):
        inspect(saved(linear(), tmp_path), SANDBOX, outputs=("label",))


def inspected(model: onnx.ModelProto, folder: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["inspect", str(saved(model, folder)), *options])
    return result.exit_code, result.stdout


def test_command__json__everything_in_one_object(tmp_path: Path) -> None:
    code, text = inspected(linear(), tmp_path, "--json", "--batch", "1,2")
    values = json.loads(text)
    assert code == 0
    assert values["given"]["operators"] == {"MatMul": 1, "Relu": 1}
    assert [each["size"] for each in values["provable"]["estimates"]] == [1, 1, 1, 2, 2, 2]
    assert values["provable"]["estimates"][0]["cost"]["gas"] > 200_000


def test_command__refused_model__described_and_exit_code_2(tmp_path: Path) -> None:
    code, text = inspected(single_node("Bernoulli"), tmp_path)
    assert code == 2
    assert "1 Bernoulli" in text
    assert "cannot be proved" in text


def test_inspect__more_inputs_than_a_transaction_verifies__refused_at_once(tmp_path: Path) -> None:
    found = inspect(saved(single_node("Relu", shape=("batch", 20_000)), tmp_path), SANDBOX)
    assert found.provable is None
    assert "20,000 inputs" in found.refusal
    assert "one transaction may use 16,777,216" in found.refusal
    assert inspect(saved(single_node("Relu", shape=("batch", 500)), tmp_path), SANDBOX).provable
