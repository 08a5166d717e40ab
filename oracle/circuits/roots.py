"""Square roots and reciprocals of positive numbers, looked up instead of computed.

The circuit compiler proves a square root or a reciprocal by arithmetic, in more than a hundred
rows. A power whose exponent is no whole number it looks up, in one row of a table of all its
arguments. So the exponent here is the float32 next to the exact one: the values differ by less than
a millionth, far below any fixed point's last place. Which is better depends on how far the
arguments reach; the search tries both.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
from onnx import helper, numpy_helper

from oracle.circuits.lowering.graph import live, prune
from oracle.circuits.lowering.names import Names, names_in
from oracle.circuits.onnx import Model

#: Exponents of a square root and of a reciprocal, each one float32 away from the exact number.
_HALF = float(np.nextafter(np.float32(0.5), np.float32(1)))
_MINUS_ONE = float(np.nextafter(np.float32(-1), np.float32(-2)))
#: Operators whose results are above zero, and not below it, whatever their arguments.
_POSITIVE = frozenset({"Exp", "Sigmoid", "Softplus"})
_NOT_NEGATIVE = frozenset({"Abs", "Relu", "Sqrt"})
#: Operators whose results have the sign of their first argument.
_KEEP_SIGN = frozenset({"ReduceSum", "Identity", "Reshape", "Unsqueeze", "Squeeze"})
#: How far back a sign is traced.
_DEPTH = 8


def tabulate(model: Model, *, wanted: bool = True) -> Model:
    """The model that looks up roots of what is not negative and reciprocals of what is positive."""
    if not wanted:
        return model
    proto = onnx.load_model_from_string(model.data)
    graph = proto.graph
    needed = live(graph)
    edit = _Edit(graph)
    for node in graph.node:
        if needed.isdisjoint(node.output) or not edit.rewrite(node):
            edit.nodes.append(node)
    del graph.node[:]
    graph.node.extend(edit.nodes)
    if not edit.changed:
        return model
    prune(graph)
    data = bytes(proto.SerializeToString(deterministic=True))
    return dataclasses.replace(model, data=data, tabled=True)


class _Edit:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._makers = {name: node for node in graph.node for name in node.output}
        self._constants = {each.name: each for each in graph.initializer}
        self._names = Names(names_in(graph))
        self.nodes: list[onnx.NodeProto] = []
        self.changed = False

    def rewrite(self, node: onnx.NodeProto) -> bool:
        """Append what stands for a node; False if nothing does."""
        if node.op_type == "Sqrt" and self._sign(node.input[0]) is not None:
            self._power(node.input[0], _HALF, node.output[0])
        elif node.op_type == "Reciprocal" and self._sign(node.input[0]):
            self._power(node.input[0], _MINUS_ONE, node.output[0])
        elif node.op_type == "Reciprocal" and (root := self._root(node.input[0])):
            self._power(root, -_HALF, node.output[0])
        elif node.op_type == "Div" and (power := self._divisor(node.input[1])):
            argument, exponent = power
            inverse = self._power(argument, exponent, self._names.fresh("inverse"))
            self.nodes.append(
                helper.make_node("Mul", [node.input[0], inverse], node.output, name=node.name)
            )
        else:
            return False
        self.changed = True
        return True

    def _divisor(self, name: str) -> tuple[str, float] | None:
        if root := self._root(name):
            return root, -_HALF
        known = name in self._constants
        return (name, _MINUS_ONE) if self._sign(name) and not known else None

    def _root(self, name: str) -> str:
        """What ``name`` is the square root of, if that is positive; else empty."""
        node = self._makers.get(name)
        if node is None or node.op_type != "Sqrt" or not self._sign(node.input[0]):
            return ""
        return str(node.input[0])

    def _sign(self, name: str, depth: int = _DEPTH) -> bool | None:
        """True: above zero. False: not below it. None: unknown."""
        if name in self._constants:
            values = numpy_helper.to_array(self._constants[name])
            least = values.min() if values.size and values.dtype.kind == "f" else -1
            return least > 0 if least >= 0 else None
        node = self._makers.get(name)
        if node is None or depth == 0:
            return None
        if node.op_type in _POSITIVE | _NOT_NEGATIVE:
            return node.op_type in _POSITIVE
        if node.op_type == "Mul" and node.input[0] == node.input[1]:
            return False
        signs = [self._sign(each, depth - 1) for each in node.input]
        if node.op_type in _KEEP_SIGN:
            return signs[0]
        together = {"Add": any, "Mul": all}.get(node.op_type)
        return None if together is None or None in signs else together(signs)

    def _power(self, x: str, exponent: float, output: str) -> str:
        constant = self._names.fresh("exponent")
        self._graph.initializer.append(
            numpy_helper.from_array(np.asarray(exponent, np.float32), constant)
        )
        self.nodes.append(helper.make_node("Pow", [x, constant], [output], name=output))
        return output
