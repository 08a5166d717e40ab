"""Whole numbers: what a cast to them, their division and their remainder mean.

The circuit compiler keeps a cast number's fraction, takes the floor where ONNX takes off the fraction,
and divides integers as it divides reals. Half a unit is added before an integer's quotient is rounded
down, so that no rounding of the reciprocal moves it past a whole number.

Integers that a request brings have no fractional bits, and what is made of them by sums alone has none
either: a curve would be looked up in steps of one. So these get their fractional bits back.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from oracle.circuits.lowering.graph import Array, Graph, Node, Rules, float32s

_INTEGERS = frozenset(
    {
        TensorProto.INT8,
        TensorProto.INT16,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.UINT8,
        TensorProto.UINT16,
        TensorProto.UINT32,
        TensorProto.UINT64,
    }
)
#: Dividends are divided exactly up to the divisor times two to twice so many.
_QUOTIENT_BITS = 5
#: What makes numbers without a fraction.
_WHOLE = frozenset({"Ceil", "Floor", "Round", "Sign"})
#: What only moves or adds up numbers, so that they have the fractional bits that they had.
_SUMS = frozenset(
    {
        *("Concat", "Expand", "Flatten", "Gather", "Identity", "Neg", "ReduceSum", "Reshape"),
        *("Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
    }
)
#: What gives the result a weight's fractional bits, or is exact without any.
_BRING_BITS = frozenset(
    {
        *("Conv", "Equal", "Gemm", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "MatMul"),
    }
)
#: Likewise if the other argument is a constant.
_WITH_CONSTANT = frozenset({"Add", "Div", "Mul", "Sub"})


def _cast(graph: Graph, node: Node) -> list[str] | None:
    """To integers without the fraction, to a bit whether it is not zero, to floats with fractions."""
    x, to = node.input(0), node.attribute("to")
    kind = graph.element_type(x)
    if graph.constant(x) is not None:
        return None
    if to == TensorProto.FLOAT:
        return _to_floats(graph, node)
    if to == TensorProto.BOOL and kind != TensorProto.BOOL:
        zero = np.zeros(1, dtype=graph.numpy_type(x))
        return [graph.add("Or", graph.add("Less", x, zero), graph.add("Greater", x, zero))]
    if to in _INTEGERS and kind == TensorProto.FLOAT and graph.producer(x) not in _WHOLE:
        return [graph.add("Cast", _truncated(graph, x, float32s([1]), 0.0), to=to)]
    return None


def _to_floats(graph: Graph, node: Node) -> list[str] | None:
    x = node.input(0)
    if graph.element_type(x) == TensorProto.FLOAT:
        return [x]
    if not graph.is_whole or _keeps_exact(graph, node.proto.output[0]):
        return None
    # A product with a constant has the constant's fractional bits; halving adds one.
    doubled = graph.add("Mul", graph.add("Cast", x, to=TensorProto.FLOAT), float32s([2]))
    return [graph.add("Mul", doubled, float32s([0.5]))]


def _keeps_exact(graph: Graph, name: str) -> bool:
    """Whether all that is made of whole numbers is as exact without fractional bits of theirs."""
    waiting, seen = [name], {name}
    while waiting:
        for reader in graph.readers(waiting.pop()):
            operator = reader.key[1]
            if operator in _BRING_BITS or (operator == "Cast" and _is_whole_cast(reader)):
                continue
            if operator in _WITH_CONSTANT and _has_odd_constant(graph, reader):
                continue
            if operator not in _SUMS:
                return False
            news = set(reader.proto.output) - seen
            waiting += news
            seen |= news
    return True


def _is_whole_cast(node: Node) -> bool:
    return node.attribute("to") in _INTEGERS | {TensorProto.BOOL}


def _has_odd_constant(graph: Graph, node: Node) -> bool:
    """Whether an argument is a constant other than one power of two, which only moves the point."""
    for name in node.inputs:
        value = graph.constant(name)
        if value is not None and (value.size != 1 or np.frexp(float(value.flat[0]))[0] != 0.5):
            return True
    return False


def _div(graph: Graph, node: Node) -> list[str] | None:
    """Integers: the quotient without its fraction."""
    kind = graph.element_type(node.input(0))
    if kind not in _INTEGERS:
        return None
    divisor = _divisor(graph, node)
    x = graph.add("Cast", node.input(0), to=TensorProto.FLOAT)
    return [graph.add("Cast", _truncated(graph, x, divisor, 0.5), to=kind)]


def _mod(graph: Graph, node: Node) -> list[str]:
    """The remainder with the divisor's sign or, as ``fmod`` has it, with the dividend's."""
    kind = graph.element_type(node.input(0))
    divisor, is_whole = _divisor(graph, node), kind in _INTEGERS
    x = graph.add("Cast", node.input(0), to=TensorProto.FLOAT) if is_whole else node.input(0)
    half = 0.5 if is_whole else 0.0
    if node.attribute("fmod", 0):
        quotient = _truncated(graph, x, divisor, half)
    else:
        quotient = _floor(graph, graph.add("Mul", x, float32s(np.sign(divisor))), divisor, half)
    rest = graph.add("Sub", x, graph.add("Mul", quotient, float32s(divisor)))
    return [graph.add("Cast", rest, to=kind)] if is_whole else [rest]


def _divisor(graph: Graph, node: Node) -> Array:
    """The second input; known, and not zero."""
    found = graph.constant(node.input(1))
    if found is None:
        raise node.refuse(
            "divides whole numbers by what the input decides",
            "Divide by a constant, or use Div of floats",
        )
    if not np.all(found):
        raise node.refuse("divides by zero", "Correct the constant")
    return np.asarray(found, dtype=np.float64)


def _truncated(graph: Graph, x: str, divisor: Array, half: float) -> str:
    """``x / divisor`` without its fraction; ``half`` is added to each side's size before."""
    sides = (graph.add("Relu", each) for each in (x, graph.add("Neg", x)))
    above, below = (_floor(graph, side, divisor, half) for side in sides)
    return (
        graph.add("Sub", above, below)
        if np.all(divisor > 0)
        else graph.add("Mul", graph.add("Sub", above, below), float32s(np.sign(divisor)))
    )


def _floor(graph: Graph, x: str, divisor: Array, half: float) -> str:
    """``floor((x + half) / |divisor|)``."""
    if half:
        x = graph.add("Add", x, float32s([half]))
    size = np.abs(divisor)
    if np.any(size != 1):
        # In two factors: a single 1/3 with the weights' few bits would be a whole unit off from a
        # dozen on. The second is nothing at a scale at which the first is too coarse, so that no
        # circuit of such a scale is taken for accurate.
        room = 2.0 ** (np.ceil(np.log2(size)) + _QUOTIENT_BITS)
        x = graph.add("Mul", graph.add("Mul", x, float32s(room / size)), float32s(1 / room))
    return graph.add("Floor", x)


RULES: Rules = {("", "Cast"): _cast, ("", "Div"): _div, ("", "Mod"): _mod}
