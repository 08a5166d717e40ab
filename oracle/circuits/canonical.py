"""One flat input and one flat float output around any graph.

The input is float32 where some of the graph's own inputs are, so that a number may have fractions. Where
all of them are integers it is int64, where all are bits it is bool: the circuit then takes whole numbers
alone. Integers and bits within a float row are what a cast makes of the row's numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from oracle.circuits.lowering.names import names_in
from oracle.circuits.row import TensorInfo


def pack(
    graph: onnx.GraphProto,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    *,
    batched: bool,
) -> None:
    """Give the graph one input [1, n] and one float32 output [1, m], in place.

    The casts that it adds have the types of their arguments noted, for rules that need to know.

    Args:
        graph: its inputs and outputs are those described.
        inputs: in the order in which they lie in a row. Their shapes stay known as inner tensors'.
        outputs: likewise.
        batched: the first dimension of every input and output is the batch; the new nodes leave it
            open.
    """
    packer = _Packer(graph, batched=batched)
    if not (_is_flat(inputs) and (inputs[0].is_float or _dtype(inputs) == inputs[0].dtype)):
        packer.cut(inputs)
    if not (_is_flat(outputs) and outputs[0].is_float):
        packer.join(outputs)


def _is_flat(tensors: Sequence[TensorInfo]) -> bool:
    return len(tensors) == 1 and len(tensors[0].shape) == 2 and tensors[0].shape[0] == 1


def _dtype(inputs: Sequence[TensorInfo]) -> str:
    """Type of a row of all inputs."""
    if any(tensor.is_float for tensor in inputs):
        return "float32"
    return "bool" if all(tensor.dtype == "bool" for tensor in inputs) else "int64"


class _Packer:
    def __init__(self, graph: onnx.GraphProto, *, batched: bool) -> None:
        self._graph = graph
        self._batched = batched
        self._taken = names_in(graph)

    def cut(self, inputs: Sequence[TensorInfo]) -> None:
        """Replace the inputs by one."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(_dtype(inputs)))
        flat = self._fresh("row")
        nodes = []
        parts = [flat]
        if len(inputs) > 1:
            parts = [self._fresh(f"{tensor.name}_part") for tensor in inputs]
            start, axis = 0, self._array([1])
            for part, tensor in zip(parts, inputs, strict=True):
                ends = [self._array([start]), self._array([start + tensor.length]), axis]
                nodes.append(helper.make_node("Slice", [flat, *ends], [part]))
                start += tensor.length
        for part, tensor in zip(parts, inputs, strict=True):
            shape = (-1, *tensor.shape[1:]) if self._batched else tensor.shape
            to = TensorProto.FLOAT
            if not tensor.is_float:
                to = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
            shaped = tensor.name if to == kind else self._fresh(f"{tensor.name}_number")
            nodes.append(helper.make_node("Reshape", [part, self._array(shape)], [shaped]))
            if to != kind:
                nodes.append(helper.make_node("Cast", [shaped], [tensor.name], to=to))
                self._graph.value_info.append(
                    helper.make_tensor_value_info(shaped, kind, tensor.shape)
                )
        body = list(self._graph.node)
        self._graph.value_info.extend(self._graph.input)
        del self._graph.node[:], self._graph.input[:]
        self._graph.node.extend([*nodes, *body])
        self._graph.input.append(_value(flat, sum(t.length for t in inputs), kind))

    def join(self, outputs: Sequence[TensorInfo]) -> None:
        """Replace the outputs by one."""
        result = self._fresh("result")
        parts = []
        for tensor in outputs:
            name = tensor.name
            if not tensor.is_float:
                name = self._fresh(f"{tensor.name}_float")
                self._node("Cast", [tensor.name], name, to=TensorProto.FLOAT)
            last = result if len(outputs) == 1 else self._fresh(f"{tensor.name}_flat")
            if len(tensor.shape) != 2 or tensor.shape[0] != 1:
                rows = -1 if self._batched else 1
                self._node("Reshape", [name, self._array([rows, tensor.length])], last)
            elif len(outputs) == 1:
                self._node("Identity", [name], last)
            else:
                last = name
            parts.append(last)
        if len(outputs) > 1:
            self._node("Concat", parts, result, axis=1)
        self._graph.value_info.extend(self._graph.output)
        del self._graph.output[:]
        self._graph.output.append(_value(result, sum(tensor.length for tensor in outputs)))

    def _node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._graph.node.append(helper.make_node(operator, inputs, [output], **attributes))

    def _array(self, values: Sequence[int]) -> str:
        array = np.asarray(values, dtype=np.int64)
        return self._add(numpy_helper.from_array(array, self._fresh("sizes")))

    def _add(self, tensor: TensorProto) -> str:
        self._graph.initializer.append(tensor)
        return str(tensor.name)

    def _fresh(self, stem: str) -> str:
        name, number = stem, 0
        while name in self._taken:
            name, number = f"{stem}_{number}", number + 1
        self._taken.add(name)
        return name


def _value(name: str, length: int, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [1, length])
