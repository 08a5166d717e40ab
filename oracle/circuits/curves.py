"""Keep lookup tables small: limits on curves where they are flat anyway.

`flatten` limits what a sigmoid, say, is given to where the curve still rises: a function is looked
up in a table of all its arguments, and the table's height is the circuit's.

A limit is ``low + relu(x - low) - relu(x - high)``. In the circuit this is exact: sums, differences
and comparisons round nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from oracle.circuits.lowering.graph import live
from oracle.circuits.lowering.names import unused_stem
from oracle.circuits.onnx import Model

#: For each curve: how far below and above zero it is not yet flat to within a level. Tails of
#: erf(x), tanh(x), sigmoid(x) are below exp(-x**2), 2 exp(-2x), exp(-x) for x > 1; exp(x) has one.
_RISES: Mapping[str, tuple[Callable[[float], float], bool]] = {
    "Sigmoid": (lambda level: -math.log(level), True),
    "Tanh": (lambda level: -math.log(level / 2) / 2, True),
    "Erf": (lambda level: math.sqrt(-math.log(level)), True),
    "Exp": (lambda level: -math.log(level), False),
}


def has_curves(model: Model) -> bool:
    """Whether `flatten` changes the model."""
    graph = onnx.load_model_from_string(model.data).graph
    needed = live(graph)
    return any(n.op_type in _RISES and not needed.isdisjoint(n.output) for n in graph.node)


def flatten(model: Model, level: float) -> Model:
    """The model whose curves are constant where they are flat to within ``level``.

    Args:
        model: not flattened.
        level: absolute, below 1/e; 0 leaves the model as it is.
    """
    if not level:
        return model
    proto = onnx.load_model_from_string(model.data)
    # What a reveal policy leaves out is still there for whoever wants the scores.
    needed = live(proto.graph)
    edit = _Edit(proto.graph)
    for node in proto.graph.node:
        if node.op_type in _RISES and not needed.isdisjoint(node.output):
            width, both_sides = _RISES[node.op_type]
            bound = width(level)
            node.input[0] = edit.limit(node.input[0], [-bound], [bound] if both_sides else None)
        edit.nodes.append(node)
    return dataclasses.replace(model, data=edit.finish(proto), flat=level)


class _Edit:
    """A graph whose nodes are written again, in order, to `nodes`."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._stem = unused_stem("limited", graph)
        self._count = 0
        self.nodes: list[onnx.NodeProto] = []

    def finish(self, proto: onnx.ModelProto) -> bytes:
        """The file of the graph's model, with the nodes written again."""
        del proto.graph.node[:]
        proto.graph.node.extend(self.nodes)
        return bytes(proto.SerializeToString(deterministic=True))

    def limit(self, x: str, low: npt.ArrayLike, high: npt.ArrayLike | None) -> str:
        """Name of ``x`` within bounds of any shape that fits it."""
        least = self._constant(low)
        inside = self._add("Relu", self._add("Sub", x, least))
        above = self._add("Add", inside, least)
        if high is None:
            return above
        beyond = self._add("Relu", self._add("Sub", x, self._constant(high)))
        return self._add("Sub", above, beyond)

    def _add(self, operator: str, *inputs: str) -> str:
        output = self._next()
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output))
        return output

    def _constant(self, values: npt.ArrayLike) -> str:
        name = self._next()
        tensor = numpy_helper.from_array(np.asarray(values, dtype=np.float32), name)
        self._graph.initializer.append(tensor)
        return name

    def _next(self) -> str:
        self._count += 1
        return f"{self._stem}{self._count}"
