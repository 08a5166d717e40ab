"""Activations, norms and powers that the circuit compiler lacks, gets wrong or makes dear.

Definitions are those of the ONNX text. A comparison is what an element-wise operator costs in a
circuit, so the forms here have the fewest.
"""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from oracle.circuits.lowering.graph import Array, Graph, Node, Rules, float32s, int64s

#: Greater powers are left to the circuit compiler.
_MAX_POWER = 16
#: Exporters write an open bound as the greatest float32.
_INFINITE = 1e37


def _mish(graph: Graph, node: Node) -> list[str]:
    x = node.input(0)
    return [graph.add("Mul", x, graph.add("Tanh", _softened(graph, x)))]


def _softplus(graph: Graph, node: Node) -> list[str]:
    return [_softened(graph, node.input(0))]


def _softened(graph: Graph, x: str) -> str:
    """``log(1 + exp(x))`` as ``relu(x) + log(1 + exp(-|x|))``: no table of exponentials above one."""
    small = graph.add("Exp", graph.add("Neg", graph.add("Abs", x)))
    rest = graph.add("Log", graph.add("Add", small, float32s([1])))
    return graph.add("Add", graph.add("Relu", x), rest)


def _lp_normalization(graph: Graph, node: Node) -> list[str]:
    x, axis = node.input(0), node.attribute("axis", -1)
    if node.attribute("p", 2) == 1:
        norm = graph.reduce("ReduceSum", graph.add("Abs", x), [axis])
    else:
        norm = graph.reduce("ReduceSum", graph.add("Mul", x, x), [axis])
        norm = graph.add("Sqrt", norm)
    return [graph.add("Div", x, norm)]


def _log_softmax(graph: Graph, node: Node) -> list[str]:
    """``x - max - log(sum(exp(x - max)))``: the logarithm of a small softmax has no precision."""
    x, axis = node.input(0), node.attribute("axis", -1)
    lowered = graph.add("Sub", x, graph.reduce("ReduceMax", x, [axis]))
    total = graph.reduce("ReduceSum", graph.add("Exp", lowered), [axis])
    return [graph.add("Sub", lowered, graph.add("Log", total))]


def _mean_variance(graph: Graph, x: str, axes: list[int], count: int) -> tuple[str, str]:
    """``x`` minus its mean over ``axes``, and the variance, dimensions kept."""
    share = float32s([1 / count])
    mean = graph.add("Mul", graph.reduce("ReduceSum", x, axes), share)
    centred = graph.add("Sub", x, mean)
    squares = graph.add("Mul", centred, centred)
    variance = graph.add("Mul", graph.reduce("ReduceSum", squares, axes), share)
    return centred, variance


def _mean_variance_normalization(graph: Graph, node: Node) -> list[str]:
    shape = graph.shape(node)
    axes = [axis % len(shape) for axis in node.attribute("axes", (0, 2, 3))]
    count = math.prod(shape[axis] for axis in axes)
    centred, variance = _mean_variance(graph, node.input(0), axes, count)
    return [graph.add("Div", centred, graph.add("Sqrt", variance))]


def _batch_normalization(graph: Graph, node: Node) -> list[str] | None:
    """A factor and a summand for each channel; None where they are not known."""
    if node.attribute("training_mode", 0):
        raise node.refuse("normalises by the batch, as in training", "Export after model.eval()")
    given = [graph.constant(node.input(position)) for position in range(1, 5)]
    shape = graph.known_shape(node.input(0))
    if shape is None or any(v is None for v in given):
        return None
    factor, offset, mean, variance = (np.asarray(each, dtype=np.float64) for each in given)
    factor = factor / np.sqrt(variance + node.attribute("epsilon", 1e-5))
    # Channels are the second dimension.
    across = (-1, *(1 for _ in shape[2:]))
    scaled = graph.add("Mul", node.input(0), float32s(factor.reshape(across)))
    return [graph.add("Add", scaled, float32s((offset - mean * factor).reshape(across)))]


def _reduce_mean(graph: Graph, node: Node) -> list[str] | None:
    """A sum and its share: a power of two costs nothing."""
    axes = graph.constant(node.input(1)) if node.input(1) else node.attribute("axes")
    shape = graph.known_shape(node.input(0))
    if axes is None or shape is None or node.attribute("keepdims", 1) != 1 or not len(axes):
        return None
    axes = [int(axis) % len(shape) for axis in axes]
    if 0 in axes:
        # The first dimension may be the batch.
        return None
    total = graph.reduce("ReduceSum", node.input(0), axes)
    return [graph.add("Mul", total, float32s([1 / math.prod(shape[axis] for axis in axes)]))]


def _reduce_product(graph: Graph, node: Node) -> list[str] | None:
    """Factor by factor, so that every product is rescaled."""
    shape = graph.shape(node)
    axes = node.attribute("axes")
    if axes is None and node.input(1):
        axes = graph.constant(node.input(1))
    wanted = range(len(shape)) if axes is None else sorted(axis % len(shape) for axis in axes)
    result = node.input(0)
    for axis in wanted:
        factors = [
            graph.add("Gather", result, int64s([index]), axis=axis) for index in range(shape[axis])
        ]
        result = factors[0]
        for factor in factors[1:]:
            result = graph.add("Mul", result, factor)
    if not node.attribute("keepdims", 1):
        result = graph.add("Squeeze", result, int64s(list(wanted)))
    return [result]


def _prelu(graph: Graph, node: Node) -> list[str] | None:
    """``x + (1 - slope) relu(-x)``, a quarter of the rows of two selections."""
    x, shape = node.input(0), graph.shape(node)
    slope = graph.constant(node.input(1))
    if slope is None:
        return None
    if slope.ndim == 1 and slope.size not in (1, shape[-1]) and len(shape) > 2:
        # Until opset 6 a slope a channel needed no dimensions behind it; converting adds none.
        slope = slope.reshape(-1, *(1 for _ in shape[2:]))
    slope = slope.astype(np.float32)
    return [_leaky(graph, x, slope)]


def _leaky_relu(graph: Graph, node: Node) -> list[str]:
    return [_leaky(graph, node.input(0), float32s([node.attribute("alpha", 0.01)]))]


def _leaky(graph: Graph, x: str, slope: Array) -> str:
    below = graph.add("Relu", graph.add("Neg", x))
    return graph.add("Add", x, graph.add("Mul", below, float32s(1 - slope)))


def _celu(graph: Graph, node: Node) -> list[str]:
    """``x + n + alpha (exp(-n / alpha) - 1)`` of ``n = relu(-x)``."""
    x, alpha = node.input(0), node.attribute("alpha", 1.0)
    below = graph.add("Relu", graph.add("Neg", x))
    decay = graph.add("Exp", graph.add("Mul", below, float32s([-1 / alpha])))
    curve = graph.add("Mul", graph.add("Sub", decay, float32s([1])), float32s([alpha]))
    return [graph.add("Add", graph.add("Add", x, below), curve)]


def _sum(graph: Graph, node: Node) -> list[str]:
    """Of any number of tensors: two by two, in the file's order."""
    result, *others = node.inputs
    for other in others:
        result = graph.add("Add", result, other)
    return [result if others else graph.add("Identity", result)]


def _maximum(graph: Graph, node: Node) -> list[str] | None:
    """``b + relu(a - b)``: one comparison, and constants of any shape."""
    if graph.element_type(node.input(0)) != TensorProto.FLOAT:
        return None
    result, *others = node.inputs
    for other in others:
        result = graph.add("Add", graph.add("Relu", graph.add("Sub", result, other)), other)
    return [result]


def _minimum(graph: Graph, node: Node) -> list[str] | None:
    """``a - relu(a - b)``."""
    if graph.element_type(node.input(0)) != TensorProto.FLOAT:
        return None
    result, *others = node.inputs
    for other in others:
        result = graph.add("Sub", result, graph.add("Relu", graph.add("Sub", result, other)))
    return [result]


def _clip(graph: Graph, node: Node) -> list[str] | None:
    if graph.element_type(node.input(0)) != TensorProto.FLOAT:
        return None
    x = result = node.input(0)
    # Infinite bounds bound nothing, and fixed point has no infinity.
    low, high = (_bound(graph, node, position) for position in (1, 2))
    if low is not None:
        result = graph.add("Add", graph.add("Relu", graph.add("Sub", x, low)), low)
    if high is not None:
        over = graph.add("Relu", graph.add("Sub", result, high))
        result = graph.add("Sub", result, over)
    return [result]


def _bound(graph: Graph, node: Node, position: int) -> str | None:
    name = node.input(position)
    value = graph.constant(name) if name else None
    if not name or (value is not None and np.abs(value).max() > _INFINITE):
        return None
    return name


def _hard_sigmoid(graph: Graph, node: Node) -> list[str]:
    """``relu(t) - relu(t - 1)`` of ``t = alpha x + beta``."""
    slope = float32s([node.attribute("alpha", 0.2)])
    line = graph.add("Mul", node.input(0), slope)
    line = graph.add("Add", line, float32s([node.attribute("beta", 0.5)]))
    over = graph.add("Relu", graph.add("Sub", line, float32s([1])))
    return [graph.add("Sub", graph.add("Relu", line), over)]


def _pow(graph: Graph, node: Node) -> list[str] | None:
    """To a power that is known, or to one for each position of the last dimension; of a known base."""
    x, exponents = node.input(0), graph.constant(node.input(1))
    base = graph.constant(x)
    if exponents is None and base is not None and base.size and (base > 0).all():
        logarithm = np.log(base.astype(np.float64)).astype(np.float32)
        return [graph.add("Exp", graph.add("Mul", node.input(1), logarithm))]
    if exponents is None or not exponents.size:
        raise node.refuse("needs exponents that are known", "Multiply, or use Exp and Log")
    if exponents.size == 1:
        power = _power(graph, x, float(exponents.flat[0]))
        return None if power is None else [power]
    shape = graph.shape(node)
    if exponents.shape[-1:] != shape[-1:] or exponents.size != shape[-1]:
        raise node.refuse(
            "has exponents that differ, other than along the last dimension", "Transpose first"
        )
    # Those of one exponent together, then back in their order.
    values, which = np.unique(exponents.ravel(), return_inverse=True)
    columns = [np.flatnonzero(which == index) for index in range(len(values))]
    powers = []
    for value, positions in zip(values.tolist(), columns, strict=True):
        part = graph.add("Gather", x, int64s(positions), axis=-1)
        powers.append(
            _power(graph, part, value) or graph.add("Pow", part, np.asarray(value, np.float32))
        )
    joined = graph.add("Concat", *powers, axis=-1) if len(powers) > 1 else powers[0]
    return [graph.add("Gather", joined, int64s(np.argsort(np.concatenate(columns))), axis=-1)]


def _power(graph: Graph, x: str, exponent: float) -> str | None:
    """Whole powers factor by factor, so that every product is rescaled; negative ones inverted."""
    if abs(exponent) == 0.5:
        root = graph.add("Sqrt", x)
        return root if exponent > 0 else graph.add("Reciprocal", root)
    if exponent != int(exponent) or not 1 <= abs(exponent) <= _MAX_POWER:
        return None
    power = x
    for _ in range(int(abs(exponent)) - 1):
        power = graph.add("Mul", power, x)
    return power if exponent > 0 else graph.add("Reciprocal", power)


RULES: Rules = {
    ("", "Softplus"): _softplus,
    ("", "BatchNormalization"): _batch_normalization,
    ("", "Celu"): _celu,
    ("", "Clip"): _clip,
    ("", "HardSigmoid"): _hard_sigmoid,
    ("", "LeakyRelu"): _leaky_relu,
    ("", "LogSoftmax"): _log_softmax,
    ("", "LpNormalization"): _lp_normalization,
    ("", "Max"): _maximum,
    ("", "MeanVarianceNormalization"): _mean_variance_normalization,
    ("", "Min"): _minimum,
    ("", "Mish"): _mish,
    ("", "PRelu"): _prelu,
    ("", "Pow"): _pow,
    ("", "ReduceMean"): _reduce_mean,
    ("", "ReduceProd"): _reduce_product,
    ("", "Sum"): _sum,
}
