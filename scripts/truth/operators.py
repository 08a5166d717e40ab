"""Graphs of an operator or two, on ranges where they are hard: poles, peaks, steps, whole numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from scripts.models.graph import OPSET, Graph
from scripts.truth.case import Case, halves, rng

Floats = npt.NDArray[np.floating[Any]]

#: Rows of a case, a half of them for its build.
ROWS = 128
_WIDTH = 4
_VOCABULARY = 12


@dataclass(frozen=True, slots=True)
class Recipe:
    """A file and its rows, from random numbers of its own."""

    family: str
    make: Callable[[np.random.Generator], tuple[bytes, npt.NDArray[Any]]]
    reveal: str = "full"


def make(name: str) -> Case:
    """One case, by a name of `RECIPES`."""
    recipe = RECIPES[name]
    data, rows = recipe.make(rng(name))
    samples, fresh = halves(rows)
    return Case(name, recipe.family, data, samples, fresh, recipe.reveal)


Made = tuple[bytes, npt.NDArray[Any]]
Random = np.random.Generator


# --- functions of one number ----------------------------------------------------------------------


def _function(
    operator: str, low: float, high: float, random: Random, opset: int = OPSET, **attributes: Any
) -> Made:
    """An operator on numbers between ``low`` and ``high``."""
    graph = Graph(_WIDTH, opset=opset)
    result = graph.add(operator, graph.input, **attributes)
    return graph.model(result, _WIDTH), random.uniform(low, high, (ROWS, _WIDTH))


def _elementwise(operator: str, low: float, high: float, **options: Any) -> Recipe:
    def built(random: Random) -> Made:
        return _function(operator, low, high, random, **options)

    return Recipe(operator, built)


def _around(random: Random, width: int = _WIDTH, least: float = 0.6) -> Floats:
    """Normal numbers, none of them nearer to zero than ``least``."""
    rows = random.normal(0, 1, (ROWS, width))
    return np.where(np.abs(rows) < least, np.copysign(least, rows), rows)


def _peak(last: tuple[str, ...], height: float, random: Random) -> Made:
    """Operators of ``x * x + height``: all of the answer lies where no sample is."""
    graph = Graph(_WIDTH)
    value = graph.add("Add", graph.add("Mul", graph.input, graph.input), height)
    for operator in last:
        value = graph.add(operator, value)
    return graph.model(value, _WIDTH), _around(random)


def _bell(random: Random) -> Made:
    graph = Graph(_WIDTH)
    square = graph.add("Mul", graph.input, graph.input)
    result = graph.add("Exp", graph.add("Mul", square, -20.0))
    return graph.model(result, _WIDTH), _around(random, least=0.25)


def _ripple(random: Random) -> Made:
    """Twelve waves in the promised range, with samples where the sine is small."""
    graph = Graph(_WIDTH)
    rows = np.rint(random.uniform(-3, 3, (ROWS, _WIDTH)) * 2) / 2
    result = graph.add("Sin", graph.add("Mul", graph.input, 2 * np.pi))
    return graph.model(graph.add("Add", result, graph.input), _WIDTH), rows


def _power(exponent: float, low: float, high: float, random: Random) -> Made:
    graph = Graph(_WIDTH)
    result = graph.add("Pow", graph.input, exponent)
    return graph.model(result, _WIDTH), random.uniform(low, high, (ROWS, _WIDTH))


def _prelu(random: Random) -> Made:
    graph = Graph(_WIDTH)
    result = graph.add("PRelu", graph.input, np.array([0.25, -0.5, 1.5, 0.0]))
    return graph.model(result, _WIDTH), random.uniform(-2, 2, (ROWS, _WIDTH))


def _clip(random: Random) -> Made:
    graph = Graph(_WIDTH)
    scaled = graph.add("Mul", graph.input, 3.0)
    return graph.model(graph.add("Clip", scaled, -0.35, 1.1), _WIDTH), random.uniform(
        -2, 2, (ROWS, _WIDTH)
    )


def _extremes_of_two(random: Random) -> Made:
    """``max(min(x, 0.3 y), -y)`` of two halves of a row."""
    graph = Graph(8)
    x, y = _cut(graph)
    least = graph.add("Min", x, graph.add("Mul", y, 0.3))
    result = graph.add("Max", least, graph.add("Neg", y))
    return graph.model(result, 4), random.normal(0, 1, (ROWS, 8))


def _cut(graph: Graph) -> tuple[str, str]:
    """The two halves of eight numbers."""
    return (
        graph.add("Slice", graph.input, [0], [4], [1]),
        graph.add("Slice", graph.input, [4], [8], [1]),
    )


# --- steps ----------------------------------------------------------------------------------------


def _mixed(graph: Graph, random: Random, outputs: int = 3) -> str:
    """A linear function of eight numbers."""
    return graph.add("MatMul", graph.input, random.normal(0, 0.5, (8, outputs)))


def _step(operator: str, random: Random) -> Made:
    """A step of sums: what the circuit computes of them decides."""
    graph = Graph(8)
    return graph.model(graph.add(operator, _mixed(graph, random)), 3), random.normal(
        0, 1, (ROWS, 8)
    )


def _truncated(random: Random) -> Made:
    graph = Graph(8)
    whole = graph.add("Cast", _mixed(graph, random), to=TensorProto.INT64)
    result = graph.add("Cast", whole, to=TensorProto.FLOAT)
    return graph.model(result, 3), random.normal(0, 2, (ROWS, 8))


def _not_zero(random: Random) -> Made:
    graph = Graph(_WIDTH)
    bit = graph.add("Cast", graph.input, to=TensorProto.BOOL)
    result = graph.add("Cast", bit, to=TensorProto.FLOAT)
    return graph.model(result, _WIDTH), random.integers(-1, 2, (ROWS, _WIDTH))


def _where_sum(random: Random) -> Made:
    """One linear function or another, as a third one is above a bound."""
    graph = Graph(8)
    above = graph.add("Greater", _mixed(graph, random, 1), 0.3)
    result = graph.add(
        "Where", above, _mixed(graph, random, 2), graph.add("Neg", _mixed(graph, random, 2))
    )
    return graph.model(result, 2), random.normal(0, 1, (ROWS, 8))


def _where_input(random: Random) -> Made:
    """A bound that is no number of any coarse grid."""
    graph = Graph(_WIDTH)
    below = graph.add("Less", graph.input, 0.3337)
    result = graph.add("Where", below, graph.add("Mul", graph.input, 2.0), 5.0)
    return graph.model(result, _WIDTH), random.normal(0, 1, (ROWS, _WIDTH))


def _product_rule(random: Random) -> Made:
    """Both of two conditions on products."""
    graph = Graph(8)
    x, y = _cut(graph)
    product = graph.add("Mul", x, y)
    both = graph.add(
        "And", graph.add("Greater", product, 0.05), graph.add("LessOrEqual", product, 0.8)
    )
    return graph.model(graph.add("Cast", both, to=TensorProto.FLOAT), 4), random.normal(
        0, 1, (ROWS, 8)
    )


def _scores(random: Random) -> Made:
    """Eight numbers, a hidden layer, three scores."""
    graph = Graph(8)
    hidden = graph.add("Relu", _mixed(graph, random, 6))
    return graph.model(graph.add("MatMul", hidden, random.normal(0, 0.6, (6, 3))), 3), (
        random.normal(0, 1, (ROWS, 8))
    )


def _steep_softmax(steepness: float, random: Random) -> Made:
    graph = Graph(8)
    scaled = graph.add("Mul", _mixed(graph, random), steepness)
    return graph.model(graph.add("Softmax", scaled, axis=1), 3), random.normal(0, 1, (ROWS, 8))


def _steep_sigmoid(random: Random) -> Made:
    graph = Graph(8)
    scaled = graph.add("Mul", _mixed(graph, random, 1), 25.0)
    return graph.model(graph.add("Sigmoid", scaled), 1), random.normal(0, 1, (ROWS, 8))


def _log_softmax(random: Random) -> Made:
    graph = Graph(8)
    result = graph.add("LogSoftmax", _mixed(graph, random), axis=1)
    return graph.model(result, 3), random.normal(0, 1, (ROWS, 8))


def _index(operator: str, random: Random) -> Made:
    """The position of an extreme of sums, as a number."""
    graph = Graph(8)
    found = graph.add(operator, _mixed(graph, random, 4), axis=1, keepdims=1)
    return graph.model(found, 1, dtype=TensorProto.INT64), random.normal(0, 1, (ROWS, 8))


# --- quotients, roots, products -------------------------------------------------------------------


def _quotient(random: Random) -> Made:
    """``x / y``, where no sample has a small ``y``."""
    graph = Graph(8)
    x, y = _cut(graph)
    return graph.model(graph.add("Div", x, y), 4), random.uniform(0.5, 3, (ROWS, 8))


def _guarded_quotient(random: Random) -> Made:
    """``x / (|y| + 0.1)``: ten at the most, where a sample gives two."""
    graph = Graph(8)
    x, y = _cut(graph)
    below = graph.add("Add", graph.add("Abs", y), 0.1)
    return graph.model(graph.add("Div", x, below), 4), _around(random, 8, 0.5)


def _product(random: Random) -> Made:
    graph = Graph(8)
    x, y = _cut(graph)
    return graph.model(graph.add("Mul", x, y), 4), random.normal(0, 1.5, (ROWS, 8))


def _kernel(random: Random) -> Made:
    """``exp(-2 |x - c|^2)`` for three centres, as radial basis networks have it."""
    graph = Graph(1, 4)
    away = graph.add("Sub", graph.input, random.normal(0, 1, (1, 3, 4)))
    squares = graph.add("ReduceSum", graph.add("Mul", away, away), [2], keepdims=0)
    result = graph.add("Exp", graph.add("Mul", squares, -2.0))
    return graph.model(result, 3), random.normal(0, 1, (ROWS, 4))


def _cosine(random: Random) -> Made:
    """Cosine of the angle between two halves of a row: undefined where one is zero."""
    graph = Graph(8)
    x, y = _cut(graph)
    inner = graph.add("ReduceSum", graph.add("Mul", x, y), [1], keepdims=1)
    lengths = [graph.add("ReduceL2", each, axes=[1], keepdims=1) for each in (x, y)]
    return graph.model(graph.add("Div", inner, graph.add("Mul", *lengths)), 1), random.normal(
        0, 1, (ROWS, 8)
    )


def _log_of_clip(random: Random) -> Made:
    graph = Graph(_WIDTH)
    result = graph.add("Log", graph.add("Clip", graph.input, 1e-3, 1e3))
    return graph.model(result, _WIDTH), random.uniform(0.05, 2, (ROWS, _WIDTH))


def _entropy(random: Random) -> Made:
    """``-sum p log p`` of a softmax."""
    graph = Graph(_WIDTH)
    shares = graph.add("Softmax", graph.input, axis=1)
    logs = graph.add("LogSoftmax", graph.input, axis=1)
    total = graph.add("ReduceSum", graph.add("Mul", shares, logs), [1], keepdims=1)
    return graph.model(graph.add("Neg", total), 1), random.normal(0, 2, (ROWS, _WIDTH))


# --- reductions and normalisations ----------------------------------------------------------------


def _reduced(operator: str, random: Random) -> Made:
    graph = Graph(2, 4)
    result = graph.add(operator, graph.input, axes=[2], keepdims=0)
    return graph.model(result, 2), random.normal(0, 1, (ROWS, 8))


def _layer_norm(random: Random) -> Made:
    """Divides by the deviation within a row: by next to nothing where all numbers are alike."""
    graph = Graph(6)
    scale, bias = random.uniform(0.5, 1.5, 6), random.normal(0, 0.2, 6)
    result = graph.add("LayerNormalization", graph.input, scale, bias, axis=-1, epsilon=1e-5)
    return graph.model(result, 6), random.normal(0, 1, (ROWS, 6))


def _root_mean_square(random: Random) -> Made:
    graph = Graph(6)
    mean = graph.add("ReduceMean", graph.add("Mul", graph.input, graph.input), axes=[1], keepdims=1)
    root = graph.add("Sqrt", graph.add("Add", mean, 1e-3))
    result = graph.add("Mul", graph.add("Div", graph.input, root), random.uniform(0.5, 1.5, 6))
    return graph.model(result, 6), random.normal(0, 1, (ROWS, 6))


def _instance_norm(random: Random) -> Made:
    graph = Graph(2, 3, 3)
    scale, bias = random.uniform(0.5, 1.5, 2), random.normal(0, 0.2, 2)
    result = graph.add("InstanceNormalization", graph.input, scale, bias)
    return graph.model(result, 2, 3, 3), random.normal(0, 1, (ROWS, 18))


def _unit_length(random: Random) -> Made:
    graph = Graph(_WIDTH)
    result = graph.add("LpNormalization", graph.input, axis=1, p=2)
    return graph.model(result, _WIDTH), random.normal(0, 1, (ROWS, _WIDTH))


def _running_sum(random: Random) -> Made:
    graph = Graph(6)
    result = graph.add("CumSum", graph.input, np.array(1, dtype=np.int64))
    return graph.model(result, 6), random.normal(0, 1, (ROWS, 6))


# --- whole numbers, bits, other floats ------------------------------------------------------------


def _bytes(random: Random) -> Made:
    """Pixels of eight bits, divided by 255 in the file."""
    graph = Graph(8, dtype=TensorProto.UINT8)
    shares = graph.add("Div", graph.add("Cast", graph.input, to=TensorProto.FLOAT), 255.0)
    hidden = graph.add("Relu", graph.add("MatMul", shares, random.normal(0, 0.5, (8, 6))))
    result = graph.add("MatMul", hidden, random.normal(0, 0.5, (6, 3)))
    return graph.model(result, 3), random.integers(20, 200, (ROWS, 8))


def _bits(random: Random) -> Made:
    """Yes or no, and a linear model."""
    graph = Graph(8, dtype=TensorProto.BOOL)
    numbers = graph.add("Cast", graph.input, to=TensorProto.FLOAT)
    result = graph.add("MatMul", numbers, random.normal(0, 0.5, (8, 2)))
    return graph.model(graph.add("Sigmoid", result), 2), random.integers(0, 2, (ROWS, 8))


def _signed_bytes(random: Random) -> Made:
    graph = Graph(6, dtype=TensorProto.INT8)
    numbers = graph.add("Mul", graph.add("Cast", graph.input, to=TensorProto.FLOAT), 1 / 64)
    result = graph.add("Tanh", graph.add("MatMul", numbers, random.normal(0, 0.5, (6, 2))))
    return graph.model(result, 2), random.integers(-128, 128, (ROWS, 6))


def _counts(random: Random) -> Made:
    """Whole numbers that are divided and taken apart as such."""
    graph = Graph(_WIDTH, dtype=TensorProto.INT64)
    third = graph.add("Div", graph.input, [3])
    rest = graph.add("Mod", graph.input, [4])
    total = graph.add("Add", graph.add("Mul", third, [5]), rest)
    return graph.model(graph.add("Cast", total, to=TensorProto.FLOAT), _WIDTH), random.integers(
        -20, 21, (ROWS, _WIDTH)
    )


def _tokens(random: Random) -> Made:
    """Rows of a table for five tokens, added up, and a linear model."""
    graph = Graph(5, dtype=TensorProto.INT64)
    rows = graph.add("Gather", random.normal(0, 1, (_VOCABULARY, 3)), graph.input, axis=0)
    total = graph.add("ReduceSum", rows, [1], keepdims=0)
    result = graph.add("MatMul", total, random.normal(0, 0.5, (3, 2)))
    return graph.model(result, 2), random.integers(0, _VOCABULARY, (ROWS, 5))


def _token_and_numbers(random: Random) -> Made:
    """A category of its own input beside three numbers."""
    graph = Graph(3)
    code = graph.feed("code", 1, dtype=TensorProto.INT64)
    row = graph.add("Gather", random.normal(0, 1, (_VOCABULARY, 3)), code, axis=0)
    both = graph.add("Add", graph.add("Squeeze", row, [1]), graph.input)
    result = graph.add("Tanh", graph.add("MatMul", both, random.normal(0, 0.7, (3, 2))))
    rows = np.hstack([random.normal(0, 1, (ROWS, 3)), random.integers(0, _VOCABULARY, (ROWS, 1))])
    return graph.model(result, 2), rows


def _half_precision(random: Random) -> Made:
    graph = Graph(8)
    halved = graph.add("Cast", graph.input, to=TensorProto.FLOAT16)
    weights = random.normal(0, 0.5, (8, 4)).astype(np.float16)
    hidden = graph.add("Relu", graph.add("MatMul", halved, weights))
    result = graph.add("Cast", hidden, to=TensorProto.FLOAT)
    return graph.model(result, 4), random.normal(0, 1, (ROWS, 8))


def _quantized_weights(random: Random) -> Made:
    graph = Graph(8)
    whole = random.integers(-127, 128, (8, 3)).astype(np.int8)
    weights = graph.add("DequantizeLinear", whole, 0.01, np.array(0, dtype=np.int8))
    return graph.model(graph.add("MatMul", graph.input, weights), 3), random.normal(0, 1, (ROWS, 8))


# --- numbers of very different size ---------------------------------------------------------------


def _income(random: Random) -> Made:
    """An income and a share, standardised in the file."""
    graph = Graph(2)
    centred = graph.add("Sub", graph.input, np.array([2e5, 0.0]))
    scaled = graph.add("Mul", centred, np.array([1 / 3e4, 1.0]))
    result = graph.add("Gemm", scaled, np.array([[0.7], [-1.1]]), np.array([0.2]))
    rows = np.stack([random.normal(2e5, 3e4, ROWS), random.normal(0, 1, ROWS)], axis=1)
    return graph.model(graph.add("Sigmoid", result), 1), rows


def _unequal_weights(random: Random) -> Made:
    graph = Graph(8)
    weights = random.normal(0, 1, (8, 3)) * np.logspace(-3, 1.5, 8)[:, np.newaxis]
    return graph.model(graph.add("MatMul", graph.input, weights), 3), random.normal(0, 1, (ROWS, 8))


def _small_answers(random: Random) -> Made:
    graph = Graph(8)
    result = graph.add("MatMul", graph.input, random.normal(0, 5e-3, (8, 3)))
    return graph.model(result, 3), random.normal(0, 1, (ROWS, 8))


def _large_answers(random: Random) -> Made:
    graph = Graph(8)
    hidden = graph.add("Relu", _mixed(graph, random, 6))
    result = graph.add("MatMul", hidden, random.normal(0, 300, (6, 1)))
    return graph.model(result, 1), random.normal(0, 1, (ROWS, 8))


# --- windows, attention, recurrence ---------------------------------------------------------------


def _signal(random: Random) -> Made:
    """A filter over time, stride two, and its greatest answer."""
    graph = Graph(2, 10)
    weights = random.normal(0, 0.4, (3, 2, 3))
    value = graph.add(
        "Relu", graph.add("Conv", graph.input, weights, kernel_shape=[3], strides=[2])
    )
    result = graph.add("Flatten", graph.add("GlobalMaxPool", value))
    return graph.model(result, 3), random.normal(0, 1, (ROWS, 20))


def _depthwise(random: Random) -> Made:
    graph = Graph(2, 5, 5)
    weights = random.normal(0, 0.4, (2, 1, 3, 3))
    value = graph.add("Conv", graph.input, weights, kernel_shape=[3, 3], group=2, pads=[1, 1, 1, 1])
    value = graph.add("HardSwish", value)
    result = graph.add("Flatten", graph.add("GlobalAveragePool", value))
    return graph.model(result, 2), random.normal(0, 1, (ROWS, 50))


def _upsampled(random: Random) -> Made:
    graph = Graph(1, 3, 3)
    weights = random.normal(0, 0.5, (1, 1, 2, 2))
    value = graph.add("ConvTranspose", graph.input, weights, kernel_shape=[2, 2], strides=[2, 2])
    return graph.model(graph.add("Tanh", value), 1, 6, 6), random.normal(0, 1, (ROWS, 9))


def _attention(steepness: float, random: Random) -> Made:
    """Scaled far enough that one position takes it all."""
    graph = Graph(3, 4)
    query, key, value = (
        graph.add("MatMul", graph.input, random.normal(0, 0.5, (4, 4))) for _ in range(3)
    )
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 2, 1]))
    shares = graph.add("Softmax", graph.add("Mul", scores, steepness), axis=-1)
    result = graph.add("MatMul", shares, value)
    return graph.model(result, 3, 4), random.normal(0, 1, (ROWS, 12))


def _recurrent(operator: str, gates: int, random: Random, directions: int = 1) -> Made:
    """Five steps of two numbers, three hidden ones, a linear answer."""
    steps, width, hidden = 5, 2, 3
    graph = Graph(steps, width)
    sequence = graph.add("Transpose", graph.input, perm=[1, 0, 2])
    weights = [
        random.normal(0, 0.8, (directions, gates * hidden, width)),
        random.normal(0, 0.5, (directions, gates * hidden, hidden)),
        random.normal(0, 0.2, (directions, 2 * gates * hidden)),
    ]
    options: dict[str, Any] = {"direction": "bidirectional"} if directions == 2 else {}
    if operator == "GRU":
        options["linear_before_reset"] = 1
    # The second output is the last hidden state, [directions, batch, hidden].
    state = graph.add(operator, sequence, *weights, outputs=2, hidden_size=hidden, **options)
    state = graph.add("Transpose", state, perm=[1, 0, 2])
    flat = graph.add("Reshape", state, [-1, directions * hidden])
    result = graph.add("MatMul", flat, random.normal(0, 0.7, (directions * hidden, 2)))
    return graph.model(result, 2), random.normal(0, 1, (ROWS, steps * width))


RECIPES: Mapping[str, Recipe] = {
    # Activations.
    "elu": _elementwise("Elu", -3, 3, alpha=1.5),
    "selu": _elementwise("Selu", -3, 3),
    "celu": _elementwise("Celu", -3, 3, alpha=0.7),
    "softplus": _elementwise("Softplus", -12, 12),
    "softsign": _elementwise("Softsign", -4, 4),
    "mish": _elementwise("Mish", -4, 4, opset=18),
    "hard_swish": _elementwise("HardSwish", -5, 5),
    "hard_sigmoid": _elementwise("HardSigmoid", -5, 5),
    "thresholded_relu": _elementwise("ThresholdedRelu", -2, 2, alpha=0.61),
    "wide_tanh": _elementwise("Tanh", -25, 25),
    "prelu": Recipe("PRelu", _prelu),
    "narrow_clip": Recipe("Clip", _clip),
    "extremes_of_two": Recipe("Min, Max", _extremes_of_two),
    # Functions of one number.
    "sin": _elementwise("Sin", -4, 4),
    "cos": _elementwise("Cos", -9, 9),
    "tan": _elementwise("Tan", -1.1, 1.1),
    "asin": _elementwise("Asin", -0.8, 0.8),
    "atan": _elementwise("Atan", -6, 6),
    "sinh": _elementwise("Sinh", -2, 2),
    "acosh": _elementwise("Acosh", 1.2, 4),
    "atanh": _elementwise("Atanh", -0.8, 0.8),
    "exp_wide": _elementwise("Exp", -2, 3.5),
    "reciprocal": _elementwise("Reciprocal", 0.5, 3),
    "logarithm": _elementwise("Log", 0.4, 4),
    "square_root": _elementwise("Sqrt", 0.3, 4),
    "power_of_half": Recipe("Pow", partial(_power, 2.5, 0.4, 3)),
    "cube": Recipe("Pow", partial(_power, 3.0, -2, 2)),
    # Peaks between the samples.
    "peak_root": Recipe("peak", partial(_peak, ("Sqrt", "Reciprocal"), 0.01)),
    "peak_reciprocal": Recipe("peak", partial(_peak, ("Reciprocal",), 0.05)),
    "peak_logarithm": Recipe("peak", partial(_peak, ("Log",), 0.01)),
    "peak_bell": Recipe("peak", _bell),
    "ripple": Recipe("peak", _ripple),
    # Steps.
    "floor_of_sums": Recipe("step", partial(_step, "Floor")),
    "round_of_sums": Recipe("step", partial(_step, "Round")),
    "sign_of_sums": Recipe("step", partial(_step, "Sign")),
    "truncated_sums": Recipe("step", _truncated),
    "not_zero": Recipe("step", _not_zero),
    "where_sum": Recipe("step", _where_sum),
    "where_input": Recipe("step", _where_input),
    "product_rule": Recipe("step", _product_rule),
    "arg_max_of_sums": Recipe("step", partial(_index, "ArgMax")),
    "scores_top1": Recipe("policy", _scores, "top1"),
    "scores_topk": Recipe("policy", _scores, "topk:2"),
    "scores_round": Recipe("policy", _scores, "round:1"),
    "scores_threshold": Recipe("policy", _scores, "threshold:0.25"),
    "steep_softmax": Recipe("softmax", partial(_steep_softmax, 8.0)),
    "steep_softmax_top1": Recipe("softmax", partial(_steep_softmax, 30.0), "top1"),
    "steep_sigmoid_threshold": Recipe("sigmoid", _steep_sigmoid, "threshold:0.9"),
    "log_softmax": Recipe("softmax", _log_softmax),
    "entropy": Recipe("softmax", _entropy),
    # Quotients and products of what is asked.
    "quotient": Recipe("Div", _quotient),
    "guarded_quotient": Recipe("Div", _guarded_quotient),
    "product": Recipe("Mul", _product),
    "kernel": Recipe("kernel", _kernel),
    "cosine": Recipe("Div", _cosine),
    "log_of_clip": Recipe("Log", _log_of_clip),
    # Reductions and normalisations.
    "reduce_max": Recipe("ReduceMax", partial(_reduced, "ReduceMax")),
    "reduce_l2": Recipe("ReduceL2", partial(_reduced, "ReduceL2")),
    "reduce_log_sum_exp": Recipe("ReduceLogSumExp", partial(_reduced, "ReduceLogSumExp")),
    "reduce_product": Recipe("ReduceProd", partial(_reduced, "ReduceProd")),
    "layer_norm_alone": Recipe("normalisation", _layer_norm),
    "root_mean_square": Recipe("normalisation", _root_mean_square),
    "instance_norm": Recipe("normalisation", _instance_norm),
    "unit_length": Recipe("normalisation", _unit_length),
    "running_sum": Recipe("CumSum", _running_sum),
    # Whole numbers, bits, other floats.
    "bytes": Recipe("uint8", _bytes),
    "bits": Recipe("bool", _bits),
    "signed_bytes": Recipe("int8", _signed_bytes),
    "counts": Recipe("int64", _counts),
    "tokens": Recipe("int64", _tokens),
    "token_and_numbers": Recipe("int64", _token_and_numbers),
    "half_precision": Recipe("float16", _half_precision),
    "quantized_weights": Recipe("weights", _quantized_weights),
    # Very different sizes.
    "income": Recipe("weights", _income),
    "unequal_weights": Recipe("weights", _unequal_weights),
    "small_answers": Recipe("weights", _small_answers),
    "large_answers": Recipe("weights", _large_answers),
    # Windows, attention, recurrence.
    "signal": Recipe("Conv", _signal),
    "depthwise": Recipe("Conv", _depthwise),
    "upsampled": Recipe("ConvTranspose", _upsampled),
    "soft_attention": Recipe("attention", partial(_attention, 0.5)),
    "steep_attention": Recipe("attention", partial(_attention, 4.0)),
    "lstm_both_ways": Recipe("LSTM", partial(_recurrent, "LSTM", 4, directions=2)),
    "gru_reset_late": Recipe("GRU", partial(_recurrent, "GRU", 3)),
    "rnn": Recipe("RNN", partial(_recurrent, "RNN", 1)),
}
