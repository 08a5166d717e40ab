"""Models that are refused, each with what would help.

A line names the operator and its node, the constant or the tensor. What it advises is done by
``tests/circuits/test_refusals.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from oracle.circuits.lowering.graph import CORE, ML, Graph, Node, core_opset, known_shape
from oracle.circuits.shapes import COLUMNS, MAX_LOGROWS
from oracle.errors import ModelUnsupported

#: A graph of more nodes would be searched for hours (count).
MAX_NODES = 2_000
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})
#: Core operators that the circuit compiler's loader takes and the compiler then fails on without a
#: name, or computes wrongly. It names those that the loader does not know.
_UNPROVABLE = frozenset(
    {
        "Bernoulli",
        "GlobalLpPool",
        "GroupNormalization",
        "LRN",
        "Multinomial",
        "NonZero",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "RMSNormalization",
    }
)
#: Operators on what was quantised, other than weights: those are constants, and folded.
_QUANTIZED = ("quantize", "qlinear", "integer", "qgemm", "qattention")
#: What a refused operator stands for, and what helps.
_USE_ANOTHER = (
    "Export without branches and loops; of scikit-learn a Gaussian process with "
    "options={id(model): {'optim': 'cdist'}}, nearest neighbours not at all: use another estimator"
)
#: Products of the largest circuit, one in a row of each column (count).
_MAX_PRODUCTS = max(COLUMNS) << MAX_LOGROWS
#: Numbers of a circuit have 63 bits, a few of them fractional.
_GREATEST = 2.0**56


def require_size(graph: onnx.GraphProto) -> None:
    """Refuse what would be searched for hours, and what takes no one way."""
    if len(graph.node) > MAX_NODES:
        raise ModelUnsupported(
            f"the model has {len(graph.node)} nodes, the limit is {MAX_NODES}",
            remedy="Use a smaller model",
        )
    reject_control_flow(graph.node)


def reject_control_flow(nodes: Sequence[onnx.NodeProto]) -> None:
    """Refuse branches and loops."""
    for index, proto in enumerate(nodes):
        if proto.domain in CORE and proto.op_type in _CONTROL_FLOW:
            raise Node(proto, index).refuse("cannot be proved", _USE_ANOTHER)


def reject_foreign(graph: onnx.GraphProto) -> None:
    """Refuse operators that nothing here rewrites, and that the circuit compiler does not take."""
    for index, proto in enumerate(graph.node):
        if any(part in proto.op_type.lower() for part in _QUANTIZED):
            raise Node(proto, index).refuse(
                "quantises what the input decides",
                "Publish the float model: a circuit has fixed-point numbers in any case",
            )
        if proto.domain not in (*CORE, ML):
            raise Node(proto, index).refuse("is not a standard ONNX operator")
        if proto.domain in CORE and proto.op_type in _UNPROVABLE:
            raise Node(proto, index).refuse("cannot be proved")


def reject_fixed_batch(graph: onnx.GraphProto) -> None:
    """Scikit-learn's operators take rows; a file of several rows at once proves no single one."""
    weights = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        shape = known_shape(value)
        if not shape or value.name in weights or all(n.domain != ML for n in graph.node):
            continue
        if shape[0] > 1:
            raise fixed_batch(
                shape[0],
                "Export one row or a free first dimension: "
                f"initial_types=[('{value.name}', {_skl2onnx_type(value)}([None, {shape[-1]}]))]",
            )


def _skl2onnx_type(value: onnx.ValueInfoProto) -> str:
    """What skl2onnx calls a tensor of these elements."""
    kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    return f"{kind.capitalize()}TensorType"


def fixed_batch(rows: int, remedy: str) -> ModelUnsupported:
    """The error for a file of so many rows."""
    return ModelUnsupported(
        f"the file takes {rows} rows at once, no more and no less", remedy=remedy
    )


def reject_positions(graph: onnx.GraphProto) -> None:
    """TopK's values can be proved, where they lie cannot."""
    used = {name for node in graph.node for name in node.input}
    shown = {value.name for value in graph.output}
    for index, proto in enumerate(graph.node):
        if proto.op_type == "TopK" and not (used | shown).isdisjoint(proto.output[1:]):
            values = proto.output[0]
            alone = f"Prove its values alone: --output {values}. " if values in shown else ""
            raise Node(proto, index).refuse(
                "gives the positions of the greatest numbers",
                f"{alone}For positions export the scores, and build with --reveal topk:2, say",
            )


def reject_large(model: onnx.ModelProto) -> None:
    """Refuse convolutions beyond any circuit before the compiler lays them out for minutes."""
    graph = Graph(model.graph, core_opset(model))
    count = 0
    for index, proto in enumerate(model.graph.node):
        node = Node(proto, index)
        result, weights = graph.output_shape(node), graph.constant(node.input(1))
        if node.key == ("", "Conv") and result is not None and weights is not None:
            count += math.prod(result) * math.prod(weights.shape[1:])
    if count > _MAX_PRODUCTS:
        raise ModelUnsupported(
            f"its convolutions multiply {count:,} times, a circuit {_MAX_PRODUCTS:,} times at most",
            remedy="Use a smaller model, or smaller inputs",
        )


def require_numbers(graph: onnx.GraphProto) -> None:
    """Refuse constants that no circuit holds."""
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind != "f" or not values.size:
            continue
        sizes = np.abs(values, dtype=np.float64)
        worst = values.ravel()[int(np.argmax(np.where(np.isnan(sizes), np.inf, sizes)))]
        if not np.abs(worst) <= _GREATEST:
            raise ModelUnsupported(
                f"the constant '{tensor.name}' holds {worst:g}, and no circuit does",
                remedy="Replace it by a finite number of a usual size, in a mask by -100 for example",
            )
