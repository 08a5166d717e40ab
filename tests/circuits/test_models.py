"""The committed demo model is what its training script makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import load_model
from onnx.reference import ReferenceEvaluator

from oracle.circuits.build import reference
from oracle.circuits.bundle import Bundle
from oracle.config import project_root
from scripts.models.train_iris import Split, split


@pytest.fixture(scope="module")
def data() -> Split:
    return split()


def accuracy(model: Path, data: Split) -> float:
    (logits,) = ReferenceEvaluator(load_model(model)).run(None, {"input": data.test_inputs})
    return float((logits.argmax(axis=1) == data.test_labels).mean())


def test_committed_model__held_out_flowers__classified(iris_onnx: Path, data: Split) -> None:
    assert accuracy(iris_onnx, data) >= 0.93


def test_committed_samples__are_the_training_rows(iris_samples: np.ndarray, data: Split) -> None:
    assert np.array_equal(iris_samples, data.train_inputs)


def test_retraining__as_accurate_as_the_committed_model(
    iris_onnx: Path, iris_samples: np.ndarray, data: Split, tmp_path: Path
) -> None:
    script = project_root() / "scripts" / "models" / "train_iris.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, timeout=120)
    retrained = accuracy(tmp_path / "iris.onnx", data)
    # Optimizers differ in the last bits between machines, so weights need not be equal.
    assert retrained >= accuracy(iris_onnx, data) - 1 / len(data.test_labels)
    assert np.array_equal(np.load(tmp_path / "iris_samples.npy"), iris_samples)


def test_reference__of_the_bundled_model__same_as_the_committed_one(
    iris_bundle: Bundle, iris_onnx: Path, data: Split
) -> None:
    (expected,) = ReferenceEvaluator(load_model(iris_onnx)).run(None, {"input": data.test_inputs})
    assert reference(iris_bundle, data.test_inputs) == pytest.approx(expected, abs=1e-4)
