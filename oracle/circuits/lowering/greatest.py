"""The greatest of several numbers, as a tournament of ``a + relu(b - a)``, and where it is.

The circuit compiler sorts for it, by a shuffle: 80k gas, and constraints of a degree that doubles
the time of a proof; for its position by a shuffle and a dynamic lookup, 107k. A tournament takes
about as many rows and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from oracle.circuits.lowering.graph import Array, Graph, Node, Rules, float32s, int64s
from oracle.errors import ModelUnsupported

#: Longer tournaments take more rows than they are worth.
_MAX_SIZE = 256


def greatest(graph: Graph, x: str, axis: int, size: int) -> str:
    """Greatest along a dimension of ``size``, which stays with size one."""
    while size > 1:
        first, second = (
            graph.add("Gather", x, int64s(range(side, size - size % 2, 2)), axis=axis)
            for side in (0, 1)
        )
        lead = graph.add("Relu", graph.add("Sub", second, first))
        won = graph.add("Add", first, lead)
        if size % 2:
            # The odd one out waits for the next round.
            won = graph.add(
                "Concat", won, graph.add("Gather", x, int64s([size - 1]), axis=axis), axis=axis
            )
        x, size = won, -(-size // 2)
    return x


def _first_greatest(
    graph: Graph, x: str, axis: int, rank: int, within: range
) -> tuple[str, str | Array]:
    """The greatest of so many neighbours, and its position as float32: the first of equals."""
    block = 1 << len(within).bit_length() - 1
    if block < len(within):
        # What is left over of a power of two meets the winner of those before.
        first, second = (
            _first_greatest(graph, x, axis, rank, side) for side in (within[:block], within[block:])
        )
        return _match(graph, first, second)
    best = graph.add("Gather", x, int64s(within), axis=axis)
    index: str | Array = float32s(within).reshape(
        [-1 if each == axis else 1 for each in range(rank)]
    )
    while block > 1:
        even, odd = (np.arange(side, block, 2) for side in (0, 1))
        best, index = _match(
            graph,
            (_taken(graph, best, even, axis), _taken(graph, index, even, axis)),
            (_taken(graph, best, odd, axis), _taken(graph, index, odd, axis)),
        )
        block //= 2
    return best, index


def _taken(graph: Graph, x: str | Array, positions: Array, axis: int) -> str | Array:
    if isinstance(x, str):
        return graph.add("Gather", x, int64s(positions), axis=axis)
    return x.take(positions, axis)


def _match(
    graph: Graph, first: tuple[str | Array, str | Array], second: tuple[str | Array, str | Array]
) -> tuple[str, str]:
    """Of pairs of a number and its position, those of the greater number."""
    above = graph.add("Greater", second[0], first[0])
    bit = graph.add("Cast", above, to=TensorProto.FLOAT)
    best, index = (_choose(graph, bit, *pair) for pair in zip(first, second, strict=True))
    return best, index


def _choose(graph: Graph, bit: str, zero: str | Array, one: str | Array) -> str:
    """``one`` where the bit is set, else ``zero``."""
    if isinstance(zero, str) or isinstance(one, str):
        return graph.add("Add", zero, graph.add("Mul", graph.add("Sub", one, zero), bit))
    apart = one - zero
    return graph.add("Add", bit if (apart == 1).all() else graph.add("Mul", bit, apart), zero)


def _reduce_max(graph: Graph, node: Node) -> list[str] | None:
    found = _dimensions(graph, node, _axes(graph, node))
    if found is None or node.attribute("keepdims", 1) != 1:
        return None
    x = node.input(0)
    for axis, size in found:
        x = greatest(graph, x, axis, size)
    return [x]


def _arg_extreme(graph: Graph, node: Node) -> list[str] | None:
    """ArgMax and ArgMin."""
    x = node.input(0)
    found = _dimensions(graph, node, [node.attribute("axis", 0)])
    if found is None or node.attribute("select_last_index", 0):
        return None
    ((axis, size),) = found
    if size == 1:
        # Nothing to compare, and the answer has to have the batch's size.
        return None
    if node.key[1] == "ArgMin":
        x = graph.add("Neg", x)
    index = _first_greatest(graph, x, axis, len(graph.shape(node)), range(size))[1]
    whole = graph.add("Cast", index, to=TensorProto.INT64)
    if node.attribute("keepdims", 1):
        return [whole]
    return [graph.add("Squeeze", whole, int64s([axis]))]


def _softmax(graph: Graph, node: Node) -> list[str] | None:
    return _softmax_of(graph, node, node.attribute("axis", -1))


def _exp(graph: Graph, node: Node) -> list[str] | None:
    """``exp(x - log(sum(exp(x))))`` is a softmax, and written so its exponentials are at most 1."""
    lowered = graph.maker(node.input(0))
    if lowered is None or lowered.key[1] != "Sub":
        return None
    total = graph.maker(lowered.input(1))
    if total is not None and total.key[1] == "Reshape":
        # To a column again, where the sum had lost it.
        total = graph.maker(total.input(0))
    if total is None or total.key[1] != "ReduceLogSumExp" or total.input(0) != lowered.input(0):
        return None
    axes, shape = _axes(graph, total), graph.known_shape(lowered.input(0))
    if axes is None or shape is None or [axis % len(shape) for axis in axes] != [len(shape) - 1]:
        return None
    return _softmax_of(graph, lowered, -1)


def _softmax_of(graph: Graph, node: Node, axis: int) -> list[str] | None:
    """``exp(x - max) / sum(exp(x - max))`` of a node's first input."""
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
    ("", "ArgMax"): _arg_extreme,
    ("", "ArgMin"): _arg_extreme,
    ("", "Exp"): _exp,
    ("", "ReduceMax"): _reduce_max,
    ("", "Softmax"): _softmax,
}
