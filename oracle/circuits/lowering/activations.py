"""Activations and norms that the circuit compiler lacks, by their definitions in the ONNX text."""

from __future__ import annotations

import math

from oracle.circuits.lowering.graph import Graph, Node, Rules, float32s, int64s


def _gelu(graph: Graph, node: Node) -> list[str]:
    x = node.input(0)
    if node.attribute("approximate", "none") == "tanh":
        cube = graph.add("Mul", graph.add("Mul", x, x), x)
        inner = graph.add("Add", x, graph.add("Mul", cube, float32s([0.044715])))
        scaled = graph.add("Mul", inner, float32s([math.sqrt(2 / math.pi)]))
        gate = graph.add("Tanh", scaled)
    else:
        gate = graph.add("Erf", graph.add("Mul", x, float32s([math.sqrt(0.5)])))
    half = graph.add("Mul", x, float32s([0.5]))
    return [graph.add("Mul", half, graph.add("Add", gate, float32s([1])))]


def _mish(graph: Graph, node: Node) -> list[str]:
    x = node.input(0)
    return [graph.add("Mul", x, graph.add("Tanh", graph.add("Softplus", x)))]


def _swish(graph: Graph, node: Node) -> list[str]:
    x, alpha = node.input(0), node.attribute("alpha", 1.0)
    scaled = x if alpha == 1 else graph.add("Mul", x, float32s([alpha]))
    return [graph.add("Mul", x, graph.add("Sigmoid", scaled))]


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


RULES: Rules = {
    ("", "Gelu"): _gelu,
    ("", "LogSoftmax"): _log_softmax,
    ("", "LpNormalization"): _lp_normalization,
    ("", "MeanVarianceNormalization"): _mean_variance_normalization,
    ("", "Mish"): _mish,
    ("", "ReduceProd"): _reduce_product,
    ("", "Swish"): _swish,
}
