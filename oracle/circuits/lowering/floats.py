"""Other floating-point types become float32: fixed point takes their place in any case."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from oracle.circuits.lowering.graph import CORE

_OTHERS = frozenset({TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})


def to_float32(graph: onnx.GraphProto) -> None:
    """Change types of constants, casts, inputs, outputs and inner tensors, in place."""
    for tensor in graph.initializer:
        _convert(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR and node.domain in CORE:
                _convert(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i in _OTHERS:
                attribute.i = TensorProto.FLOAT
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in _OTHERS:
            value.type.tensor_type.elem_type = TensorProto.FLOAT


def _convert(tensor: TensorProto) -> None:
    if tensor.data_type in _OTHERS:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
