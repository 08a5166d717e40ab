"""What the classifiers and regressors of ``ai.onnx.ml`` share: transforms, labels, tables."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from oracle.circuits.lowering.graph import Array, Graph, Node, float32s, int64s


def float_input(graph: Graph, node: Node, position: int = 0) -> str:
    """An input as float32."""
    name = node.input(position)
    if graph.element_type(name) == TensorProto.FLOAT:
        return name
    return graph.add("Cast", name, to=TensorProto.FLOAT)


def transform(graph: Graph, node: Node, scores: str) -> str:
    """``post_transform`` of several scores a row, [batch, n].

    SOFTMAX_ZERO leaves zeros at zero; fixed point has exact zeros where the float model has them.
    """
    kind = node.attribute("post_transform", "NONE")
    if kind == "NONE":
        return scores
    if kind == "LOGISTIC":
        return graph.add("Sigmoid", scores)
    if kind == "SOFTMAX":
        return graph.add("Softmax", scores, axis=-1)
    raise node.refuse(f"with post_transform {kind} cannot be proved", "Export without it")


def labels(graph: Graph, node: Node, index: str, ints: str, strings: str) -> str:
    """Class labels [batch] for class indices [batch, 1]; classes named by text keep the index.

    Args:
        graph: where the nodes go.
        node: the classifier.
        index: name of the int64 tensor.
        ints: attribute with the labels as integers.
        strings: attribute with the labels as text.
    """
    values = node.attribute(ints, ())
    if values and not node.attribute(strings, ()):
        index = select(graph, index, np.asarray(values, dtype=np.int64))
    return graph.add("Reshape", index, int64s([-1]))


def class_count(node: Node, ints: str, strings: str) -> int:
    """Number of classes that the node names."""
    return len(node.attribute(strings, ()) or node.attribute(ints, ()))


def argmax(graph: Graph, scores: str) -> str:
    """Index [batch, 1] of each row's greatest score, the first of equals."""
    return graph.add("ArgMax", scores, axis=1, keepdims=1)


def positive(graph: Graph, score: str, bound: float = 0.0) -> str:
    """1 where a score is above a bound, else 0; int64 in the score's shape."""
    return graph.add("Cast", graph.add("Greater", score, float32s([bound])), to=TensorProto.INT64)


def one_hot(graph: Graph, values: str, keys: Array) -> str:
    """1 where a value equals a key, else 0: float32 in the values' shape, then [keys].

    A selection, because the circuit compiler loses the scale of an equality's result.
    """
    column = graph.add("Unsqueeze", values, int64s([-1]))
    equal = graph.add("Equal", column, keys)
    return graph.add("Where", equal, float32s([1]), float32s([0]))


def select(graph: Graph, index: str, table: Array) -> str:
    """``table[index]`` for a one-dimensional int64 table, in the index's shape."""
    if np.array_equal(table, np.arange(len(table))):
        return index
    keys = np.arange(len(table), dtype=np.int64)
    chosen = graph.add(
        "MatMul", one_hot(graph, index, keys), table.astype(np.float32)[:, np.newaxis]
    )
    flat = graph.add("Squeeze", chosen, int64s([-1]))
    return graph.add("Cast", flat, to=TensorProto.INT64)


def columns(graph: Graph, *parts: str) -> str:
    """Columns [batch, 1] side by side."""
    return graph.add("Concat", *parts, axis=1)
