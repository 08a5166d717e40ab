"""Small models of many kinds, to measure circuits on: operators, networks, trees, kernels.

Each is made from fixed seeds and scikit-learn's bundled data: the same library versions on the same
machine give the same bytes. None needs more than ezkl's least circuit (2**15 rows) by much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import onnx
import onnxmltools
import skl2onnx
import xgboost
from onnx import TensorProto, helper
from onnxmltools.convert.common.data_types import FloatTensorType as MlFloatTensorType
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier

from scripts.models.graph import OPSET, Graph

Floats = npt.NDArray[np.floating[Any]]

SEED = 7
#: Sample rows of a model.
SAMPLES = 64
#: Versions that the exporters write.
_TARGET_OPSET = {"": OPSET, "ai.onnx.ml": 3}
#: onnxmltools goes no further.
_BOOSTED_OPSET = 15


@dataclass(frozen=True, slots=True)
class ZooModel:
    """A model with what a build needs."""

    name: str
    onnx: bytes
    #: Typical inputs, float32 [n, inputs].
    samples: Floats
    #: Bound on the absolute difference from the float model, per output.
    max_error: float


def zoo() -> Iterator[ZooModel]:
    """Every model, cheapest to make first."""
    for name in MAKERS:
        yield make(name)


def make(name: str) -> ZooModel:
    """One model, by a name of `MAKERS`."""
    data, samples, max_error = MAKERS[name]()
    return ZooModel(name, data, np.asarray(samples, dtype=np.float32), max_error)


Made = tuple[bytes, Floats, float]


def _rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


def _uniform(length: int, low: float = -2, high: float = 2) -> Floats:
    return _rng().uniform(low, high, (SAMPLES, length))


def _rows(data: Floats) -> Floats:
    """Sample rows of a data set, spread over it."""
    return data[:: -(-len(data) // SAMPLES)]


# --- operators, one by one ------------------------------------------------------------------------


def _unary(operator: str, **attributes: Any) -> Made:
    graph = Graph(8)
    return graph.model(graph.add(operator, graph.input, **attributes), 8), _uniform(8), 0.05


def _clip() -> Made:
    graph = Graph(8)
    return graph.model(graph.add("Clip", graph.input, -1.0, 1.0), 8), _uniform(8), 0.05


def _exp() -> Made:
    graph = Graph(8)
    return graph.model(graph.add("Exp", graph.input), 8), _uniform(8), 0.1


def _sqrt() -> Made:
    """Distance from the origin of pairs: a square root never meets a negative number."""
    graph = Graph(8)
    square = graph.add("Mul", graph.input, graph.input)
    return graph.model(graph.add("Sqrt", graph.add("Add", square, 1.0)), 8), _uniform(8), 0.05


def _division() -> Made:
    graph = Graph(8)
    above = graph.add("Slice", graph.input, [0], [4], [1])
    below = graph.add("Slice", graph.input, [4], [8], [1])
    divisor = graph.add("Add", graph.add("Abs", below), 1.0)
    return graph.model(graph.add("Div", above, divisor), 4), _uniform(8), 0.05


def _softmax() -> Made:
    graph = Graph(8)
    return graph.model(graph.add("Softmax", graph.input, axis=1), 8), _uniform(8), 0.02


def _argmax() -> Made:
    """The greatest number leads by 0.5 in every sample, so that rounding decides no tie."""
    graph = Graph(8)
    result = graph.add("ArgMax", graph.input, axis=1, keepdims=1)
    samples = _uniform(8)
    samples[np.arange(len(samples)), samples.argmax(axis=1)] += 0.5
    return graph.model(result, 1, dtype=TensorProto.INT64), samples, 0.1


def _reduce_mean() -> Made:
    graph = Graph(4, 4)
    result = graph.add("ReduceMean", graph.input, axes=[2], keepdims=0)
    return graph.model(result, 4), _uniform(16), 0.05


def _where() -> Made:
    """Numbers above their opposite's value, else zero: comparison and choice."""
    graph = Graph(8)
    condition = graph.add("Greater", graph.input, 0.25)
    return graph.model(graph.add("Where", condition, graph.input, 0.25), 8), _uniform(8), 0.05


def _pool(operator: str) -> Made:
    graph = Graph(1, 6, 6)
    result = graph.add(operator, graph.input, kernel_shape=[2, 2], strides=[2, 2])
    return graph.model(result, 1, 3, 3), _uniform(36), 0.05


def _conv() -> Made:
    graph = Graph(1, 6, 6)
    weights = _rng().normal(0, 0.5, (2, 1, 3, 3))
    result = graph.add("Conv", graph.input, weights, kernel_shape=[3, 3])
    return graph.model(result, 2, 4, 4), _uniform(36), 0.05


def _batch_norm() -> Made:
    graph = Graph(2, 4, 4)
    rng = _rng()
    scale, bias, mean, variance = (rng.uniform(0.5, 1.5, 2) for _ in range(4))
    result = graph.add("BatchNormalization", graph.input, scale, bias, mean, variance)
    return graph.model(result, 2, 4, 4), _uniform(32), 0.05


def _layer_norm() -> Made:
    graph = Graph(8)
    return graph.model(_normalised(graph, graph.input, 8), 8), _uniform(8), 0.05


def _normalised(graph: Graph, value: str, length: int) -> str:
    rng = _rng()
    scale, bias = rng.uniform(0.5, 1.5, length), rng.normal(0, 0.2, length)
    return graph.add("LayerNormalization", value, scale, bias, axis=-1)


def _gelu() -> Made:
    """As exporters write it: half of x (1 + erf(x / sqrt 2))."""
    graph = Graph(8)
    erf = graph.add("Erf", graph.add("Mul", graph.input, 0.5**0.5))
    half = graph.add("Mul", graph.input, 0.5)
    return (
        graph.model(graph.add("Mul", half, graph.add("Add", erf, 1.0)), 8),
        _uniform(8),
        0.05,
    )


def _matmul() -> Made:
    graph = Graph(16)
    result = graph.add("MatMul", graph.input, _rng().normal(0, 0.3, (16, 8)))
    return graph.model(result, 8), _uniform(16), 0.05


# --- networks -------------------------------------------------------------------------------------


def _iris_demo() -> Made:
    folder = Path(__file__).parent
    return (folder / "iris.onnx").read_bytes(), np.load(folder / "iris_samples.npy"), 0.1


def _dense(graph: Graph, value: str, weights: list[Floats], biases: list[Floats], act: str) -> str:
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        value = graph.add("Gemm", value, weight, bias)
        if index < len(weights) - 1:
            value = graph.add(act, value)
    return value


def _mlp_wine() -> Made:
    inputs, labels = load_wine(return_X_y=True)
    inputs = StandardScaler().fit_transform(inputs)
    network = MLPClassifier((32,), solver="lbfgs", max_iter=200, random_state=SEED)
    network.fit(inputs, labels)
    graph = Graph(13)
    logits = _dense(graph, graph.input, network.coefs_, network.intercepts_, "Relu")
    return graph.model(logits, 3), _rows(inputs), 0.1


def _mlp_digits() -> Made:
    inputs, labels = load_digits(return_X_y=True)
    network = MLPClassifier((24,), alpha=1, solver="lbfgs", tol=0.05, random_state=SEED)
    network.fit(inputs / 16, labels)
    graph = Graph(64)
    logits = _dense(graph, graph.input, network.coefs_, network.intercepts_, "Relu")
    return graph.model(logits, 10), _rows(inputs / 16), 0.2


def _mlp_diabetes() -> Made:
    inputs, targets = load_diabetes(return_X_y=True)
    inputs, targets = StandardScaler().fit_transform(inputs), targets / 100
    network = MLPRegressor(
        hidden_layer_sizes=(16,),
        activation="tanh",
        alpha=1,
        solver="lbfgs",
        tol=0.01,
        random_state=SEED,
    )
    network.fit(inputs, targets)
    graph = Graph(10)
    result = _dense(graph, graph.input, network.coefs_, network.intercepts_, "Tanh")
    return graph.model(result, 1), _rows(inputs), 0.05


def _autoencoder_digits() -> Made:
    """Eight numbers for an 8x8 image and back, principal components as weights."""
    inputs = load_digits().data / 16
    components = PCA(8, random_state=SEED).fit(inputs)
    graph = Graph(64)
    centred = graph.add("Sub", graph.input, components.mean_)
    code = graph.add("MatMul", centred, components.components_.T)
    image = graph.add("MatMul", code, components.components_)
    return graph.model(graph.add("Add", image, components.mean_), 64), _rows(inputs), 0.05


def _cnn_digits(channels: tuple[int, ...], pool: str) -> Made:
    """Random filters, as many layers as ``channels``, and a trained linear layer on top."""
    images, labels = load_digits(return_X_y=True)
    images = images / 16
    rng = _rng()
    graph = Graph(1, 8, 8)
    value, maps, before = graph.input, images.reshape(-1, 1, 8, 8), 1
    for count in channels:
        weights = rng.normal(0, (4.5 * before) ** -0.5, (count, before, 3, 3))
        value = graph.add("Relu", graph.add("Conv", value, weights, kernel_shape=[3, 3]))
        maps, before = np.maximum(_convolved(maps, weights), 0), count
    value = graph.add(pool, value, kernel_shape=[2, 2], strides=[2, 2])
    maps = _pooled(maps, np.max if pool == "MaxPool" else np.mean)
    features = maps.reshape(len(maps), -1)
    scaler = StandardScaler().fit(features)
    top = LogisticRegression(C=0.1, max_iter=300).fit(scaler.transform(features), labels)
    # The scaler goes into the weights.
    weights = (top.coef_ / scaler.scale_).T
    logits = graph.add(
        "Gemm", graph.add("Flatten", value), weights, top.intercept_ - scaler.mean_ @ weights
    )
    return graph.model(logits, 10), _rows(images), 0.2


def _convolved(maps: Floats, weights: Floats) -> Floats:
    height, width = maps.shape[2] - 2, maps.shape[3] - 2
    return sum(
        (
            np.einsum(
                "bchw,oc->bohw", maps[:, :, i : i + height, j : j + width], weights[..., i, j]
            )
            for i in range(3)
            for j in range(3)
        ),
        start=np.zeros((len(maps), len(weights), height, width)),
    )


def _pooled(maps: Floats, reduce: Callable[..., Any]) -> Floats:
    count, channels, height, width = maps.shape
    blocks = maps.reshape(count, channels, height // 2, 2, width // 2, 2)
    return np.asarray(reduce(blocks, axis=(3, 5)))


def _recurrent(operator: str, gates: int) -> Made:
    """Six steps of a wave in, the next value out; random recurrence, linear read-out."""
    steps, hidden = 6, 4
    rng = _rng()
    inward = rng.normal(0, 0.7, (1, gates * hidden, 1))
    onward = rng.normal(0, 0.4, (1, gates * hidden, hidden))
    bias = rng.normal(0, 0.1, (1, 2 * gates * hidden))
    graph = Graph(steps, 1)
    sequence = graph.add("Transpose", graph.input, perm=[1, 0, 2])
    # The second output is the last hidden state, [1, batch, hidden].
    state = graph.add(operator, sequence, inward, onward, bias, outputs=2, hidden_size=hidden)
    value = graph.add("Squeeze", state, [0])
    result = graph.add("Gemm", value, rng.normal(0, 0.7, (hidden, 1)), np.zeros(1))
    phases = rng.uniform(0, 2 * np.pi, (SAMPLES, 1))
    return graph.model(result, 1), np.sin(phases + 0.5 * np.arange(steps)), 0.02


def _attention(graph: Graph, value: str, width: int) -> str:
    """One head, no mask: softmax(Q K^T / sqrt(width)) V."""
    rng = _rng()
    query, key, values = (
        graph.add("MatMul", value, rng.normal(0, width**-0.5, (width, width))) for _ in range(3)
    )
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 2, 1]))
    scaled = graph.add("Mul", scores, width**-0.5)
    return graph.add("MatMul", graph.add("Softmax", scaled, axis=-1), values)


def _attention_head() -> Made:
    graph = Graph(4, 4)
    return graph.model(_attention(graph, graph.input, 4), 4, 4), _uniform(16), 0.05


def _transformer_block() -> Made:
    """Attention and a two-layer network, each with a residual connection and a layer norm."""
    graph = Graph(4, 4)
    rng = np.random.default_rng(SEED + 1)
    mixed = graph.add("Add", graph.input, _attention(graph, graph.input, 4))
    value = _normalised(graph, mixed, 4)
    inner = graph.add("Relu", graph.add("MatMul", value, rng.normal(0, 0.5, (4, 8))))
    outer = graph.add("MatMul", inner, rng.normal(0, 0.35, (8, 4)))
    result = _normalised(graph, graph.add("Add", value, outer), 4)
    return graph.model(result, 4, 4), _uniform(16), 0.05


# --- what the libraries of tabular data export ----------------------------------------------------


def _exported(model: Any, samples: Floats, max_error: float) -> Made:
    """A fitted scikit-learn model; classifiers give a tensor of probabilities."""
    classifier = hasattr(model, "predict_proba") or hasattr(model, "decision_function")
    proto = skl2onnx.to_onnx(
        model,
        name="zoo",
        initial_types=[("input", FloatTensorType([None, samples.shape[1]]))],
        options={"zipmap": False} if classifier else None,
        target_opset=_TARGET_OPSET,
    )
    return _bytes(proto), _rows(samples), max_error


def _bytes(proto: onnx.ModelProto) -> bytes:
    """The file; exporters list the opsets in any order, some of them twice."""
    opsets = {opset.domain: opset.version for opset in proto.opset_import}
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid(name, opsets[name]) for name in sorted(opsets))
    return bytes(proto.SerializeToString(deterministic=True))


def _linear_regression() -> Made:
    inputs, targets = load_diabetes(return_X_y=True, scaled=False)
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(inputs, targets / 100)
    return _exported(model, inputs, 0.05)


def _ridge() -> Made:
    inputs, targets = load_diabetes(return_X_y=True, scaled=False)
    model = make_pipeline(MinMaxScaler(), Ridge()).fit(inputs, targets / 100)
    return _exported(model, inputs, 0.05)


def _logistic_regression() -> Made:
    inputs, labels = load_breast_cancer(return_X_y=True)
    inputs = inputs[:, :10]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(inputs, labels)
    return _exported(model, inputs, 0.05)


def _softmax_regression() -> Made:
    inputs, labels = load_iris(return_X_y=True)
    return _exported(LogisticRegression(max_iter=500).fit(inputs, labels), inputs, 0.05)


def _sklearn_mlp() -> Made:
    inputs, labels = load_iris(return_X_y=True)
    network = MLPClassifier((8,), solver="lbfgs", max_iter=200, random_state=SEED)
    return _exported(make_pipeline(StandardScaler(), network).fit(inputs, labels), inputs, 0.05)


def _svm_classifier() -> Made:
    inputs, labels = load_iris(return_X_y=True)
    flowers = labels > 0
    model = SVC(C=1, gamma=0.25).fit(inputs[flowers][::2], labels[flowers][::2])
    return _exported(model, inputs[flowers], 0.1)


def _svm_regressor() -> Made:
    inputs, targets = load_diabetes(return_X_y=True)
    inputs = StandardScaler().fit_transform(inputs)[:, :4]
    model = SVR(C=1, gamma=0.1, epsilon=0.8).fit(inputs[::4], targets[::4] / 100)
    return _exported(model, inputs, 0.05)


def _decision_tree() -> Made:
    inputs, labels = load_iris(return_X_y=True)
    model = DecisionTreeClassifier(max_depth=4, random_state=SEED).fit(inputs, labels)
    return _exported(model, inputs, 0.05)


def _random_forest() -> Made:
    inputs, labels = load_wine(return_X_y=True)
    model = RandomForestClassifier(6, max_depth=4, random_state=SEED).fit(inputs, labels)
    return _exported(model, inputs, 0.05)


def _forest_digits() -> Made:
    inputs, labels = load_digits(return_X_y=True)
    model = RandomForestClassifier(8, max_depth=5, random_state=SEED).fit(inputs, labels)
    return _exported(model, inputs, 0.05)


def _gradient_boosting() -> Made:
    """How much alcohol a wine has, from its other properties."""
    wine = load_wine().data
    model = GradientBoostingRegressor(n_estimators=8, max_depth=2, random_state=SEED)
    return _exported(model.fit(wine[:, 1:], wine[:, 0]), wine[:, 1:], 0.05)


def _xgboost() -> Made:
    inputs, labels = load_iris(return_X_y=True)
    model = xgboost.XGBClassifier(n_estimators=4, max_depth=3, random_state=SEED, n_jobs=1)
    model.fit(inputs, labels)
    proto = onnxmltools.convert_xgboost(
        model,
        name="zoo",
        initial_types=[("input", MlFloatTensorType([None, inputs.shape[1]]))],
        target_opset=_BOOSTED_OPSET,
    )
    return _bytes(proto), _rows(inputs), 0.05


def _lightgbm() -> Made:
    inputs, labels = load_wine(return_X_y=True)
    model = lightgbm.LGBMClassifier(
        n_estimators=4,
        num_leaves=6,
        random_state=SEED,
        n_jobs=1,
        deterministic=True,
        verbosity=-1,
    )
    model.fit(inputs, labels)
    proto = onnxmltools.convert_lightgbm(
        model,
        name="zoo",
        initial_types=[("input", MlFloatTensorType([None, inputs.shape[1]]))],
        target_opset=_BOOSTED_OPSET,
        zipmap=False,
    )
    return _bytes(proto), _rows(inputs), 0.05


#: How each model is made.
MAKERS: Mapping[str, Callable[[], Made]] = {
    "relu": partial(_unary, "Relu"),
    "leaky_relu": partial(_unary, "LeakyRelu", alpha=0.1),
    "sigmoid": partial(_unary, "Sigmoid"),
    "tanh": partial(_unary, "Tanh"),
    "erf": partial(_unary, "Erf"),
    "gelu": _gelu,
    "clip": _clip,
    "exp": _exp,
    "sqrt": _sqrt,
    "division": _division,
    "softmax": _softmax,
    "argmax": _argmax,
    "where": _where,
    "reduce_mean": _reduce_mean,
    "max_pool": partial(_pool, "MaxPool"),
    "average_pool": partial(_pool, "AveragePool"),
    "conv": _conv,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "matmul": _matmul,
    "mlp_iris": _iris_demo,
    "mlp_wine": _mlp_wine,
    "mlp_digits": _mlp_digits,
    "mlp_diabetes": _mlp_diabetes,
    "autoencoder_digits": _autoencoder_digits,
    "cnn_digits": partial(_cnn_digits, (8,), "MaxPool"),
    "cnn_digits_deep": partial(_cnn_digits, (4, 8), "AveragePool"),
    "gru": partial(_recurrent, "GRU", 3),
    "lstm": partial(_recurrent, "LSTM", 4),
    "attention": _attention_head,
    "transformer_block": _transformer_block,
    "linear_regression": _linear_regression,
    "ridge": _ridge,
    "logistic_regression": _logistic_regression,
    "softmax_regression": _softmax_regression,
    "sklearn_mlp": _sklearn_mlp,
    "svm_classifier": _svm_classifier,
    "svm_regressor": _svm_regressor,
    "decision_tree": _decision_tree,
    "random_forest": _random_forest,
    "forest_digits": _forest_digits,
    "gradient_boosting": _gradient_boosting,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
}
