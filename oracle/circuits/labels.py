"""Names of a classifier's classes, as its file has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx import TensorProto, numpy_helper

from oracle.circuits.lowering.graph import ML, Node

#: Attributes that name a classifier's classes.
_LABELS = ("classlabels_strings", "classlabels_ints", "classlabels_int64s")
#: Types of classes.
_NAMES = frozenset({TensorProto.STRING, TensorProto.INT64, TensorProto.INT32})


def labels_of(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Names of a classifier's classes, by index; empty if the file names none.

    Those behind the file's own label: ensembles hold other classifiers, which number the classes.
    """
    if any(node.op_type == "SequenceConstruct" for node in graph.node):
        # Classes of several labels.
        return ()
    makers = {
        name: Node(proto, index) for index, proto in enumerate(graph.node) for name in proto.output
    }
    constants = {tensor.name: tensor for tensor in graph.initializer}
    labels = [value.name for value in graph.output if is_label(value)]
    waiting, seen = [*labels, *(value.name for value in graph.output)], set()
    while waiting:
        name = waiting.pop(0)
        node = makers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if found := _named_by(node, constants):
            return found
        waiting += node.inputs
    return ()


def _named_by(node: Node, constants: Mapping[str, TensorProto]) -> tuple[str, ...]:
    """The classes that a node turns an index into, or numbers itself."""
    if node.key == (ML, "LabelEncoder"):
        # Only where what it maps is the index.
        keys = node.attribute("keys_int64s") or ()
        listed = node.attribute("values_strings") or node.attribute("values_int64s") or ()
        return _texts(listed) if list(keys) == list(range(len(listed))) else ()
    if node.key in ((ML, "ArrayFeatureExtractor"), ("", "Gather")):
        table = constants.get(node.input(0))
        if table is None or table.data_type not in _NAMES:
            return ()
        return _texts(numpy_helper.to_array(table).ravel().tolist())
    listed = next((found for name in _LABELS if (found := node.attribute(name))), ())
    return _texts(listed) if node.key[0] == ML else ()


def _texts(listed: Sequence[Any]) -> tuple[str, ...]:
    return tuple(v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in listed)


def is_label(value: onnx.ValueInfoProto) -> bool:
    """Whether an output is a label; text and integers are."""
    return value.type.tensor_type.elem_type in (TensorProto.STRING, TensorProto.INT64)
