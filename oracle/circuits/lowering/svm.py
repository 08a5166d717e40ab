"""Support vector machines: a kernel matrix, then one product for all pairs of classes."""

from __future__ import annotations

import itertools

import numpy as np
from onnx import TensorProto

from oracle.circuits.lowering import scores
from oracle.circuits.lowering.graph import ML, Array, Graph, Node, Rules, float32s

_LABELS = ("classlabels_ints", "classlabels_strings")


def _kernel(graph: Graph, node: Node, vectors: Array) -> str:
    """Kernel of each row with each support vector, [batch, vectors].

    Kernels as in libsvm, with parameters gamma, coef0 and degree.
    """
    x = scores.float_input(graph, node)
    kind = node.attribute("kernel_type", "LINEAR")
    gamma, offset, degree = (*node.floats("kernel_params"), 0.0, 0.0, 0.0)[:3]
    if kind == "LINEAR":
        return graph.add("MatMul", x, vectors.T.astype(np.float32))
    if kind == "RBF":
        # gamma |x - v|^2 = gamma |x|^2 + x @ (-2 gamma v) + gamma |v|^2, negated for exp.
        cross = graph.add("MatMul", x, (2 * gamma * vectors.T).astype(np.float32))
        column = np.full((vectors.shape[1], 1), -gamma, dtype=np.float32)
        own = graph.add("MatMul", graph.add("Mul", x, x), column)
        norms = (-gamma * (vectors**2).sum(axis=1)).astype(np.float32)
        return graph.add("Exp", graph.add("Add", graph.add("Add", cross, own), norms))
    product = graph.add("MatMul", x, (gamma * vectors.T).astype(np.float32))
    inner = graph.add("Add", product, float32s([offset])) if offset else product
    if kind == "SIGMOID":
        return graph.add("Tanh", inner)
    if kind == "POLY" and degree == int(degree) and degree >= 1:
        power = inner
        for _ in range(int(degree) - 1):
            power = graph.add("Mul", power, inner)
        return power
    raise node.refuse(f"with kernel {kind} of degree {degree:g} cannot be proved")


def _regressor(graph: Graph, node: Node) -> list[str]:
    coefficients = node.floats("coefficients")
    count = node.attribute("n_supports", 0)
    if count:
        kernel = _kernel(graph, node, node.floats("support_vectors").reshape(count, -1))
    else:
        kernel = scores.float_input(graph, node)
    product = graph.add("MatMul", kernel, coefficients.astype(np.float32)[:, np.newaxis])
    result = graph.add("Add", product, node.floats("rho")[:1].astype(np.float32))
    if node.attribute("one_class", 0):
        above = graph.add("Greater", result, float32s([0]))
        result = graph.add("Where", above, float32s([1]), float32s([-1]))
    return [result]


def _classifier(graph: Graph, node: Node) -> list[str]:
    classes = scores.class_count(node, *_LABELS)
    counts = list(node.attribute("vectors_per_class", ()))
    if not counts:
        weights = node.floats("coefficients").reshape(classes, -1).T.astype(np.float32)
        product = graph.add("MatMul", scores.float_input(graph, node), weights)
        raw = graph.add("Add", product, node.floats("rho")[:1].astype(np.float32))
        index = scores.argmax(graph, raw)
        return [scores.labels(graph, node, index, *_LABELS), scores.transform(graph, node, raw)]
    pairs = list(itertools.combinations(range(classes), 2))
    kernel = _kernel(graph, node, node.floats("support_vectors").reshape(sum(counts), -1))
    product = graph.add("MatMul", kernel, _dual(node, counts, pairs))
    raw = graph.add("Add", product, node.floats("rho")[: len(pairs)].astype(np.float32))
    label = scores.labels(graph, node, _votes(graph, raw, pairs, classes), *_LABELS)
    if len(node.floats("prob_a")):
        return [label, _platt(graph, node, raw, classes)]
    if classes > 2:
        return [label, scores.transform(graph, node, raw)]
    if node.attribute("post_transform", "NONE") == "NONE":
        first = graph.add("Neg", raw)
    else:
        first = graph.add("Sub", float32s([1]), raw)
    return [label, scores.columns(graph, first, raw)]


def _dual(node: Node, counts: list[int], pairs: list[tuple[int, int]]) -> Array:
    """Weight of each support vector for each pair of classes, [vectors, pairs].

    libsvm keeps them as [classes - 1, vectors]: a vector of class i has its weight against class
    j in row j - 1 if j > i, else in row j.
    """
    coefficients = node.floats("coefficients").reshape(-1, sum(counts))
    start = np.concatenate([[0], np.cumsum(counts)])
    weights = np.zeros((sum(counts), len(pairs)), dtype=np.float32)
    for column, (i, j) in enumerate(pairs):
        of_i, of_j = slice(start[i], start[i + 1]), slice(start[j], start[j + 1])
        weights[of_i, column] = coefficients[j - 1, of_i]
        weights[of_j, column] = coefficients[i, of_j]
    return weights


def _votes(graph: Graph, raw: str, pairs: list[tuple[int, int]], classes: int) -> str:
    """Index [batch, 1] of the class that wins most pairs, the first of equals."""
    wins = graph.add("Cast", graph.add("Greater", raw, float32s([0])), to=TensorProto.FLOAT)
    if classes == 2:
        return graph.add("Cast", graph.add("Sub", float32s([1]), wins), to=TensorProto.INT64)
    change = np.zeros((len(pairs), classes), dtype=np.float32)
    lost = np.zeros(classes, dtype=np.float32)
    for row, (i, j) in enumerate(pairs):
        change[row, i], change[row, j] = 1, -1
        lost[j] += 1
    return scores.argmax(graph, graph.add("Add", graph.add("MatMul", wins, change), lost))


def _platt(graph: Graph, node: Node, raw: str, classes: int) -> str:
    """Probabilities of two classes by Platt's sigmoid."""
    if classes > 2:
        raise node.refuse(
            "couples the probabilities of more than two classes by an iteration",
            "Export the SVM without probabilities; its scores can be proved",
        )
    a, b = node.floats("prob_a"), node.floats("prob_b")
    scaled = graph.add("Mul", raw, (-a).astype(np.float32))
    first = graph.add("Sigmoid", graph.add("Add", scaled, (-b).astype(np.float32)))
    return scores.columns(graph, first, graph.add("Sub", float32s([1]), first))


RULES: Rules = {(ML, "SVMRegressor"): _regressor, (ML, "SVMClassifier"): _classifier}
