"""ONNX graphs of one float input, written node after node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

#: tract, ezkl's reader, is tested up to opset 18.
OPSET = 17
IR_VERSION = 8

#: A value of the graph by name, or a constant.
Operand = str | npt.NDArray[Any] | float | Sequence[int]


class Graph:
    """Builds a model with input ``input`` [batch, *shape] and output ``output``."""

    def __init__(self, *shape: int) -> None:
        self.input = "input"
        self._shape = shape
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *operands: Operand, outputs: int = 1, **attributes: Any) -> str:
        """Add a node and return the name of its last output.

        A float or float array becomes a float32 constant, a sequence of integers an int64 one; an
        empty name is an input that is left out.
        """
        label = f"{operator.lower()}{len(self._nodes)}"
        names = [f"{label}.{index}" for index in range(outputs)]
        inputs = [
            operand if isinstance(operand, str) else self._constant(operand, f"{label}.c{index}")
            for index, operand in enumerate(operands)
        ]
        self._nodes.append(helper.make_node(operator, inputs, names, name=label, **attributes))
        return names[-1]

    def model(self, result: str, *shape: int, dtype: int = TensorProto.FLOAT) -> bytes:
        """The file whose output ``output`` [batch, *shape] is the value ``result``."""
        self._nodes.append(helper.make_node("Identity", [result], ["output"], name="output"))
        graph = helper.make_graph(
            self._nodes,
            "zoo",
            [helper.make_tensor_value_info(self.input, TensorProto.FLOAT, ["batch", *self._shape])],
            [helper.make_tensor_value_info("output", dtype, ["batch", *shape])],
            initializer=self._constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))

    def _constant(self, value: npt.NDArray[Any] | float | Sequence[int], name: str) -> str:
        floats = isinstance(value, float | np.ndarray)
        array = np.asarray(value, dtype=np.float32 if floats else np.int64)
        self._constants.append(numpy_helper.from_array(array, name))
        return name
