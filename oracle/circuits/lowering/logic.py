"""Equality and lookups by an index that the input decides."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from oracle.circuits.lowering import scores
from oracle.circuits.lowering.graph import Graph, Node, Rules, int64s

#: Longer tables are left to the circuit compiler's own lookup, which needs an integer model.
_MAX_TABLE = 4096


def _equal(graph: Graph, node: Node) -> list[str] | None:
    """The circuit compiler loses the scale of an equality's result; as a selector it is right."""
    if set(graph.consumers(node.proto.output[0])) <= {"Where"}:
        return None
    if graph.element_type(node.input(0)) == TensorProto.BOOL:
        return [graph.add("Not", graph.add("Xor", *node.inputs))]
    below = graph.add("LessOrEqual", *node.inputs)
    return [graph.add("And", below, graph.add("GreaterOrEqual", *node.inputs))]


def _gather(graph: Graph, node: Node) -> list[str] | None:
    """A row of a constant table at an index that the input decides, as in an embedding."""
    table = graph.constant(node.input(0))
    if graph.constant(node.input(1)) is not None or table is None:
        return None
    if node.attribute("axis", 0) != 0 or table.dtype.kind != "f":
        raise node.refuse("looks up positions that depend on the input, other than rows of floats")
    if len(table) > _MAX_TABLE:
        raise node.refuse(
            f"looks up one of {len(table)} rows, the limit is {_MAX_TABLE}", "Use a smaller table"
        )
    index = node.input(1)
    dtype = np.int32 if graph.element_type(index) == TensorProto.INT32 else np.int64
    hits = scores.one_hot(graph, index, np.arange(len(table), dtype=dtype))
    rows = table.reshape(len(table), -1).astype(np.float32)
    chosen = graph.add("MatMul", hits, rows)
    if table.ndim == 2:
        return [chosen]
    shape = (*graph.shape(node, 1), *table.shape[1:])
    return [graph.add("Reshape", chosen, int64s(shape))]


def _never(graph: Graph, node: Node) -> list[str]:
    """Fixed point has neither NaN nor infinity."""
    return [graph.add("Less", node.input(0), node.input(0))]


def _cast_like(graph: Graph, node: Node) -> list[str]:
    """A cast to a type that is known; of a constant, the constant."""
    value, dtype = graph.constant(node.input(0)), graph.numpy_type(node.input(1))
    if value is not None:
        return [graph.array(value.astype(dtype))]
    return [graph.add("Cast", node.input(0), to=helper.np_dtype_to_tensor_dtype(dtype))]


RULES: Rules = {
    ("", "CastLike"): _cast_like,
    ("", "Equal"): _equal,
    ("", "Gather"): _gather,
    ("", "IsInf"): _never,
    ("", "IsNaN"): _never,
}
