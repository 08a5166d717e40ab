"""Which numbers an input element can mean: what its type holds, and what looks it up.

A request could say 300 for a byte, or 11 for one of ten tokens. onnxruntime has no answer to these, or
another than a circuit: a byte wraps around, an index below zero counts from the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from oracle.circuits.lowering.graph import Graph, Node, core_opset
from oracle.circuits.row import Range, TensorInfo
from oracle.errors import TensorRange

#: For each number of a tensor, which element of the row it is.
Positions = npt.NDArray[np.int64]

#: Operators whose second input says where in the first.
_LOOKUPS = frozenset({"Gather", "GatherElements"})
#: 64 bits hold more than any circuit.
_LIMITED_BITS = 32


def allowed(model: onnx.ModelProto, inputs: Sequence[TensorInfo]) -> tuple[Range, ...]:
    """The interval of each element of a row, ``[-inf, inf]`` where nothing limits it.

    Args:
        model: as given, with shapes; an index is followed where it is only moved or cast.
        inputs: as they lie in a row.
    """
    found = [of_type(tensor.dtype) for tensor in inputs for _ in range(tensor.length)]
    for _, positions, size in _lookups(model, inputs):
        for position in positions.ravel().tolist():
            low, high = found[position].low, found[position].high
            found[position] = Range(max(low, 0.0), min(high, size - 1.0))
    return tuple(found)


def indices(model: onnx.ModelProto, inputs: Sequence[TensorInfo]) -> frozenset[str]:
    """Tensors that hold indices which `allowed` keeps within what they index. Arguments likewise."""
    return frozenset(name for name, _, _ in _lookups(model, inputs))


def of_type(dtype: str) -> Range:
    """What numbers of a type there are, as numpy names it."""
    if dtype == "bool":
        return Range(0.0, 1.0)
    if "int" not in dtype:
        return Range(-math.inf, math.inf)
    info = np.iinfo(dtype)
    if info.bits > _LIMITED_BITS:
        return Range(-math.inf if info.min else 0.0, math.inf)
    return Range(float(info.min), float(info.max))


def require_allowed(
    intervals: Sequence[Range], inputs: Sequence[TensorInfo], samples: npt.NDArray[np.float64]
) -> None:
    """Refuse samples that say what the model cannot be asked.

    Args:
        intervals: of each element of a row (`allowed`).
        inputs: as they lie in a row; where none holds floats, all numbers are whole.
        samples: [n, elements].

    Raises:
        TensorRange: one does.
    """
    names = [tensor.name for tensor in inputs for _ in range(tensor.length)]
    low, high = (np.array([getattr(each, end) for each in intervals]) for end in ("low", "high"))
    outside = np.argwhere((samples < low) | (samples > high))
    if outside.size:
        row, element = outside[0].tolist()
        raise TensorRange(
            f"sample {row} says {samples[row, element]:g} for '{names[element]}', which takes "
            f"numbers from {low[element]:g} to {high[element]:g}",
            remedy="Correct the samples, or leave that one out",
        )
    fractions = np.argwhere(samples != np.rint(samples))
    if fractions.size and not any(tensor.is_float for tensor in inputs):
        row, element = fractions[0].tolist()
        raise TensorRange(
            f"sample {row} says {samples[row, element]:g} for '{names[element]}', which takes "
            "whole numbers",
            remedy="Correct the samples, or export the model with float inputs",
        )


def _lookups(
    model: onnx.ModelProto, inputs: Sequence[TensorInfo]
) -> Iterator[tuple[str, Positions, int]]:
    """Tensors of elements that are indices, and the length of the dimension that they index."""
    graph = Graph(model.graph, core_opset(model))
    moved: dict[str, Positions] = {}
    start = 0
    for tensor in inputs:
        end = start + tensor.length
        moved[tensor.name] = np.arange(start, end, dtype=np.int64).reshape(tensor.shape)
        start = end
    for index, proto in enumerate(model.graph.node):
        node = Node(proto, index)
        domain, operator = node.key
        if not domain and operator in _LOOKUPS and node.input(1) in moved:
            shape, axis = graph.known_shape(node.input(0)), node.attribute("axis", 0)
            if shape is not None and -len(shape) <= axis < len(shape):
                yield node.input(1), moved[node.input(1)], shape[axis]
        elif not domain and operator in _MOVES and node.input(0) in moved:
            try:
                result = _MOVES[operator](graph, node, moved[node.input(0)])
            except (LookupError, TypeError, ValueError):
                raise node.refuse(
                    "has attributes that do not fit together", "Export the model again"
                ) from None
            if result is not None:
                moved[proto.output[0]] = result


def _reshaped(graph: Graph, node: Node, source: Positions) -> Positions | None:
    if node.key[1] == "Cast" and node.attribute("to") == TensorProto.BOOL:
        # No longer which number it was.
        return None
    shape = graph.output_shape(node)
    fits = shape is not None and math.prod(shape) == source.size
    return source.reshape(shape or ()) if fits else None


def _transposed(_: Graph, node: Node, source: Positions) -> Positions:
    return source.transpose(node.attribute("perm", range(source.ndim)[::-1]))


def _picked(graph: Graph, node: Node, source: Positions) -> Positions | None:
    which = graph.constant(node.input(1))
    return None if which is None else np.take(source, which, axis=node.attribute("axis", 0))


def _sliced(graph: Graph, node: Node, source: Positions) -> Positions | None:
    starts, ends = graph.constant(node.input(1)), graph.constant(node.input(2))
    axes = graph.constant(node.input(3)) if node.input(3) else np.arange(source.ndim)
    steps = graph.constant(node.input(4)) if node.input(4) else np.ones(source.ndim, np.int64)
    if starts is None or ends is None or axes is None or steps is None:
        return None
    where = [slice(None)] * source.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=False):
        where[int(axis)] = slice(int(start), int(end), int(step))
    return source[tuple(where)]


#: By operator, where it puts the numbers of its first input; None if that is not known.
_MOVES: Mapping[str, Callable[[Graph, Node, Positions], Positions | None]] = {
    **dict.fromkeys(("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"), _reshaped),
    "Gather": _picked,
    "Slice": _sliced,
    "Transpose": _transposed,
}
