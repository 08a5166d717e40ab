"""ONNX graphs, written node after node."""

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

    def __init__(self, *shape: int, dtype: int = TensorProto.FLOAT, opset: int = OPSET) -> None:
        self.input = "input"
        self._opset = opset
        self._inputs: list[onnx.ValueInfoProto] = []
        self.feed(self.input, *shape, dtype=dtype)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def feed(self, name: str, *shape: int, dtype: int = TensorProto.FLOAT) -> str:
        """Add an input [batch, *shape] and return its name."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, ["batch", *shape]))
        return name

    def add(self, operator: str, *operands: Operand, outputs: int = 1, **attributes: Any) -> str:
        """Add a node and return the name of its last output.

        A float or an array of float64 becomes a float32 constant, a sequence of integers an int64
        one, an array of another type a constant of that type; an empty name is an input that is
        left out.
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
            self._inputs,
            [helper.make_tensor_value_info("output", dtype, ["batch", *shape])],
            initializer=self._constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self._opset)], ir_version=IR_VERSION
        )
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))

    def _constant(self, value: npt.NDArray[Any] | float | Sequence[int], name: str) -> str:
        array = np.asarray(value, dtype=None if isinstance(value, float | np.ndarray) else np.int64)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        self._constants.append(numpy_helper.from_array(array, name))
        return name
