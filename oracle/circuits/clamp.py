"""Keep the numbers in a circuit small, where features are of very different size.

A contract checks one range for all elements of a row. A feature that is small beside the others may
then be thousands of times its own size, and no circuit holds what a scaler makes of that. So the
graph limits each feature: an input beyond counts as at the limit. It also limits what a sigmoid or
tanh is given to where the curve still rises, for a function is looked up in a table of all its
arguments.

A limit is ``low + relu(x - low) - relu(x - high)``. In the circuit this is exact: sums, differences
and comparisons round nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from oracle.circuits.onnx import Model
from oracle.circuits.row import Range

#: Beyond it, on both sides, a curve is flat to within 2**-15.
_FLAT = {"Sigmoid": 11.0, "Tanh": 6.0}


def clamp(model: Model, limits: Sequence[Range]) -> Model:
    """The model that takes an input beyond a feature's limits as at the nearer one.

    Every row of a batch is treated alone.

    Args:
        model: without limits.
        limits: one for each input element, or none to leave the model as it is.
    """
    if not limits:
        return model
    proto = onnx.load_model_from_string(model.data)
    edit = _Edit(proto.graph)
    lows, highs = [each.low for each in limits], [each.high for each in limits]
    limited = edit.limit(model.input_name, [lows], [highs])
    for node in proto.graph.node:
        for position, name in enumerate(node.input):
            if name == model.input_name:
                node.input[position] = limited
        if node.op_type in _FLAT:
            flat = _FLAT[node.op_type]
            node.input[0] = edit.limit(node.input[0], [-flat], [flat])
        edit.nodes.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(edit.nodes)
    return dataclasses.replace(
        model, data=proto.SerializeToString(deterministic=True), limits=tuple(limits)
    )


class _Edit:
    """A graph whose nodes are written again, in order, to `nodes`."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        taken = {name for node in graph.node for name in (*node.input, *node.output)}
        taken |= {value.name for value in graph.input} | {each.name for each in graph.initializer}
        self._stem = "limited"
        while any(name.startswith(self._stem) for name in taken):
            self._stem += "_"
        self._count = 0
        self.nodes: list[onnx.NodeProto] = []

    def limit(self, x: str, low: npt.ArrayLike, high: npt.ArrayLike) -> str:
        """Name of ``x`` within bounds of any shape that fits it."""
        least, most = self._constant(low), self._constant(high)
        inside = self._add("Relu", self._add("Sub", x, least))
        beyond = self._add("Relu", self._add("Sub", x, most))
        return self._add("Sub", self._add("Add", inside, least), beyond)

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
