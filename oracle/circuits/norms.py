"""Layer norms whose deviations are enlarged before they are squared.

A norm divides deviations by the root of their mean square and an epsilon. In fixed point the squares
of small deviations are zero, and so is an epsilon of 1e-5 at any ordinary scale: of nearly equal
numbers the quotient is far off, and of equal ones there is none. Deviations that are all enlarged by a
power of two, with an epsilon that grows as their squares, have the same quotient.

What makes them is enlarged as early as it can be: weights, and sums of a number with itself, round
nothing, and what is rounded on the way is then small beside the deviations.

A norm enlarges what it divides, up to hundreds of times where that is nearly equal, and so it does
with errors. So weights and products are finer here than inputs: of coarser inputs, fewer are nearly
equal.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from oracle.circuits.lowering.graph import live, prune
from oracle.circuits.lowering.names import Names, names_in
from oracle.circuits.onnx import Model

#: Fractional bits that weights and products have more than inputs.
FINER = 6
#: An epsilon from here on is a number at the scales that circuits have.
_VISIBLE = 2.0**-9
#: Deviations become two to the power of this larger, at most.
_MOST = 8
#: Operators that only move numbers, or add them up: of their first input.
_LINEAR = frozenset(
    {
        "Flatten",
        "Gather",
        "Identity",
        "Neg",
        "ReduceMean",
        "ReduceSum",
        "Reshape",
        "Slice",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
_SUMS = frozenset({"Add", "Sub"})
_PRODUCTS = frozenset({"MatMul", "Mul"})


def widen(model: Model, *, wanted: bool = True) -> Model:
    """The model whose norms see small deviations; the same one if it has no norm.

    Args:
        model: as `onnx.load` made it, with a policy or without.
        wanted: False leaves the model as it is.
    """
    if not wanted:
        return model
    proto = onnx.load_model_from_string(model.data)
    edit = _Edit(proto.graph)
    for node in list(proto.graph.node):
        edit.widen(node)
    if not edit.changed:
        return model
    edit.finish()
    data = bytes(proto.SerializeToString(deterministic=True))
    return dataclasses.replace(model, data=data, widened=True)


class _Edit:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._needed = live(graph)
        self._constants = {each.name: each for each in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._users: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self._users.setdefault(name, []).append(node)
        self._names = Names(names_in(graph))
        self._outputs = {value.name for value in graph.output}
        #: By a tensor, the sums with itself that come right after it.
        self._after: dict[str, list[onnx.NodeProto]] = {}
        self.changed = False

    def widen(self, root: onnx.NodeProto) -> None:
        """Enlarge what is divided by a root, if the whole is a norm."""
        total = self._sole(root.input[0]) if root.op_type == "Sqrt" else None
        if total is None or total.op_type != "Add" or self._needed.isdisjoint(root.output):
            return
        position = next((i for i in (0, 1) if total.input[i] in self._constants), None)
        square = None if position is None else self._square(total.input[1 - position])
        if position is None or square is None:
            return
        epsilon = numpy_helper.to_array(self._constants[total.input[position]])
        if epsilon.dtype != np.float32 or epsilon.size != 1 or not 0 < epsilon.flat[0] < _VISIBLE:
            return
        deviations = square.input[0]
        quotients = self._quotients(root.output[0], deviations)
        if not quotients:
            return
        power = min(_MOST, math.ceil(math.log2(_VISIBLE / float(epsilon.flat[0])) / 2))
        self._enlarge(deviations, [square, *quotients], power)
        # A constant of its own: another sum may have the same epsilon.
        total.input[position] = self._own(total.input[position], 2 * power)
        self.changed = True

    def finish(self) -> None:
        """Write the nodes back."""
        nodes = [each for value in self._graph.input for each in self._after.get(value.name, ())]
        for node in self._graph.node:
            nodes.append(node)
            nodes += [each for name in node.output for each in self._after.get(name, ())]
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        prune(self._graph)
        # Inferred of numbers, and of nodes, that are gone.
        del self._graph.value_info[:]

    # --- what a norm is ---------------------------------------------------------------------------

    def _sole(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a tensor which has one user."""
        alone = len(self._users.get(name, ())) == 1 and name not in self._outputs
        return self._makers.get(name) if alone else None

    def _square(self, name: str) -> onnx.NodeProto | None:
        """The square that a tensor is a mean of, but for a constant factor."""
        while node := self._sole(name):
            if node.op_type == "Mul" and node.input[0] == node.input[1]:
                return node
            known = [each in self._constants for each in node.input]
            if node.op_type in _LINEAR and not known[0]:
                name = node.input[0]
            elif node.op_type in ("Div", "Mul") and known in ([False, True], [True, False]):
                name = node.input[known.index(False)]
            else:
                return None
        return None

    def _quotients(self, root: str, deviations: str) -> list[onnx.NodeProto]:
        """All that is made of a root, if it is deviations over it; else nothing."""
        found: list[onnx.NodeProto] = []
        for node in self._users.get(root, ()):
            if node.op_type == "Reciprocal":
                inverse = node.output[0]
                products = self._users.get(inverse, ())
                if inverse in self._outputs or not all(
                    each.op_type == "Mul" and set(each.input) == {inverse, deviations}
                    for each in products
                ):
                    return []
                found += products
            elif node.op_type == "Div" and list(node.input) == [deviations, root]:
                found.append(node)
            else:
                return []
        return [] if root in self._outputs else found

    # --- where it is enlarged ---------------------------------------------------------------------

    def _enlarge(self, name: str, users: Sequence[onnx.NodeProto], power: int) -> None:
        """Enlarge a tensor for some users, in what makes it as early as nobody else sees it."""
        is_theirs = len(users) == len(self._users[name]) and name not in self._outputs
        large = self._enlarged(name) if is_theirs else set()
        for each in large:
            node = self._makers[each]
            places = self._factors(node)
            inside = [place for place in places if node.input[place] in large]
            if node.op_type in _PRODUCTS and not inside:
                # One factor, and a constant rounds nothing.
                places = [p for p in (0, 1) if node.input[p] in self._constants] or places
            for place in places:
                if node.input[place] not in large:
                    node.input[place] = self._times(node.input[place], power)
        if name not in large:
            double = self._doubled(name, power)
            for node in users:
                node.input[:] = [double if each == name else each for each in node.input]

    def _enlarged(self, name: str) -> set[str]:
        """Tensors that can be larger than they are, when ``name`` is to be; perhaps not even it."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            one = waiting.pop()
            node = self._makers.get(one)
            if one in found or node is None or not self._factors(node):
                continue
            found.add(one)
            waiting += [node.input[place] for place in self._factors(node)]
        while True:
            seen = {
                each
                for each in found
                if each != name
                and (
                    each in self._outputs
                    or not all(self._takes(user, each, found) for user in self._users[each])
                )
            }
            # A product of two computed factors is no larger if none of them is.
            seen |= {each for each in found if self._is_stuck(self._makers[each], found - seen)}
            if not seen:
                return found
            found -= seen

    def _takes(self, node: onnx.NodeProto, name: str, large: set[str]) -> bool:
        """Whether a larger tensor makes the node's result so much larger that is to be."""
        places = [place for place, each in enumerate(node.input) if each == name]
        return node.output[0] in large and all(place in self._factors(node) for place in places)

    def _is_stuck(self, node: onnx.NodeProto, large: set[str]) -> bool:
        if node.op_type not in _PRODUCTS:
            return False
        known = any(each in self._constants for each in node.input)
        return not known and all(node.input[p] not in large for p in self._factors(node))

    def _factors(self, node: onnx.NodeProto) -> list[int]:
        """Inputs that make a node's result larger by as much as they are; empty if none do."""
        known = [name in self._constants for name in node.input]
        if node.op_type in _SUMS:
            return [0, 1]
        if node.op_type in _LINEAR or node.op_type == "Relu":
            return [] if known[0] else [0]
        if node.op_type not in _PRODUCTS or node.input[0] == node.input[1] or all(known):
            return []
        if any(known):
            return [known.index(False)]
        # Attention: probabilities, which are not larger, times values, which are products.
        made = [self._makers.get(name) for name in node.input]
        weighted = [p for p in (1, 0) if (maker := made[p]) and maker.op_type == "MatMul"]
        return weighted[:1] if node.op_type == "MatMul" else []

    def _times(self, name: str, power: int) -> str:
        return self._own(name, power) if name in self._constants else self._doubled(name, power)

    def _own(self, name: str, power: int) -> str:
        """A constant two to the ``power`` times as large as another."""
        values = numpy_helper.to_array(self._constants[name])
        own = self._names.fresh(f"{name}_large")
        large = numpy_helper.from_array(values * values.dtype.type(2.0**power), own)
        self._graph.initializer.append(large)
        self._constants[own] = self._graph.initializer[-1]
        return own

    def _doubled(self, name: str, power: int) -> str:
        """A tensor two to the ``power`` times as large as another, made right after it."""
        double = name
        for _ in range(power):
            one, double = double, self._names.fresh(f"{name}_large")
            node = helper.make_node("Add", [one, one], [double], name=double)
            self._after.setdefault(name, []).append(node)
        return double
