"""What the rewriting rules read of a graph and how they write to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from oracle.circuits.lowering.names import Names
from oracle.errors import ModelUnsupported

Array = npt.NDArray[Any]

#: Domain of scikit-learn's and the boosted trees' operators.
ML = "ai.onnx.ml"
#: A circuit of 2**26 rows, the most that a ceremony's SRS serves, holds no more numbers.
MAX_ELEMENTS = 1 << 26
#: From this opset on, every reduction takes its axes as a tensor; ReduceSum did before.
_AXES_ARE_INPUTS = 18
#: One domain under its two names.
CORE = ("", "ai.onnx")


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the graph, with its position for messages."""

    proto: onnx.NodeProto
    index: int

    @property
    def key(self) -> tuple[str, str]:
        """Domain, empty for the core's, and operator."""
        domain = self.proto.domain
        return ("" if domain in CORE else domain, self.proto.op_type)

    @property
    def inputs(self) -> Sequence[str]:
        """Names; empty for one that is left out."""
        return self.proto.input

    def input(self, position: int) -> str:
        """Name of an input; empty if it is left out."""
        return self.inputs[position] if position < len(self.inputs) else ""

    def attribute(self, name: str, default: Any = None) -> Any:
        """Value of an attribute; text decoded, tensors as arrays."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = helper.get_attribute_value(attribute)
                if isinstance(value, TensorProto):
                    return numpy_helper.to_array(value)
                if isinstance(value, bytes):
                    return value.decode(errors="replace")
                return value
        return default

    def require_room(self, count: float) -> None:
        """Refuse what would unfold to more than so many numbers.

        Raises:
            ModelUnsupported: attributes of a few bytes ask for more memory than a circuit holds.
        """
        if not 0 <= count <= MAX_ELEMENTS:
            raise self.refuse(f"unfolds to {count:.3g} numbers", "Use a smaller model")

    def floats(self, name: str) -> Array:
        """An attribute's numbers, float64; empty if it is left out."""
        return np.asarray(self.attribute(name, ()), dtype=np.float64)

    def refuse(self, why: str, remedy: str | None = None) -> ModelUnsupported:
        """The error that names this node."""
        domain, operator = self.key
        label = f"'{self.proto.name}'" if self.proto.name else f"number {self.index}"
        full = f"{domain}.{operator}" if domain else operator
        return ModelUnsupported(
            f"operator {full} (node {label}) {why}",
            remedy=remedy or "Replace it by core operators such as Gemm, MatMul, Add, Relu",
        )


class Graph:
    """A graph while its nodes are replaced one by one, in order.

    Rules see inferred shapes for a batch of one row. New nodes use only what the opsets from 13 to
    18 have in common.
    """

    def __init__(
        self, proto: onnx.GraphProto, opset: int, limited: Collection[str] = frozenset()
    ) -> None:
        """Take over ``proto`` of the core opset ``opset``; `finish` writes the new nodes back.

        ``limited`` names tensors that hold valid indices, counted from the start, and nothing else.
        """
        self.limited = limited
        self._proto = proto
        self._opset = opset
        self._nodes: list[onnx.NodeProto] = []
        #: Where the nodes of the rule at work begin.
        self._start = 0
        self._values = {
            value.name: value for value in (*proto.value_info, *proto.input, *proto.output)
        }
        self._constants = {tensor.name: tensor for tensor in proto.initializer}
        self._producers: dict[str, onnx.NodeProto] = {}
        self._readers: dict[str, list[Node]] = {}
        for index, node in enumerate(proto.node):
            for name in dict.fromkeys(node.input):
                self._readers.setdefault(name, []).append(Node(node, index))
            if node.op_type == "Constant" and node.domain in CORE:
                self._constants[node.output[0]] = _constant_tensor(Node(node, index))
            for name in node.output:
                self._producers[name] = node
        self._names = Names(
            {
                *self._values,
                *self._constants,
                *self._producers,
                *(node.name for node in proto.node),
            }
        )
        self._outputs = {value.name for value in proto.output}
        self._made: set[str] = set()
        self._arrays: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def shape(self, node: Node, position: int = 0) -> tuple[int, ...]:
        """Shape of an input, for one row.

        Raises:
            ModelUnsupported: shape inference did not find it.
        """
        name = node.input(position)
        found = self.known_shape(name)
        if found is None:
            raise node.refuse(
                f"has an input '{name}' of unknown shape", "Export with fixed dimensions"
            )
        return found

    def known_shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a tensor, for one row; None if shape inference did not find it."""
        if name in self._constants:
            return tuple(self._constants[name].dims)
        return known_shape(self._values.get(name))

    def output_shape(self, node: Node) -> tuple[int, ...] | None:
        """Shape of the node's first output for one row, if it is known."""
        return known_shape(self._values.get(node.proto.output[0]))

    def numpy_type(self, name: str) -> np.dtype[Any]:
        """As `element_type`, for numpy; float32 if unknown."""
        kind = self.element_type(name)
        return np.dtype(helper.tensor_dtype_to_np_dtype(kind) if kind else np.float32)

    def element_type(self, name: str) -> int:
        """Element type of a tensor, 0 if unknown."""
        if name in self._constants:
            return self._constants[name].data_type
        value = self._values.get(name)
        return value.type.tensor_type.elem_type if value is not None else 0

    def constant(self, name: str) -> Array | None:
        """Value of a tensor that no input decides."""
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def producer(self, name: str) -> str:
        """Core operator that makes a tensor; empty for an input or a constant."""
        node = self.maker(name)
        return node.key[1] if node is not None else ""

    def maker(self, name: str) -> Node | None:
        """The core operator's node that makes a tensor; None for an input or a constant."""
        proto = self._producers.get(name)
        return Node(proto, -1) if proto is not None and proto.domain in CORE else None

    def readers(self, name: str) -> Sequence[Node]:
        """Nodes that read a tensor of the graph as it came."""
        return self._readers.get(name, ())

    def is_output(self, name: str) -> bool:
        """Whether a tensor is one of the graph's outputs."""
        return name in self._outputs

    @property
    def is_whole(self) -> bool:
        """Whether no input has fractions."""
        kinds = {value.type.tensor_type.elem_type for value in self._proto.input}
        return TensorProto.FLOAT not in kinds

    def add(self, operator: str, *inputs: str | Array, **attributes: Any) -> str:
        """Append a core operator's node; arrays become constants. Name of its output."""
        return self.add_all(operator, *inputs, outputs=1, **attributes)[0]

    def add_all(
        self, operator: str, *inputs: str | Array, outputs: int, **attributes: Any
    ) -> list[str]:
        """As `add`, for a node of several outputs."""
        names = [name if isinstance(name, str) else self.array(name) for name in inputs]
        made = [self._names.fresh(operator.lower()) for _ in range(outputs)]
        self._made.update(made)
        node = helper.make_node(
            operator, names, made, name=self._names.fresh("lowered"), **attributes
        )
        self._nodes.append(node)
        self._producers.update(dict.fromkeys(made, node))
        return made

    def reduce(self, operator: str, x: str, axes: Sequence[int]) -> str:
        """Append a reduction that keeps its dimensions."""
        if operator == "ReduceSum" or self._opset >= _AXES_ARE_INPUTS:
            return self.add(operator, x, np.asarray(axes, dtype=np.int64), keepdims=1)
        return self.add(operator, x, axes=list(axes), keepdims=1)

    def array(self, values: Array) -> str:
        """Name of a constant."""
        values = np.asarray(values, order="C")
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._arrays:
            name = self._names.fresh("constant")
            tensor = numpy_helper.from_array(values, name)
            self._proto.initializer.append(tensor)
            self._constants[name] = tensor
            self._arrays[key] = name
        return self._arrays[key]

    def keep(self, node: Node) -> None:
        """Take a node over as it is; the loader knows few forms of constants but initializers."""
        if node.key == ("", "Constant"):
            self._proto.initializer.append(self._constants[node.proto.output[0]])
        else:
            self._nodes.append(node.proto)
        self._start = len(self._nodes)

    def replace(self, node: Node, results: Sequence[str]) -> None:
        """Let ``results`` stand for the node's outputs."""
        for old, new in zip(node.proto.output, results, strict=False):
            if not old:
                continue
            if new in self._constants:
                self._constants[old] = self._constants[new]
            if new in self._made:
                # Nobody else knows the new name yet: the result takes the old one.
                self._made.remove(new)
                self._producers[old] = self._producers[new]
                for made in self._nodes[self._start :]:
                    _rename(made.output, new, old)
                    _rename(made.input, new, old)
            else:
                same = helper.make_node("Identity", [new], [old], name=self._names.fresh("lowered"))
                self._nodes.append(same)
                self._producers[old] = same
        self._start = len(self._nodes)

    def finish(self) -> None:
        """Write the nodes back."""
        del self._proto.node[:]
        self._proto.node.extend(self._nodes)


def _rename(names: Any, old: str, new: str) -> None:
    for position, name in enumerate(names):
        if name == old:
            names[position] = new


def int64s(values: Sequence[int] | Array) -> Array:
    """A shape, axes or positions."""
    return np.asarray(values, dtype=np.int64)


def float32s(values: Sequence[float] | Array) -> Array:
    """Constants of the arithmetic."""
    return np.asarray(values, dtype=np.float32)


def known_shape(value: onnx.ValueInfoProto | None) -> tuple[int, ...] | None:
    """Shape of a tensor if every dimension is a number."""
    if value is None or not value.type.tensor_type.HasField("shape"):
        return None
    dims = value.type.tensor_type.shape.dim
    if any(dim.WhichOneof("value") != "dim_value" for dim in dims):
        return None
    return tuple(dim.dim_value for dim in dims)


def core_opset(model: onnx.ModelProto) -> int:
    """Version of the core operators."""
    return next((o.version for o in model.opset_import if o.domain in CORE), 1)


def prune(proto: onnx.GraphProto) -> None:
    """Drop nodes and constants that no output needs."""
    needed = {value.name for value in proto.output}
    kept = []
    for node in reversed(proto.node):
        if needed.isdisjoint(node.output):
            continue
        needed.update(name for name in node.input if name)
        kept.append(node)
    tensors = [tensor for tensor in proto.initializer if tensor.name in needed]
    del proto.node[:]
    proto.node.extend(reversed(kept))
    del proto.initializer[:]
    proto.initializer.extend(tensors)


def live(proto: onnx.GraphProto) -> set[str]:
    """Names of the results that an output needs; the graph stays as it is."""
    proved = onnx.GraphProto()
    proved.CopyFrom(proto)
    prune(proved)
    return {name for node in proved.node for name in node.output}


def _constant_tensor(node: Node) -> TensorProto:
    """What a Constant node holds, as an initializer of its output's name."""
    name = node.proto.output[0]
    for attribute in node.proto.attribute:
        value = helper.get_attribute_value(attribute)
        if attribute.name == "value" and isinstance(value, TensorProto):
            tensor = TensorProto()
            tensor.CopyFrom(value)
            tensor.name = name
            return tensor
        if attribute.name in {"value_string", "value_strings"}:
            texts = value if isinstance(value, list) else [value]
            return helper.make_tensor(name, TensorProto.STRING, [len(texts)], texts)
        if attribute.name in {"value_float", "value_floats", "value_int", "value_ints"}:
            dtype = np.float32 if "float" in attribute.name else np.int64
            return numpy_helper.from_array(np.asarray(value, dtype=dtype), name)
    raise node.refuse("holds no dense tensor", "Export the model again")


#: Writes a node with core operators: names of what stands for its outputs, or None to keep it.
Rule = Callable[[Graph, Node], Sequence[str] | None]
Rules = Mapping[tuple[str, str], Rule]
