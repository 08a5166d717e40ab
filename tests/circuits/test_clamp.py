"""Features of very different size: every promised input proves, as at its feature's limit."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from rich.console import Console
from skl2onnx import to_onnx
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from oracle import tensor
from oracle.circuits import bundle as files
from oracle.circuits.audit import audit
from oracle.circuits.build import LIMITS, build
from oracle.circuits.bundle import Bundle
from oracle.circuits.clamp import clamp
from oracle.circuits.onnx import Model
from oracle.circuits.ranges import each_feature
from oracle.circuits.reveal import Reveal
from oracle.circuits.row import Range
from oracle.circuits.srs import SrsSource
from oracle.cli.model import _show as show
from oracle.cli.model import _summary as summary
from oracle.prover.local import LocalProver
from oracle.types import Proof
from tests.circuits.makers import job, linear, outcome

#: Hue, about 1, and proline, up to 1,680; as float32 numbers.
DATA, LABELS = load_wine(return_X_y=True)
SAMPLES = DATA[::3, [10, 12]].astype(np.float32).astype(np.float64)
MAX_ERROR = 0.1


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scaler and a logistic regression on raw data, as scikit-learn exports them."""
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(SAMPLES, LABELS[::3])
    path = tmp_path_factory.mktemp("raw") / "cancer.onnx"
    path.write_bytes(
        to_onnx(
            model, SAMPLES[:1].astype(np.float32), options={"zipmap": False}, target_opset=17
        ).SerializeToString()
    )
    return path


def built(pipeline: Path, out: Path, srs: SrsSource) -> tuple[Bundle, list[str]]:
    steps: list[str] = []
    bundle = build(
        pipeline,
        SAMPLES,
        name="cancer",
        max_error=MAX_ERROR,
        out=out,
        srs=srs,
        reveal=Reveal.parse("top1"),
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


def labels(pipeline: Path, rows: np.ndarray) -> list[int]:
    """Of the publisher's own file under onnxruntime."""
    session = onnxruntime.InferenceSession(str(pipeline))
    return session.run(["label"], {"X": rows.astype(np.float32)})[0].tolist()


def proved(bundle: Bundle, rows: np.ndarray, folder: Path) -> list[int]:
    spec, prover, outputs = bundle.spec, LocalProver(folder), []
    try:
        for row in rows.tolist():
            inputs = tensor.unpack(tensor.encode(row, spec.input), spec.input)
            prover.submit(job(bundle, inputs=inputs))
            proof = outcome(prover).result
            assert isinstance(proof, Proof), proof
            outputs.extend(proof.outputs)
    finally:
        prover.close()
    return outputs


@pytest.mark.timeout(300)
def test_build__scaler_on_raw_data__limits_features_and_says_so(
    raw: tuple[Bundle, list[str]],
) -> None:
    bundle, steps = raw
    assert any("limiting each feature" in step for step in steps)
    assert bundle.origin.limits == each_feature(SAMPLES)
    assert bundle.measures.max_abs_error <= MAX_ERROR
    assert bundle.measures.label_agreement == 1.0
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
    at_limits = labels(pipeline, np.clip(rows, *limited(bundle)))
    assert proved(bundle, rows, tmp_path) == at_limits
    # Without limits the answer would be another one.
    assert at_limits != labels(pipeline, rows)


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


def test_clamp__rows_inside_and_outside__float_graph_of_the_clipped_rows() -> None:
    proto = linear("Sigmoid")
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
