"""LinearRegressor and LinearClassifier: one matrix product."""

from __future__ import annotations

import numpy as np

from oracle.circuits.lowering import scores
from oracle.circuits.lowering.graph import ML, Graph, Node, Rules, float32s


def _product(graph: Graph, node: Node, targets: int) -> str:
    """``x @ coefficients.T + intercepts``, [batch, targets]."""
    weights = node.floats("coefficients").reshape(targets, -1).T.astype(np.float32)
    shape = graph.known_shape(node.input(0))
    if shape is not None and shape[-1] != len(weights):
        raise node.refuse(
            f"has coefficients for {len(weights)} features, its input has {shape[-1]}",
            "Export the model again, with the number of features that it was trained on",
        )
    product = graph.add("MatMul", scores.float_input(graph, node), weights)
    intercepts = node.floats("intercepts").astype(np.float32)
    return graph.add("Add", product, intercepts) if intercepts.any() else product


def _regressor(graph: Graph, node: Node) -> list[str]:
    return [scores.transform(graph, node, _product(graph, node, node.attribute("targets", 1)))]


def _classifier(graph: Graph, node: Node) -> list[str]:
    labels = ("classlabels_ints", "classlabels_strings")
    targets = len(node.floats("intercepts")) or scores.class_count(node, *labels)
    raw = _product(graph, node, targets)
    if targets > 1:
        index = scores.argmax(graph, raw)
        return [scores.labels(graph, node, index, *labels), scores.transform(graph, node, raw)]
    # One score for two classes: onnxruntime gives the first class the rest to 1.
    index = scores.positive(graph, raw)
    second = raw
    if node.attribute("post_transform", "NONE") == "LOGISTIC":
        second = graph.add("Sigmoid", raw)
    elif node.attribute("post_transform", "NONE") == "PROBIT":
        raise node.refuse("with post_transform PROBIT cannot be proved", "Export without it")
    first = graph.add("Sub", float32s([1]), second)
    return [scores.labels(graph, node, index, *labels), scores.columns(graph, first, second)]


RULES: Rules = {(ML, "LinearRegressor"): _regressor, (ML, "LinearClassifier"): _classifier}
