"""Features of very different size: every promised input proves, as at its feature's limit."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from sklearn.datasets import load_wine

from oracle import tensor
from oracle.circuits import bundle as files
from oracle.circuits.audit import audit
from oracle.circuits.build import LIMITS, build
from oracle.circuits.bundle import Bundle
from oracle.circuits.clamp import clamp
from oracle.circuits.onnx import Model
from oracle.circuits.ranges import each_feature
from oracle.circuits.row import Range
from oracle.circuits.srs import SrsSource
from oracle.cli.model import _show as show
from oracle.cli.model import _summary as summary
from oracle.prover.local import LocalProver
from oracle.types import Proof
from tests.circuits.makers import job, linear, outcome

#: Hue, about 1, and proline, up to 1,680; as float32 numbers.
DATA, _ = load_wine(return_X_y=True)
SAMPLES = DATA[::3, [10, 12]].astype(np.float32).astype(np.float64)
MAX_ERROR = 0.1


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rates, exponentials of what a scaler makes of raw data: they grow without end."""
    constants = {
        "mean": SAMPLES.mean(axis=0),
        "scale": 1 / SAMPLES.std(axis=0),
        "weights": np.array([[0.3, -0.2], [0.2, 0.3]]),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Sub", ["X", "mean"], ["centred"]),
            helper.make_node("Mul", ["centred", "scale"], ["scaled"]),
            helper.make_node("MatMul", ["scaled", "weights"], ["logs"]),
            helper.make_node("Exp", ["logs"], ["rates"]),
        ],
        "rates",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("rates", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("raw") / "rates.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def built(pipeline: Path, out: Path, srs: SrsSource) -> tuple[Bundle, list[str]]:
    steps: list[str] = []
    bundle = build(
        pipeline,
        SAMPLES,
        name="rates",
        max_error=MAX_ERROR,
        out=out,
        srs=srs,
        progress=steps.append,
    )
    return bundle, steps


@pytest.fixture(scope="module")
def raw(
    pipeline: Path, tmp_path_factory: pytest.TempPathFactory, devnet_srs: SrsSource
) -> tuple[Bundle, list[str]]:
    return built(pipeline, tmp_path_factory.mktemp("raw") / "bundle", devnet_srs)


def limited(bundle: Bundle) -> tuple[np.ndarray, np.ndarray]:
    limits = np.array([(each.low, each.high) for each in bundle.origin.limits])
    return limits[:, 0], limits[:, 1]


def rates(pipeline: Path, rows: np.ndarray) -> np.ndarray:
    """Of the publisher's own file under onnxruntime."""
    session = onnxruntime.InferenceSession(str(pipeline))
    return session.run(["rates"], {"X": rows.astype(np.float32)})[0]


def proved(bundle: Bundle, rows: np.ndarray, folder: Path) -> np.ndarray:
    spec, prover, outputs = bundle.spec, LocalProver(folder), []
    try:
        for row in rows.tolist():
            inputs = tensor.unpack(tensor.encode(row, spec.input), spec.input)
            prover.submit(job(bundle, inputs=inputs))
            proof = outcome(prover).result
            assert isinstance(proof, Proof), proof
            outputs.append([tensor.dequantize(v, spec.output.scale) for v in proof.outputs])
    finally:
        prover.close()
    return np.array(outputs)


@pytest.mark.timeout(300)
def test_build__scaler_on_raw_data__limits_features_and_says_so(
    raw: tuple[Bundle, list[str]],
) -> None:
    bundle, steps = raw
    assert any("limiting each feature" in step for step in steps)
    assert bundle.origin.limits == each_feature(SAMPLES)
    assert bundle.measures.max_abs_error <= MAX_ERROR
    manifest = json.loads((bundle.path / files.MANIFEST).read_text())
    assert len(manifest["origin"]["limits"]) == 2
    # What the contract checks is wider than what the small feature is limited to.
    _, highest = limited(bundle)
    assert tensor.dequantize(bundle.spec.input.maximum, bundle.spec.input.scale) > 1000 * highest[0]


@pytest.mark.timeout(300)
def test_prove__input_far_beyond_a_feature__answer_of_its_limit(
    raw: tuple[Bundle, list[str]], pipeline: Path, tmp_path: Path
) -> None:
    bundle, _ = raw
    spec = bundle.spec.input
    low, high = (tensor.dequantize(v, spec.scale) for v in (spec.minimum, spec.maximum))
    proline = float(SAMPLES[0, 1])
    rows = np.array([[high, proline], [low, proline], [high, low], [high, high], SAMPLES[0]])
    at_limits = rates(pipeline, np.clip(rows, *limited(bundle)))
    assert proved(bundle, rows, tmp_path) == pytest.approx(at_limits, abs=MAX_ERROR)
    # Without limits the answer would be another one.
    assert np.abs(at_limits - rates(pipeline, rows)).max() > 1


@pytest.mark.timeout(300)
def test_build__limited_twice__same_bytes_and_audit_makes_it_again(
    raw: tuple[Bundle, list[str]], pipeline: Path, devnet_srs: SrsSource, tmp_path: Path
) -> None:
    bundle, _ = raw
    again, _ = built(pipeline, tmp_path / "again", devnet_srs)
    assert again.bundle_id == bundle.bundle_id
    for file in (files.MODEL, files.SETTINGS, files.VERIFYING_KEY, files.SOLIDITY):
        assert (again.path / file).read_bytes() == (bundle.path / file).read_bytes()
    assert audit(again.path, devnet_srs, LIMITS, source=pipeline).differences == ()
    # Other limits are another model.
    manifest = json.loads((again.path / files.MANIFEST).read_text())
    manifest["origin"]["limits"][0]["low"] -= 1
    (again.path / files.MANIFEST).write_text(json.dumps(manifest))
    found = audit(again.path, devnet_srs, LIMITS, source=pipeline).differences
    assert [check.subject for check in found] == [f"{files.MODEL} made again from it"]


def test_summary__limited_features__shown_and_in_the_json(raw: tuple[Bundle, list[str]]) -> None:
    bundle, _ = raw
    console = Console(file=io.StringIO(), record=True)
    show(console, bundle)
    assert "each of 2 features is limited" in console.export_text()
    stated = json.loads(json.dumps(summary(bundle)))["origin"]["limits"]
    assert [Range(**each) for each in stated] == list(each_feature(SAMPLES))


def test_summary__other_labels_and_tabled_roots__say_so(raw: tuple[Bundle, list[str]]) -> None:
    bundle, _ = raw
    (circuit, *rest) = bundle.circuits
    measures = dataclasses.replace(circuit.measures, label_agreement=0.9)
    origin = dataclasses.replace(bundle.origin, tabled=True, max_error=0.25)
    circuits = (dataclasses.replace(circuit, measures=measures), *rest)
    console = Console(file=io.StringIO(), record=True)
    show(console, dataclasses.replace(bundle, circuits=circuits, origin=origin))
    shown = console.export_text()
    assert "a smaller --max-error than 0.25" in shown
    assert "square roots and reciprocals are looked up" in shown


@pytest.mark.parametrize(
    ("named", "reveal", "words"),
    [
        (("a", "b"), "full", "label agreement"),
        ((), "full", "same output the greatest: 90.0%"),
        ((), "top1", "label agreement"),
    ],
    ids=["classes", "numbers", "indices"],
)
def test_summary__of_numbers_that_nobody_named__speaks_of_no_label(
    raw: tuple[Bundle, list[str]], named: tuple[str, ...], reveal: str, words: str
) -> None:
    bundle, _ = raw
    (circuit, *rest) = bundle.circuits
    measures = dataclasses.replace(circuit.measures, label_agreement=0.9)
    origin = dataclasses.replace(bundle.origin, labels=named, reveal=reveal)
    circuits = (dataclasses.replace(circuit, measures=measures), *rest)
    console = Console(file=io.StringIO(), record=True)
    show(console, dataclasses.replace(bundle, circuits=circuits, origin=origin))
    shown = console.export_text()
    assert words in shown
    assert ("label agreement" in words) == ("label agreement" in shown)


def test_clamp__rows_inside_and_outside__float_graph_of_the_clipped_rows() -> None:
    proto = linear("Relu")
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(1), "limited1"))
    model = Model(proto.SerializeToString(), "input", "output", (1, 2), takes_batches=True)
    limits = (Range(-1.0, 0.5), Range(10.0, 10.25))
    rows = np.array([[0.25, 10.1], [-7, 0], [9, 90], [0.5, 10]], dtype=np.float32)
    found, expected = (
        onnxruntime.InferenceSession(data).run(None, {"input": inputs})[0]
        for data, inputs in (
            (clamp(model, limits).data, rows),
            (model.data, np.clip(rows, [-1, 10], [0.5, 10.25]).astype(np.float32)),
        )
    )
    assert found == pytest.approx(expected, abs=2**-15)


def test_clamp__no_limits__the_same_model() -> None:
    proto = onnx.load_model_from_string(linear().SerializeToString())
    model = Model(proto.SerializeToString(), "input", "output", (1, 2), takes_batches=True)
    assert clamp(model, ()) is model


def test_each_feature__samples__own_range_and_a_quarter_more() -> None:
    samples = np.array([[0.0, 5.0], [4.0, 5.0]])
    assert each_feature(samples) == (Range(-1.0, 5.0), Range(5.0, 5.0))
