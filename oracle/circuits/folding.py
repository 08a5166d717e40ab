"""Scalers and other affine steps before a matrix product, folded into its weights.

``(x * a + c) @ w`` is ``x @ (a * w) + c @ w``. That saves a product, and its rounding, for every
feature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from oracle.circuits.lowering.graph import Node, prune

Array = npt.NDArray[np.float64]

_STEPS = frozenset({"Add", "Div", "Identity", "Mul", "Sub"})


@dataclass(frozen=True, slots=True)
class _Affine:
    """``x * factor + offset``, each a number for every feature."""

    x: str
    factor: Array
    offset: Array


def folded(data: bytes) -> bytes:
    """The model file with what can be folded; results keep their names."""
    proto = onnx.load_model_from_string(data)
    _fold(proto.graph)
    return bytes(proto.SerializeToString(deterministic=True))


def _fold(graph: onnx.GraphProto) -> None:
    constants = {each.name: each for each in graph.initializer}
    makers = {name: Node(node, 0) for node in graph.node for name in node.output}
    nodes: list[onnx.NodeProto] = []
    for proto in graph.node:
        weights = _weights(Node(proto, 0), constants)
        steps = None if weights is None else _steps(proto.input[0], len(weights), makers, constants)
        if weights is None or steps is None:
            nodes.append(proto)
            continue
        stem = f"{proto.output[0]}_folded"
        scaled = numpy_helper.from_array(
            (steps.factor[:, np.newaxis] * weights).astype(np.float32), f"{stem}_weights"
        )
        moved = numpy_helper.from_array(
            (steps.offset @ weights)[np.newaxis].astype(np.float32), f"{stem}_offset"
        )
        graph.initializer.extend([scaled, moved])
        product = helper.make_node(proto.op_type, [steps.x, scaled.name], [stem], name=stem)
        nodes += [
            product,
            helper.make_node("Add", [stem, moved.name], proto.output, name=proto.name),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
    prune(graph)


def _weights(node: Node, constants: dict[str, onnx.TensorProto]) -> Array | None:
    """Weights [features, results] of a plain matrix product; None of anything else."""
    if node.key != ("", "MatMul") or node.input(1) not in constants:
        return None
    weights = np.asarray(numpy_helper.to_array(constants[node.input(1)]), dtype=np.float64)
    return weights if weights.ndim == 2 else None


def _steps(
    name: str,
    features: int,
    makers: dict[str, Node],
    constants: dict[str, onnx.TensorProto],
) -> _Affine | None:
    """What was done to each feature since something else made them; None if nothing was."""
    factor, offset = np.ones(features), np.zeros(features)
    start = name
    while (node := makers.get(name)) is not None and node.key[1] in _STEPS:
        operator = node.key[1]
        if operator == "Identity":
            name = node.input(0)
            continue
        known = [each in constants for each in node.inputs]
        if known.count(True) != 1 or (known[0] and operator == "Div"):
            break
        tensor = numpy_helper.to_array(constants[node.input(known.index(True))])
        if tensor.size not in (1, features) or tensor.shape[-1:] not in ((), (1,), (features,)):
            break
        values = np.broadcast_to(np.asarray(tensor, dtype=np.float64).ravel(), features)
        # What is behind comes first: y = factor * step(x) + offset.
        if operator == "Mul":
            factor = factor * values
        elif operator == "Div":
            factor = factor / values
        elif operator == "Add":
            offset = offset + factor * values
        elif known[0]:
            factor, offset = -factor, offset + factor * values
        else:
            offset = offset - factor * values
        name = node.input(known.index(False))
    finite = np.isfinite(factor).all() and np.isfinite(offset).all()
    return None if name == start or not finite else _Affine(name, factor, offset)
