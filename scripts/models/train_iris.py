"""Train the demo model on scikit-learn's iris data and export it to ONNX.

Writes ``iris.onnx`` and ``iris_samples.npy`` (the training rows, float32 [105, 4]; calibration
data for the circuit) into a folder, this script's own by default. Deterministic: the same
scikit-learn and numpy give the same bytes.

    python scripts/models/train_iris.py [FOLDER]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

SEED = 7
HIDDEN = (16, 16)
#: Written into the file; tract, ezkl's reader, is tested up to opset 18.
OPSET = 17
IR_VERSION = 8

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Split:
    """Iris, stratified: 105 rows to train and calibrate, 45 held out."""

    train_inputs: Floats
    train_labels: npt.NDArray[np.int64]
    test_inputs: Floats
    test_labels: npt.NDArray[np.int64]


def split() -> Split:
    """The data as the committed model saw it."""
    inputs, labels = load_iris(return_X_y=True)
    train_inputs, test_inputs, train_labels, test_labels = train_test_split(
        inputs.astype(np.float32), labels, test_size=0.3, random_state=SEED, stratify=labels
    )
    return Split(train_inputs, train_labels, test_inputs, test_labels)


def train(data: Split) -> onnx.ModelProto:
    """A 4-16-16-3 ReLU network; input ``input`` [batch, 4] in centimetres, output ``logits``."""
    scaler = StandardScaler().fit(data.train_inputs)
    network = MLPClassifier(HIDDEN, alpha=1e-2, solver="lbfgs", max_iter=500, random_state=SEED)
    network.fit(scaler.transform(data.train_inputs), data.train_labels)
    # (x - mean) / std @ W + b == x @ (W / std) + (b - mean / std @ W): no scaler in the circuit.
    weights, biases = list(network.coefs_), list(network.intercepts_)
    biases[0] = biases[0] - (scaler.mean_ / scaler.scale_) @ weights[0]
    weights[0] = weights[0] / scaler.scale_[:, None]
    return _export(weights, biases)


def _export(
    weights: list[npt.NDArray[np.float64]], biases: list[npt.NDArray[np.float64]]
) -> onnx.ModelProto:
    nodes, constants, current = [], [], "input"
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        last = index == len(weights) - 1
        for name, value in ((f"weight{index}", weight), (f"bias{index}", bias)):
            constants.append(numpy_helper.from_array(value.astype(np.float32), name))
        target = "logits" if last else f"sum{index}"
        nodes.append(
            helper.make_node(
                "Gemm", [current, f"weight{index}", f"bias{index}"], [target], name=f"gemm{index}"
            )
        )
        current = target
        if not last:
            nodes.append(helper.make_node("Relu", [current], [f"relu{index}"], name=f"relu{index}"))
            current = f"relu{index}"
    graph = helper.make_graph(
        nodes,
        "iris",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", weights[0].shape[0]])],
        [
            helper.make_tensor_value_info(
                "logits", TensorProto.FLOAT, ["batch", weights[-1].shape[1]]
            )
        ],
        initializer=constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def main(folder: Path) -> None:
    """Train, then write the model and the calibration rows."""
    data = split()
    (folder / "iris.onnx").write_bytes(train(data).SerializeToString(deterministic=True))
    np.save(folder / "iris_samples.npy", data.train_inputs)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
