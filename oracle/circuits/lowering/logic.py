"""Equality and lookups by an index that the input decides.

A lookup is a product with a one at the index and zeros elsewhere. An index below zero counts from the
end, so that one whose sign is not known is brought up first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from oracle.circuits.lowering import scores
from oracle.circuits.lowering.graph import Graph, Node, Rules, float32s, int64s

#: Longer tables take more rows than a circuit has.
_MAX_TABLE = 4096
#: Operators that put numbers elsewhere, or write them otherwise.
_MOVES = frozenset(
    {"Cast", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose"}
    | {"Unsqueeze"}
)
#: Operators whose results are not below zero, and those of which this holds if it does of arguments.
_NOT_NEGATIVE = frozenset({"Abs", "ArgMax", "ArgMin", "Relu", "Shape"})
_KEEP_SIGN = frozenset({"Add", "Concat", "Floor", "MatMul", "Max", "Mul", "ReduceSum"}) | _MOVES
_UNSIGNED = frozenset(
    {
        TensorProto.BOOL,
        TensorProto.UINT8,
        TensorProto.UINT16,
        TensorProto.UINT32,
        TensorProto.UINT64,
    }
)
#: How far back a sign is traced.
_DEPTH = 24


def _equal(graph: Graph, node: Node) -> list[str] | None:
    """The circuit compiler loses the scale of an equality's result; as a selector it is right."""
    result = node.proto.output[0]
    selects = all(reader.key == ("", "Where") for reader in graph.readers(result))
    if selects and not graph.is_output(result):
        return None
    if graph.element_type(node.input(0)) == TensorProto.BOOL:
        return [graph.add("Not", graph.add("Xor", *node.inputs))]
    below = graph.add("LessOrEqual", *node.inputs)
    return [graph.add("And", below, graph.add("GreaterOrEqual", *node.inputs))]


def _gather(graph: Graph, node: Node) -> list[str] | None:
    """Parts of a constant table at indices that the input decides, as in an embedding."""
    table = graph.constant(node.input(0))
    if graph.constant(node.input(1)) is not None or table is None:
        return None
    axis = node.attribute("axis", 0) % table.ndim
    rows = np.moveaxis(table, axis, 0)
    hits = _hits(graph, node, 1, len(rows))
    weights = rows.reshape(len(rows), -1).astype(np.float32)
    chosen = graph.add("MatMul", hits, weights)
    if rows.ndim == 1:
        chosen = graph.add("Squeeze", chosen, int64s([-1]))
    elif rows.ndim > 2 or axis:
        indices = graph.shape(node, 1)
        # The first may be the batch.
        shape = (*(-1 for _ in indices[:1]), *indices[1:], *rows.shape[1:])
        chosen = graph.add("Reshape", chosen, int64s(shape))
        if axis:
            order = list(range(len(indices), len(shape)))
            order[axis:axis] = range(len(indices))
            chosen = graph.add("Transpose", chosen, perm=order)
    return [_typed(graph, chosen, table.dtype)]


def _gather_elements(graph: Graph, node: Node) -> list[str] | None:
    """For each index, the element there of the line that it lies in."""
    if graph.constant(node.input(1)) is not None:
        return None
    shape, indices = graph.shape(node), graph.shape(node, 1)
    axis = node.attribute("axis", 0) % len(shape)
    others = [position for position in range(len(shape)) if position != axis]
    if any(shape[position] != indices[position] for position in others):
        raise node.refuse("looks up in a part of its lines", "Slice them first")
    hits = _hits(graph, node, 1, shape[axis])
    data, dtype = node.input(0), graph.numpy_type(node.input(0))
    if dtype != np.float32:
        data = graph.add("Cast", data, to=TensorProto.FLOAT)
    if axis != len(shape) - 1:
        data = graph.add("Transpose", data, perm=[*others, axis])
    lines = graph.add("Unsqueeze", data, int64s([axis]))
    chosen = graph.reduce("ReduceSum", graph.add("Mul", hits, lines), [len(shape)])
    return [_typed(graph, graph.add("Squeeze", chosen, int64s([-1])), dtype)]


def _one_hot(graph: Graph, node: Node) -> list[str] | None:
    """One value at each index along a new dimension, another elsewhere."""
    values, depth = graph.constant(node.input(2)), _length(graph, node.input(1))
    if graph.constant(node.input(0)) is not None or values is None or depth is None:
        return None
    last = len(graph.shape(node))
    axis = node.attribute("axis", -1) % (last + 1)
    off, on = np.asarray(values, dtype=np.float32).reshape(2, 1)
    hits = _hits(graph, node, 0, depth)
    if axis != last:
        order = [*range(axis), last, *range(axis, last)]
        hits = graph.add("Transpose", hits, perm=order)
    if (off, on) != (0, 1):
        hits = graph.add("Add", graph.add("Mul", hits, on - off), off)
    return [_typed(graph, hits, values.dtype)]


def _length(graph: Graph, name: str) -> int | None:
    """A number that is a constant, or the length of a dimension other than the batch."""
    value = graph.constant(name)
    if value is not None:
        return int(value.ravel()[0])
    node = graph.maker(name)
    while node is not None and node.key[1] in ("Cast", "Reshape", "Squeeze", "Unsqueeze"):
        node = graph.maker(node.input(0))
    measured = graph.maker(node.input(0)) if node is not None and node.key[1] == "Gather" else None
    if node is None or measured is None or measured.key[1] != "Shape":
        return None
    axis, shape = graph.constant(node.input(1)), graph.known_shape(measured.input(0))
    return None if axis is None or shape is None or not axis.any() else shape[int(axis.ravel()[0])]


def _hits(graph: Graph, node: Node, position: int, size: int) -> str:
    """1 at each index of an input, else 0: float32 in the indices' shape, then [size]."""
    index = node.input(position)
    if size > _MAX_TABLE:
        raise node.refuse(
            f"looks up one of {size} positions, the limit is {_MAX_TABLE}", "Use a smaller table"
        )
    dtype = np.int32 if graph.element_type(index) == TensorProto.INT32 else np.int64
    if not _is_from_start(graph, index):
        below = graph.add("Less", index, np.zeros(1, dtype))
        index = graph.add("Where", below, graph.add("Add", index, np.array([size], dtype)), index)
    return scores.one_hot(graph, index, np.arange(size, dtype=dtype))


def _is_from_start(graph: Graph, name: str, depth: int = _DEPTH) -> bool:
    """Whether an index is never below zero."""
    value, node = graph.constant(name), graph.maker(name)
    if value is not None:
        return bool(np.all(value >= 0))
    if name in graph.limited or graph.element_type(name) in _UNSIGNED:
        return True
    if node is None or depth == 0:
        return False
    operator = node.key[1]
    if operator in _NOT_NEGATIVE:
        return True
    arguments = node.inputs[1:] if operator == "Where" else node.inputs
    if operator in _MOVES or operator == "ReduceSum":
        arguments = node.inputs[:1]
    known = operator in _KEEP_SIGN or operator == "Where"
    return known and all(_is_from_start(graph, each, depth - 1) for each in arguments)


def _typed(graph: Graph, name: str, dtype: np.dtype[Any]) -> str:
    """Floats that stand for numbers of a type, as that type."""
    if dtype.kind == "f":
        return name
    if dtype == np.bool_:
        return graph.add("Greater", name, float32s([0.5]))
    return graph.add("Cast", name, to=helper.np_dtype_to_tensor_dtype(dtype))


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
    ("", "GatherElements"): _gather_elements,
    ("", "IsInf"): _never,
    ("", "IsNaN"): _never,
    ("", "OneHot"): _one_hot,
}
