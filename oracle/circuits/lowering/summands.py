"""A constant of its own for each sum with a small number.

The circuit compiler gives a constant the scale of what it is added to only where it is used once, and
its loader takes equal constants for one. The epsilon of two layer norms then has the weights' scale,
at which it is zero, and of equal numbers no reciprocal of a deviation can be proved.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

#: Constants from here on are no smaller than what weights are rounded to.
_SMALL = 2.0**-6


def part(graph: onnx.GraphProto) -> None:
    """Give each sum with a small number one that no other has: a float32 further from zero each."""
    constants = {each.name: each for each in graph.initializer}
    taken = {name for node in graph.node for name in (*node.input, *node.output)} | set(constants)
    latest: dict[float, np.float32] = {}
    for node in graph.node:
        if node.op_type not in ("Add", "Sub"):
            continue
        for position, name in enumerate(node.input):
            tensor = constants.get(name)
            if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT:
                continue
            values = numpy_helper.to_array(tensor)
            if values.size != 1 or not 0 < abs(values.flat[0]) < _SMALL:
                continue
            number = float(values.flat[0])
            if number not in latest:
                latest[number] = np.float32(number)
                continue
            away = np.float32(np.copysign(np.inf, number))
            latest[number] = np.nextafter(latest[number], away)
            own = f"{name}_{len(taken)}"
            while own in taken:
                own += "_"
            taken.add(own)
            graph.initializer.append(
                numpy_helper.from_array(np.full_like(values, latest[number]), own)
            )
            node.input[position] = own
