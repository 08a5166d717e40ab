"""The zoo that circuits are measured on: made anew each time, always the same, all of it usable."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from oracle.circuits import onnx, trial
from oracle.circuits.build import LIMITS, build
from oracle.circuits.srs import SrsSource
from oracle.config import project_root
from oracle.prover.sandbox import Sandbox
from scripts.models import zoo

PRINT_HASHES = """
import hashlib
from scripts.models.zoo import zoo
for model in zoo():
    digest = hashlib.sha256(model.onnx + model.samples.tobytes()).hexdigest()
    print("sha256", model.name, digest, model.max_error)
"""


@pytest.fixture(scope="module")
def models() -> dict[str, zoo.ZooModel]:
    return {model.name: model for model in zoo.zoo()}


@pytest.fixture(params=list(zoo.MAKERS))
def model(models: dict[str, zoo.ZooModel], request: pytest.FixtureRequest) -> zoo.ZooModel:
    return models[request.param]


def test_zoo__at_least_thirty_models__no_two_the_same(models: dict[str, zoo.ZooModel]) -> None:
    assert len(models) >= 30
    assert len({model.onnx for model in models.values()}) == len(models)


def test_zoo__made_by_another_process__same_bytes(models: dict[str, zoo.ZooModel]) -> None:
    script = [sys.executable, "-W", "ignore", "-c", PRINT_HASHES]
    printed = subprocess.run(
        script, check=True, capture_output=True, text=True, cwd=project_root(), timeout=240
    ).stdout
    # Training libraries print too.
    lines = [line for line in printed.splitlines() if line.startswith("sha256 ")]
    assert lines == [
        f"sha256 {model.name} {hashlib.sha256(model.onnx + model.samples.tobytes()).hexdigest()} "
        f"{model.max_error}"
        for model in models.values()
    ]


def test_model__loaded__onnxruntime_answers_every_sample(
    model: zoo.ZooModel, tmp_path: Path
) -> None:
    sandbox = Sandbox(LIMITS)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.onnx)
    loaded = onnx.load(path, sandbox)
    assert model.samples.shape[1] == loaded.input_length
    path.write_bytes(loaded.data)
    rows = model.samples.astype(np.float64)
    outputs = trial.reference(path, loaded.input_name, loaded.output_name, rows, sandbox)
    assert len(outputs) == len(rows)
    assert np.isfinite(outputs).all()
    # A bound that exceeds what the model says would prove nothing.
    assert model.max_error < np.ptp(outputs) / 4


def test_model__of_the_zoo__builds_within_its_bound(
    models: dict[str, zoo.ZooModel], devnet_srs: SrsSource, tmp_path: Path
) -> None:
    model = models["leaky_relu"]
    path = tmp_path / "model.onnx"
    path.write_bytes(model.onnx)
    bundle = build(
        path,
        model.samples,
        name=model.name,
        max_error=model.max_error,
        out=tmp_path / "bundle",
        srs=devnet_srs,
    )
    assert bundle.measures.max_abs_error <= model.max_error
    assert bundle.measures.verify_gas > 0
