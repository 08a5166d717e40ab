"""Networks in the patterns that PyTorch's two exporters write, with weights as it initialises them.

The older exporter writes opset 13 to 17: norms and activations taken apart, shapes computed from the
input's. The newer one writes opset 18 to 20: norms and activations whole, shapes as constants, axes
as inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from scripts.models.graph import Graph
from scripts.truth.case import Case, halves, rng

Made = tuple[bytes, npt.NDArray[Any]]
Random = np.random.Generator

#: Rows of a case, a half of them for its build.
ROWS = 128
_OLD, _OLDEST, _NEW, _NEWEST = 17, 13, 18, 20


@dataclass(frozen=True, slots=True)
class Recipe:
    """A file and its rows, from random numbers of its own."""

    #: The exporter.
    style: str
    make: Callable[[Random], Made]
    reveal: str = "full"


def make(name: str) -> Case:
    """One case, by a name of `RECIPES`."""
    recipe = RECIPES[name]
    data, rows = recipe.make(rng(name))
    samples, fresh = halves(rows)
    return Case(name, recipe.style, data, samples, fresh, recipe.reveal)


# --- layers ---------------------------------------------------------------------------------------


def _uniform(random: Random, fan_in: int, *shape: int) -> npt.NDArray[np.float64]:
    bound = fan_in**-0.5
    return random.uniform(-bound, bound, shape)


def _linear(graph: Graph, x: str, before: int, after: int, random: Random) -> str:
    """Of two dimensions."""
    weight, bias = _uniform(random, before, after, before), _uniform(random, before, after)
    return graph.add("Gemm", x, weight, bias, alpha=1.0, beta=1.0, transB=1)


def _projected(graph: Graph, x: str, before: int, after: int, random: Random) -> str:
    """A linear layer of three dimensions."""
    weight, bias = _uniform(random, before, before, after), _uniform(random, before, after)
    return graph.add("Add", bias, graph.add("MatMul", x, weight))


def _size(graph: Graph, x: str, axis: int) -> str:
    """A dimension, as the older exporter computes it."""
    return graph.add("Gather", graph.add("Shape", x), np.array(axis, dtype=np.int64), axis=0)


def _flattened(graph: Graph, x: str) -> str:
    """``x.view(x.size(0), -1)``."""
    size = graph.add("Unsqueeze", _size(graph, x, 0), [0])
    return graph.add("Reshape", x, graph.add("Concat", size, [-1], axis=0))


def _old_layer_norm(graph: Graph, x: str, width: int) -> str:
    centred = graph.add("Sub", x, graph.add("ReduceMean", x, axes=[-1]))
    variance = graph.add("ReduceMean", graph.add("Pow", centred, 2.0), axes=[-1])
    root = graph.add("Sqrt", graph.add("Add", variance, 1e-5))
    scaled = graph.add("Mul", graph.add("Div", centred, root), np.ones(width))
    return graph.add("Add", scaled, np.zeros(width))


def _old_gelu(graph: Graph, x: str) -> str:
    erf = graph.add("Erf", graph.add("Div", x, 2**0.5))
    return graph.add("Mul", graph.add("Mul", x, graph.add("Add", erf, 1.0)), 0.5)


def _silu(graph: Graph, x: str) -> str:
    return graph.add("Mul", x, graph.add("Sigmoid", x))


# --- the older exporter ---------------------------------------------------------------------------


def _old_mlp(random: Random) -> Made:
    graph = Graph(6, opset=_OLD)
    value = graph.add("Relu", _linear(graph, graph.input, 6, 16, random))
    value = graph.add("Relu", _linear(graph, value, 16, 8, random))
    return graph.model(_linear(graph, value, 8, 3, random), 3), random.normal(0, 1, (ROWS, 6))


def _old_classifier(random: Random) -> Made:
    """Of tabular data, with batch norms in the place where they were trained."""
    graph = Graph(5, opset=_OLDEST)
    value = _linear(graph, graph.input, 5, 8, random)
    scale, bias = random.uniform(0.5, 1.5, 8), random.normal(0, 0.2, 8)
    mean, variance = random.normal(0, 0.3, 8), random.uniform(0.05, 0.6, 8)
    value = graph.add("BatchNormalization", value, scale, bias, mean, variance, epsilon=1e-5)
    value = graph.add("PRelu", value, np.array([0.25]))
    value = graph.add("Softmax", _linear(graph, value, 8, 3, random), axis=1)
    return graph.model(value, 3), random.normal(0, 1, (ROWS, 5))


def _old_norm_gelu(random: Random) -> Made:
    graph = Graph(3, 4, opset=_OLDEST)
    value = _old_layer_norm(graph, graph.input, 4)
    value = _old_gelu(graph, _projected(graph, value, 4, 6, random))
    value = graph.add("Add", graph.input, _projected(graph, value, 6, 4, random))
    return graph.model(value, 3, 4), random.normal(0, 1, (ROWS, 12))


def _old_convolutions(random: Random) -> Made:
    graph = Graph(1, 8, 8, opset=_OLD)
    weight, bias = _uniform(random, 9, 3, 1, 3, 3), _uniform(random, 9, 3)
    attributes: dict[str, Any] = {
        "dilations": [1, 1],
        "group": 1,
        "kernel_shape": [3, 3],
        "pads": [0] * 4,
        "strides": [1, 1],
    }
    value = graph.add("Relu", graph.add("Conv", graph.input, weight, bias, **attributes))
    value = graph.add("MaxPool", value, ceil_mode=0, kernel_shape=[2, 2], strides=[2, 2])
    value = _linear(graph, _flattened(graph, value), 27, 4, random)
    return graph.model(graph.add("LogSoftmax", value, axis=1), 4), random.uniform(0, 1, (ROWS, 64))


def _old_silu_signal(random: Random) -> Made:
    graph = Graph(2, 9, opset=_OLD)
    weight, bias = _uniform(random, 6, 4, 2, 3), _uniform(random, 6, 4)
    value = graph.add("Conv", graph.input, weight, bias, kernel_shape=[3], pads=[1, 1])
    scale, shift = random.uniform(0.5, 1.5, 4), random.normal(0, 0.2, 4)
    mean, variance = random.normal(0, 0.2, 4), random.uniform(0.1, 0.5, 4)
    value = graph.add("BatchNormalization", value, scale, shift, mean, variance, epsilon=1e-5)
    value = graph.add("GlobalAveragePool", _silu(graph, value))
    value = _linear(graph, graph.add("Flatten", value, axis=1), 4, 2, random)
    return graph.model(value, 2), random.normal(0, 1, (ROWS, 18))


def _old_multi_head(random: Random) -> Made:
    """``nn.MultiheadAttention`` of two heads: one projection for three, and a remainder of constants."""
    steps, width, heads = 3, 4, 2
    graph = Graph(steps, width, opset=_OLD)
    value = graph.add("Transpose", graph.input, perm=[1, 0, 2])
    value = _projected(graph, value, width, 3 * width, random)
    value = graph.add("Reshape", value, [steps, -1, 3, width])
    value = graph.add("Transpose", graph.add("Unsqueeze", value, [0]), perm=[3, 1, 2, 0, 4])
    value = graph.add("Squeeze", value, [3])
    remainder = graph.add("Mod", np.array(2, dtype=np.int64), np.array(3, dtype=np.int64))
    parts = []
    for index in (np.array(0, dtype=np.int64), np.array(1, dtype=np.int64), remainder):
        part = graph.add("Gather", value, index, axis=0)
        part = graph.add("Reshape", part, [steps, -1, width // heads])
        part = graph.add("Transpose", part, perm=[1, 0, 2])
        parts.append(graph.add("Reshape", part, [-1, heads, steps, width // heads]))
    query, key, values = parts
    root = graph.add("Sqrt", (width // heads) ** -0.5)
    scores = graph.add(
        "MatMul",
        graph.add("Mul", query, root),
        graph.add("Mul", graph.add("Transpose", key, perm=[0, 1, 3, 2]), root),
    )
    value = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), values)
    value = graph.add("Transpose", value, perm=[2, 0, 1, 3])
    value = _linear(graph, graph.add("Reshape", value, [-1, width]), width, width, random)
    value = graph.add("Reshape", value, [steps, -1, width])
    return graph.model(graph.add("Transpose", value, perm=[1, 0, 2]), steps, width), random.normal(
        0, 1, (ROWS, steps * width)
    )


def _old_lstm(random: Random) -> Made:
    """States that start at zero, of a size that the input's says; the last step's answer."""
    steps, width, hidden = 4, 2, 4
    graph = Graph(steps, width, opset=_OLD)
    batch = graph.add("Unsqueeze", _size(graph, graph.input, 0), [0])
    shape = graph.add("Concat", [1], batch, [hidden], axis=0)
    start = graph.add("Expand", np.zeros((1, 1, 1)), shape)
    sequence = graph.add("Transpose", graph.input, perm=[1, 0, 2])
    weights = [
        _uniform(random, hidden, 1, 4 * hidden, width),
        _uniform(random, hidden, 1, 4 * hidden, hidden),
        _uniform(random, hidden, 1, 8 * hidden),
    ]
    last = graph.add("LSTM", sequence, *weights, "", start, start, outputs=3, hidden_size=hidden)
    every = graph.add("Squeeze", last.rpartition(".")[0] + ".0", [1])
    value = graph.add("Transpose", every, perm=[1, 0, 2])
    value = graph.add("Gather", value, np.array(-1, dtype=np.int64), axis=1)
    return graph.model(_linear(graph, value, hidden, 2, random), 2), random.normal(
        0, 1, (ROWS, steps * width)
    )


def _old_embedding(random: Random) -> Made:
    """Seven words to a topic."""
    graph = Graph(6, dtype=TensorProto.INT64, opset=_OLD)
    value = graph.add("Gather", random.normal(0, 1, (7, 4)), graph.input)
    value = graph.add("ReduceMean", value, axes=[1], keepdims=0)
    value = graph.add("Tanh", _linear(graph, value, 4, 6, random))
    value = graph.add("Softmax", _linear(graph, value, 6, 3, random), axis=1)
    return graph.model(value, 3), random.integers(0, 7, (ROWS, 6))


def _old_normalize(random: Random) -> Made:
    """``F.normalize`` of an embedding."""
    graph = Graph(5, opset=_OLD)
    value = _linear(graph, graph.input, 5, 4, random)
    length = graph.add("Clip", graph.add("ReduceL2", value, axes=[1], keepdims=1), 1e-12)
    length = graph.add("Expand", length, graph.add("Shape", value))
    return graph.model(graph.add("Div", value, length), 4), random.normal(0, 1, (ROWS, 5))


def _old_group_norm(random: Random) -> Made:
    graph = Graph(4, 3, 3, opset=_OLD)
    shape = graph.add("Shape", graph.input)
    value = graph.add("Reshape", graph.input, [0, 2, -1])
    value = graph.add("InstanceNormalization", value, np.ones(2), np.zeros(2), epsilon=1e-5)
    value = graph.add("Reshape", value, shape)
    value = graph.add("Mul", value, random.uniform(0.5, 1.5, (4, 1, 1)))
    value = graph.add("Relu", graph.add("Add", value, random.normal(0, 0.2, (4, 1, 1))))
    value = _linear(graph, graph.add("Flatten", value, axis=1), 36, 2, random)
    return graph.model(value, 2), random.normal(0, 1, (ROWS, 36))


def _old_masked_attention(random: Random) -> Made:
    """No position sees a later one: what is masked gets the least float."""
    steps, width = 4, 3
    graph = Graph(steps, width, opset=_OLD)
    query, key, values = (_projected(graph, graph.input, width, width, random) for _ in range(3))
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 2, 1]))
    scores = graph.add("Div", scores, width**0.5)
    seen = np.tril(np.ones((1, steps, steps), dtype=bool))
    lowest = float(np.finfo(np.float32).min)
    shares = graph.add("Softmax", graph.add("Where", seen, scores, lowest), axis=-1)
    return graph.model(graph.add("MatMul", shares, values), steps, width), random.normal(
        0, 1, (ROWS, steps * width)
    )


def _old_variance_head(random: Random) -> Made:
    """A mean and a deviation, ``exp(log_variance / 2)``, as Gaussian heads give them."""
    graph = Graph(4, opset=_OLD)
    value = graph.add("Tanh", _linear(graph, graph.input, 4, 8, random))
    mean, logs = _linear(graph, value, 8, 2, random), _linear(graph, value, 8, 2, random)
    deviation = graph.add("Exp", graph.add("Mul", graph.add("Mul", logs, 4.0), 0.5))
    return graph.model(graph.add("Concat", mean, deviation, axis=1), 4), random.normal(
        0, 1.5, (ROWS, 4)
    )


# --- the newer exporter ---------------------------------------------------------------------------


def _new_gelu(approximate: str, random: Random) -> Made:
    graph = Graph(5, opset=_NEWEST)
    value = graph.add("Gelu", _linear(graph, graph.input, 5, 10, random), approximate=approximate)
    return graph.model(_linear(graph, value, 10, 2, random), 2), random.normal(0, 1.5, (ROWS, 5))


def _new_block(random: Random) -> Made:
    """A transformer's block of one head, the norm first, then its pooled answer."""
    steps, width = 3, 4
    graph = Graph(steps, width, opset=_NEW)
    value = graph.add(
        "LayerNormalization", graph.input, np.ones(width), np.zeros(width), axis=-1, epsilon=1e-5
    )
    query, key, values = (_projected(graph, value, width, width, random) for _ in range(3))
    root = width**-0.25
    scores = graph.add(
        "MatMul",
        graph.add("Mul", query, root),
        graph.add("Mul", graph.add("Transpose", key, perm=[0, 2, 1]), root),
    )
    shares = graph.add("Softmax", scores, axis=-1)
    # A row that is masked throughout would be none.
    shares = graph.add("Where", graph.add("IsNaN", shares), 0.0, shares)
    value = graph.add("Add", graph.input, graph.add("MatMul", shares, values))
    value = graph.add("ReduceMean", value, [1], keepdims=0, noop_with_empty_axes=0)
    return graph.model(_linear(graph, value, width, 2, random), 2), random.normal(
        0, 1, (ROWS, steps * width)
    )


def _new_convolutions(random: Random) -> Made:
    graph = Graph(1, 7, 7, opset=_NEW)
    value = graph.input
    for before, after in ((1, 2), (2, 4)):
        weight = _uniform(random, 9 * before, after, before, 3, 3)
        value = graph.add(
            "Conv",
            value,
            weight,
            _uniform(random, 9 * before, after),
            auto_pad="NOTSET",
            dilations=[1, 1],
            group=1,
            pads=[1, 1, 1, 1],
            strides=[2, 2],
        )
        value = graph.add("HardSwish", value)
    value = graph.add("ReduceMean", value, [-1, -2], keepdims=1, noop_with_empty_axes=0)
    value = graph.add("Reshape", value, [-1, 4], allowzero=1)
    return graph.model(_linear(graph, value, 4, 3, random), 3), random.uniform(0, 1, (ROWS, 49))


def _new_gated(random: Random) -> Made:
    """Root mean square norm and a gated layer, as language models have them."""
    graph = Graph(4, opset=_NEW)
    mean = graph.add("ReduceMean", graph.add("Pow", graph.input, 2.0), [-1], keepdims=1)
    root = graph.add("Reciprocal", graph.add("Sqrt", graph.add("Add", mean, 1e-6)))
    value = graph.add("Mul", graph.add("Mul", graph.input, root), random.uniform(0.5, 1.5, 4))
    gate = _silu(graph, graph.add("MatMul", value, _uniform(random, 4, 4, 6)))
    gated = graph.add("Mul", gate, graph.add("MatMul", value, _uniform(random, 4, 4, 6)))
    inner = graph.add("MatMul", gated, _uniform(random, 6, 6, 4))
    return graph.model(graph.add("Add", graph.input, inner), 4), random.normal(0, 1, (ROWS, 4))


def _new_two_inputs(random: Random) -> Made:
    """Numbers and a category of an input of its own."""
    graph = Graph(3, opset=_NEW)
    code = graph.feed("code", dtype=TensorProto.INT64)
    row = graph.add("Gather", random.normal(0, 1, (5, 2)), code, axis=0)
    value = graph.add("Concat", graph.input, row, axis=-1)
    value = graph.add("Relu", _linear(graph, value, 5, 8, random))
    value = graph.add("Sigmoid", _linear(graph, value, 8, 1, random))
    rows = np.hstack([random.normal(0, 1, (ROWS, 3)), random.integers(0, 5, (ROWS, 1))])
    return graph.model(value, 1), rows


RECIPES: Mapping[str, Recipe] = {
    "old_mlp": Recipe("older exporter", _old_mlp),
    "old_mlp_top1": Recipe("older exporter", _old_mlp, "top1"),
    "old_classifier": Recipe("older exporter", _old_classifier),
    "old_norm_gelu": Recipe("older exporter", _old_norm_gelu),
    "old_convolutions": Recipe("older exporter", _old_convolutions, "top1"),
    "old_silu_signal": Recipe("older exporter", _old_silu_signal),
    "old_multi_head": Recipe("older exporter", _old_multi_head),
    "old_lstm": Recipe("older exporter", _old_lstm),
    "old_embedding": Recipe("older exporter", _old_embedding),
    "old_normalize": Recipe("older exporter", _old_normalize),
    "old_group_norm": Recipe("older exporter", _old_group_norm),
    "old_masked_attention": Recipe("older exporter", _old_masked_attention),
    "old_variance_head": Recipe("older exporter", _old_variance_head),
    "new_gelu": Recipe("newer exporter", partial(_new_gelu, "none")),
    "new_gelu_tanh": Recipe("newer exporter", partial(_new_gelu, "tanh")),
    "new_block": Recipe("newer exporter", _new_block),
    "new_convolutions": Recipe("newer exporter", _new_convolutions),
    "new_gated": Recipe("newer exporter", _new_gated),
    "new_two_inputs": Recipe("newer exporter", _new_two_inputs, "threshold:0.5"),
}
