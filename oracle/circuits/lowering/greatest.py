"""The greatest of several numbers, as a tournament of ``a + relu(b - a)``.

The circuit compiler sorts for it, by a shuffle: 80k gas, and constraints of a degree that doubles
the time of a proof. A tournament takes about as many rows and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import TensorProto

from oracle.circuits.lowering.graph import Graph, Node, Rules, int64s
from oracle.errors import ModelUnsupported

#: Longer tournaments take more rows than they are worth.
_MAX_SIZE = 256


def greatest(graph: Graph, x: str, axis: int, size: int) -> str:
    """Greatest along a dimension of ``size``, which stays with size one."""
    while size > 1:
        # An odd one out meets itself.
        pairs = [(i, min(i + 1, size - 1)) for i in range(0, size, 2)]
        first, second = (
            graph.add("Gather", x, int64s([pair[side] for pair in pairs]), axis=axis)
            for side in (0, 1)
        )
        lead = graph.add("Relu", graph.add("Sub", second, first))
        x, size = graph.add("Add", first, lead), len(pairs)
    return x


def _reduce_max(graph: Graph, node: Node) -> list[str] | None:
    found = _dimensions(graph, node, _axes(graph, node))
    if found is None or node.attribute("keepdims", 1) != 1:
        return None
    x = node.input(0)
    for axis, size in found:
        x = greatest(graph, x, axis, size)
    return [x]


def _softmax(graph: Graph, node: Node) -> list[str] | None:
    """``exp(x - max) / sum(exp(x - max))``."""
    axis = node.attribute("axis", -1)
    found = _dimensions(graph, node, [axis])
    if found is None:
        return None
    x = node.input(0)
    raised = graph.add("Exp", graph.add("Sub", x, greatest(graph, x, *found[0])))
    return [graph.add("Div", raised, graph.reduce("ReduceSum", raised, [axis]))]


def _axes(graph: Graph, node: Node) -> Sequence[int] | None:
    """Axes of a reduction; an attribute up to opset 17, an input since."""
    if node.input(1):
        given = graph.constant(node.input(1))
        return None if given is None else [int(axis) for axis in given.ravel()]
    axes = node.attribute("axes", None)
    return None if axes is None else list(axes)


def _dimensions(
    graph: Graph, node: Node, axes: Sequence[int] | None
) -> list[tuple[int, int]] | None:
    """Axis and size of dimensions; None where a tournament is no way, or of no use."""
    if axes is None or graph.element_type(node.input(0)) != TensorProto.FLOAT:
        return None
    try:
        shape = graph.shape(node)
    except ModelUnsupported:
        return None
    found = [(axis % len(shape), shape[axis % len(shape)]) for axis in axes]
    # The first dimension may be the batch.
    if any(axis == 0 or not 1 <= size <= _MAX_SIZE for axis, size in found):
        return None
    return found


RULES: Rules = {
    ("", "ReduceMax"): _reduce_max,
    ("", "Softmax"): _softmax,
}
