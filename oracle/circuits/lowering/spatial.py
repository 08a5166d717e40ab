"""Convolutions and pools whose padding, dilation or stride the circuit compiler gets wrong."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from oracle.circuits.lowering.graph import Array, Graph, Node, Rules, float32s, int64s

#: Operators that never map the greater of two numbers to the smaller result.
_RISING = frozenset({"Relu", "Sigmoid", "Tanh"})


@dataclass(frozen=True, slots=True)
class _Window:
    """How a kernel moves over the spatial dimensions; every list has one entry for each."""

    sizes: list[int]
    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]

    @property
    def reach(self) -> list[int]:
        """Positions that the kernel spans."""
        return [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]

    @property
    def plain(self) -> bool:
        """No padding, no dilation."""
        return not any((*self.before, *self.after)) and set(self.dilations) == {1}

    def outputs(self, *, ceil: bool) -> list[int]:
        """Positions of the kernel; with ``ceil`` one may hang over the end, but not begin there."""
        found = []
        for size, reach, stride, before, after in zip(
            self.sizes, self.reach, self.strides, self.before, self.after, strict=True
        ):
            room = size + before + after - reach
            count = -(-room // stride) + 1 if ceil else room // stride + 1
            if ceil and (count - 1) * stride >= size + before:
                count -= 1
            found.append(count)
        return found


def _window(graph: Graph, node: Node, kernel: list[int]) -> _Window:
    sizes = list(graph.shape(node)[2:])
    rank = len(sizes)
    strides = list(node.attribute("strides", [1] * rank))
    dilations = list(node.attribute("dilations", [1] * rank))
    pads = list(node.attribute("pads", [0] * 2 * rank))
    before, after = pads[:rank], pads[rank:]
    auto = node.attribute("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        for axis in range(rank):
            outputs = -(-sizes[axis] // strides[axis])
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            total = max((outputs - 1) * strides[axis] + reach - sizes[axis], 0)
            less, more = total // 2, total - total // 2
            before[axis], after[axis] = (less, more) if auto == "SAME_UPPER" else (more, less)
    elif auto == "VALID":
        before, after = [0] * rank, [0] * rank
    node.require_room(math.prod(max(abs(n), 1) for n in (*kernel, *dilations, *strides)))
    node.require_room(sum(map(abs, pads)))
    if min(strides + dilations + kernel, default=1) < 1:
        raise node.refuse("has a stride, dilation or kernel below 1", "Export the model again")
    return _Window(sizes, kernel, strides, dilations, before, after)


def _weights(graph: Graph, node: Node) -> Array:
    weights = graph.constant(node.input(1))
    if weights is None:
        raise node.refuse("has a kernel that the input decides")
    return weights


def _conv(graph: Graph, node: Node) -> list[str] | None:
    """Dilation by zeros between the kernel's entries; strides and pads in full, without defaults."""
    plain = set(node.attribute("dilations", (1,))) == {1}
    if plain and node.attribute("strides", None) is not None:
        return None
    weights = _weights(graph, node)
    window = _window(graph, node, list(weights.shape[2:]))
    wide = _spread(weights, window)
    return [
        _convolve(graph, node, node.input(0), wide, window.strides, window.before, window.after)
    ]


def _spread(weights: Array, window: _Window) -> Array:
    """The kernel with zeros between its entries."""
    wide = np.zeros((*weights.shape[:2], *window.reach), dtype=np.float32)
    wide[(slice(None), slice(None), *(slice(None, None, d) for d in window.dilations))] = weights
    return wide


def _convolve(
    graph: Graph,
    node: Node,
    x: str,
    weights: Array,
    strides: list[int],
    before: list[int],
    after: list[int],
) -> str:
    bias = [node.input(2)] if node.input(2) else []
    return graph.add(
        "Conv",
        x,
        weights,
        *bias,
        strides=strides,
        pads=[*before, *after],
        group=node.attribute("group", 1),
    )


def _conv_transpose(graph: Graph, node: Node) -> list[str]:
    """A convolution with the flipped kernel over the input with zeros between its entries."""
    weights = _weights(graph, node)
    window = _window(graph, node, list(weights.shape[2:]))
    rank, group = len(window.sizes), node.attribute("group", 1)
    extra = list(node.attribute("output_padding", [0] * rank))
    if node.attribute("output_shape") or node.attribute("auto_pad", "NOTSET") != "NOTSET":
        raise node.refuse("has its padding computed from a shape", "Export with explicit padding")
    x, shape = node.input(0), list(graph.shape(node))
    after = []
    for axis, stride in enumerate(window.strides):
        reach, end = window.reach[axis], window.after[axis]
        # Every entry is followed by stride - 1 zeros, the last one too.
        after.append(reach - 1 - end + extra[axis] - (stride - 1))
        if stride > 1:
            x = graph.add("Unsqueeze", x, int64s([axis + 3]))
            pads = np.zeros((2, len(shape) + 1), dtype=np.int64)
            pads[1, axis + 3] = stride - 1
            x = graph.add("Pad", x, pads.ravel())
            shape[axis + 2] *= stride
            x = graph.add("Reshape", x, int64s([0, *shape[1:]]))
    before = [reach - 1 - begin for reach, begin in zip(window.reach, window.before, strict=True)]
    for axis in range(rank):
        start, end = max(-before[axis], 0), shape[axis + 2] - max(-after[axis], 0)
        if (start, end) != (0, shape[axis + 2]):
            x = graph.add("Slice", x, int64s([start]), int64s([end]), int64s([axis + 2]))
    wide = np.flip(_spread(weights, window), axis=tuple(range(2, rank + 2)))
    grouped = wide.reshape(group, wide.shape[0] // group, *wide.shape[1:])
    turned = np.swapaxes(grouped, 1, 2).reshape(-1, *grouped.shape[1:2], *window.reach)
    before, after = [max(p, 0) for p in before], [max(p, 0) for p in after]
    return [_convolve(graph, node, x, turned, [1] * rank, before, after)]


def _max_pool(graph: Graph, node: Node) -> list[str]:
    """One dimension after the other, with positions outside replaced by one inside the window.

    The circuit compiler would let the zeros of a padding take part, and sort each window. An
    activation that keeps the order comes after the pool, where there are fewer numbers.
    """
    source = graph.maker(node.input(0))
    if source is not None and source.proto.op_type in _RISING:
        return [graph.add(source.proto.op_type, _pooled(graph, node, source.input(0)))]
    return [_pooled(graph, node, node.input(0))]


def _pooled(graph: Graph, node: Node, x: str) -> str:
    """The greatest of each window over ``x``, a tensor of the node's input's shape."""
    if len(node.proto.output) > 1 and node.proto.output[1]:
        raise node.refuse("gives the positions of its maxima")
    window = _window(graph, node, list(node.attribute("kernel_shape", ())))
    outputs = window.outputs(ceil=bool(node.attribute("ceil_mode", 0)))

    def greater(one: str, other: str) -> str:
        return graph.add("Add", one, graph.add("Relu", graph.add("Sub", other, one)))

    return _combined(graph, node, x, window, outputs, greater)


def _combined(
    graph: Graph,
    node: Node,
    x: str,
    window: _Window,
    outputs: Sequence[int],
    combine: Callable[[str, str], str],
) -> str:
    """The numbers of each window, combined two by two, one dimension after the other."""
    for axis, count in enumerate(outputs):
        size, kernel = window.sizes[axis], window.kernel[axis]
        positions: list[int] = []
        for output in range(count):
            start = output * window.strides[axis] - window.before[axis]
            reached = [start + i * window.dilations[axis] for i in range(kernel)]
            inside = [position for position in reached if 0 <= position < size]
            if not inside:
                raise node.refuse("has a window that lies in the padding", "Use less padding")
            positions += inside + inside[:1] * (kernel - len(inside))
        # Of every window the first position, of every window the second, and so on.
        first, *others = (
            graph.add("Gather", x, int64s(positions[i::kernel]), axis=axis + 2)
            for i in range(kernel)
        )
        x = functools.reduce(combine, others, first)
    return x


def _average_pool(graph: Graph, node: Node) -> list[str]:
    """A sum over the window divided by how many of its positions count."""
    ceil = bool(node.attribute("ceil_mode", 0))
    window = _window(graph, node, list(node.attribute("kernel_shape", ())))
    outputs = window.outputs(ceil=ceil)
    if window.plain and outputs == window.outputs(ceil=False):
        # Of a power of two the circuit compiler makes a change of scale, which costs nothing.
        total = _combined(
            graph, node, node.input(0), window, outputs, functools.partial(graph.add, "Add")
        )
        return [graph.add("Mul", total, float32s([1 / math.prod(window.kernel)]))]
    channels = graph.shape(node)[1]
    ones = np.ones((channels, 1, *window.kernel), dtype=np.float32)
    counts = np.ones((), dtype=np.float64)
    after = []
    for axis, count in enumerate(outputs):
        size, before = window.sizes[axis], window.before[axis]
        reach, dilation = window.reach[axis], window.dilations[axis]
        starts = np.arange(count) * window.strides[axis] - before
        reached = starts[:, np.newaxis] + np.arange(window.kernel[axis]) * dilation
        if node.attribute("count_include_pad", 0):
            inside = reached < size + window.after[axis]
        else:
            inside = (reached >= 0) & (reached < size)
        counts = np.multiply.outer(counts, inside.sum(axis=1))
        after.append(max(int(starts[-1]) + reach - size, 0))
    wide = _spread(ones, window)
    total = graph.add(
        "Conv", node.input(0), wide, strides=window.strides, pads=[*window.before, *after],
        group=channels,
    )  # fmt: skip
    return [graph.add("Mul", total, (1 / counts[np.newaxis, np.newaxis]).astype(np.float32))]


def _instance_normalization(graph: Graph, node: Node) -> list[str]:
    shape = graph.shape(node)
    axes = list(range(2, len(shape)))
    column = int64s([shape[1], *(1 for _ in axes)])
    return [_normalized(graph, node, axes, math.prod(shape[2:]), column)]


def _layer_normalization(graph: Graph, node: Node) -> list[str]:
    shape = graph.shape(node)
    axes = list(range(node.attribute("axis", -1) % len(shape), len(shape)))
    return [_normalized(graph, node, axes, math.prod(shape[axis] for axis in axes), None)]


def _normalized(graph: Graph, node: Node, axes: list[int], count: int, column: Array | None) -> str:
    """Mean 0 and variance 1 over ``axes``, then scale and bias, reshaped to ``column`` if given.

    One reciprocal for each group instead of a division for each element.
    """
    x, share = node.input(0), float32s([1 / count])
    mean = graph.add("Mul", graph.reduce("ReduceSum", x, axes), share)
    centred = graph.add("Sub", x, mean)
    squares = graph.reduce("ReduceSum", graph.add("Mul", centred, centred), axes)
    epsilon = float32s([node.attribute("epsilon", 1e-5)])
    variance = graph.add("Add", graph.add("Mul", squares, share), epsilon)
    result = graph.add("Mul", centred, graph.add("Reciprocal", graph.add("Sqrt", variance)))
    for operator, position in (("Mul", 1), ("Add", 2)):
        name = node.input(position)
        if name:
            value = name if column is None else graph.add("Reshape", name, column)
            result = graph.add(operator, result, value)
    return result


def _resize(graph: Graph, node: Node) -> None:
    """The circuit compiler repeats positions a whole number of times, whatever the mode says."""
    mode = node.attribute("mode", "nearest")
    coordinates = node.attribute("coordinate_transformation_mode", "half_pixel")
    rounding = node.attribute("nearest_mode", "round_prefer_floor")
    # For whole factors these are the same positions.
    repeats = (coordinates, rounding) in {
        ("asymmetric", "floor"),
        ("half_pixel", "round_prefer_floor"),
        ("half_pixel", "round_prefer_ceil"),
    }
    scales = graph.constant(node.input(2))
    whole = scales is None or bool((scales == np.floor(scales)).all())
    if mode != "nearest" or not repeats or not whole:
        raise node.refuse(
            f"in mode {mode} ({coordinates}, {rounding}) cannot be proved",
            "Repeat positions a whole number of times (mode nearest), or use ConvTranspose",
        )


RULES: Rules = {
    ("", "AveragePool"): _average_pool,
    ("", "Conv"): _conv,
    ("", "ConvTranspose"): _conv_transpose,
    ("", "InstanceNormalization"): _instance_normalization,
    ("", "LayerNormalization"): _layer_normalization,
    ("", "MaxPool"): _max_pool,
    ("", "Resize"): _resize,
}
