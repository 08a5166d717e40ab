"""A model file as it arrives, hostile until checked, and as it is proved, with the tag input."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from oracle.errors import ModelMalformed, ModelUnsupported, ProverError
from oracle.prover.child import Sandbox
from oracle.types import TagLayout

#: Name of the graph input that carries the tag.
TAG = "tag"
#: Larger files are refused unread (bytes).
MAX_BYTES = 256 << 20
#: A graph of more nodes would be searched for hours (count).
MAX_NODES = 2_000
#: Versions of the core operators that the circuit compiler's loader was made for.
OPSETS = range(9, 23)

#: Standard operators that the circuit compiler rejects or gets wrong.
_UNSUPPORTED = frozenset({"Gelu", "Mish", "LpNormalization", "IsNaN"})
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})


@dataclass(frozen=True, slots=True)
class Model:
    """A checked model: one float input, one output, no free dimensions but the batch."""

    #: The file's bytes with every batch dimension set to 1.
    data: bytes
    input_name: str
    output_name: str
    input_shape: tuple[int, ...]
    #: The file leaves the first dimension of input and output free, so it takes several rows.
    takes_batches: bool

    @property
    def input_length(self) -> int:
        """Number of input elements."""
        return math.prod(self.input_shape)

    @property
    def sha256(self) -> bytes:
        """Identity of the file."""
        return hashlib.sha256(self.data).digest()


def load(path: Path, sandbox: Sandbox) -> Model:
    """Read and check a model file.

    Args:
        path: the file.
        sandbox: runs ONNX's own checker, native code, on the untrusted bytes.

    Raises:
        ModelMalformed: not a valid ONNX file.
        ModelUnsupported: valid, but outside what can be proved; names the operator and node.
    """
    data = _read(path)
    _check(data, sandbox)
    try:
        proto = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise _malformed(str(error)) from None
    if proto.functions:
        raise ModelUnsupported(
            f"the model defines its own function '{proto.functions[0].name}'",
            remedy="Export with functions inlined",
        )
    _reject_opset(proto)
    _reject_unsupported(proto.graph)
    graph_input, graph_output = _only_input(proto.graph), _only_output(proto.graph)
    takes_batches = all(_is_batch_free(value) for value in (graph_input, graph_output))
    shape = _fix_batch(graph_input, "input")
    _fix_batch(graph_output, "output")
    # Shapes of inner tensors are hints for tools, and name the batch that is now fixed.
    del proto.graph.value_info[:]
    return Model(
        data=proto.SerializeToString(deterministic=True),
        input_name=graph_input.name,
        output_name=graph_output.name,
        input_shape=shape,
        takes_batches=takes_batches,
    )


def add_tag(model: Model, layout: TagLayout, rows: int = 1) -> bytes:
    """The model for ``rows`` rows, with one more graph input, `TAG`, that no node reads.

    Public graph inputs are public instances whether used or not, and the last input comes right
    before the outputs: instances = inputs row after row, tag limbs, outputs row after row.

    Raises:
        ModelUnsupported: a tensor is named like the tag, or the model takes one row only.
    """
    if rows > 1 and not model.takes_batches:
        raise ModelUnsupported(
            f"the model takes one row, not {rows}",
            remedy="Export input and output with a free batch dimension",
        )
    proto = onnx.load_model_from_string(model.data)
    if rows > 1:
        for value in (*proto.graph.input, *proto.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = rows
    taken = {value for node in proto.graph.node for value in (*node.input, *node.output)}
    taken |= {value.name for value in proto.graph.input}
    taken |= {tensor.name for tensor in proto.graph.initializer}
    if TAG in taken:
        raise ModelUnsupported(
            f"the model uses the name '{TAG}', which the oracle needs", remedy="Rename that tensor"
        )
    proto.graph.input.append(
        onnx.helper.make_tensor_value_info(TAG, onnx.TensorProto.FLOAT, [1, layout.limbs])
    )
    return bytes(proto.SerializeToString(deterministic=True))


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelUnsupported(f"{path.name} has {size} bytes, the limit is {MAX_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise ModelMalformed(
            f"cannot read {path}: {error.strerror}", remedy="Give the path of an ONNX file"
        ) from None


def _check(data: bytes, sandbox: Sandbox) -> None:
    with tempfile.TemporaryDirectory(prefix="oracle-model-") as folder:
        copy = Path(folder) / "model.onnx"
        copy.write_bytes(data)
        try:
            verdict = sandbox.run("check_model", {"model": str(copy)})
        except ProverError as error:
            raise _malformed(f"the checker failed on it ({error.message})") from None
    if not verdict["valid"]:
        raise _malformed(verdict["reason"])


def _malformed(reason: str) -> ModelMalformed:
    lines = [line for line in reason.splitlines() if line.strip()]
    return ModelMalformed(
        f"not a valid ONNX model: {lines[0][:200] if lines else 'empty'}",
        remedy="Export the model again and check it with onnx.checker",
    )


def _reject_opset(proto: onnx.ModelProto) -> None:
    for imported in proto.opset_import:
        if imported.domain in ("", "ai.onnx") and imported.version not in OPSETS:
            raise ModelUnsupported(
                f"the model uses opset {imported.version}",
                remedy="Export it with an opset from 9 to 18",
            )


def _reject_unsupported(graph: onnx.GraphProto) -> None:
    if len(graph.node) > MAX_NODES:
        raise ModelUnsupported(
            f"the model has {len(graph.node)} nodes, the limit is {MAX_NODES}",
            remedy="Use a smaller model",
        )
    for index, node in enumerate(graph.node):
        label = f"'{node.name}'" if node.name else f"number {index}"
        if node.domain not in ("", "ai.onnx"):
            raise ModelUnsupported(
                f"operator {node.domain}.{node.op_type} (node {label}) is not a core ONNX operator",
                remedy="Export with core operators such as Gemm, MatMul, Add, Relu",
            )
        if node.op_type in _UNSUPPORTED | _CONTROL_FLOW:
            raise ModelUnsupported(
                f"operator {node.op_type} (node {label}) cannot be proved",
                remedy="Replace it by core arithmetic operators",
            )
    for tensor in _tensors(graph):
        # The path of external data is the file's choice: it could name any file of this machine.
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ModelUnsupported(
                f"tensor '{tensor.name}' is stored in another file",
                remedy="Save the model as one file",
            )


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every constant: initializers and attributes. Nested graphs are refused before this."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)


def _only_input(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    # Old exporters list the weights as inputs with defaults.
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise ModelUnsupported(
            f"the model has {len(inputs)} inputs, one is supported",
            remedy="Concatenate them into one input",
        )
    del graph.input[:]
    graph.input.append(inputs[0])
    if inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise ModelUnsupported(
            f"input '{inputs[0].name}' is not float32", remedy="Export with a float32 input"
        )
    return graph.input[0]


def _only_output(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    if len(graph.output) != 1:
        raise ModelUnsupported(
            f"the model has {len(graph.output)} outputs, one is supported",
            remedy="Keep one output, or concatenate them",
        )
    return graph.output[0]


def _is_batch_free(value: onnx.ValueInfoProto) -> bool:
    shape = value.type.tensor_type.shape.dim
    return bool(shape) and shape[0].WhichOneof("value") != "dim_value"


def _fix_batch(value: onnx.ValueInfoProto, kind: str) -> tuple[int, ...]:
    """Set a free first dimension to 1 and return the shape."""
    shape = []
    for axis, dim in enumerate(value.type.tensor_type.shape.dim):
        if dim.WhichOneof("value") != "dim_value":
            if axis > 0:
                raise ModelUnsupported(
                    f"dimension {axis} of {kind} '{value.name}' is not fixed",
                    remedy="Export with fixed dimensions; only the batch may be free",
                )
            dim.dim_value = 1
        shape.append(dim.dim_value)
    if not shape or min(shape) < 1:
        raise ModelUnsupported(
            f"{kind} '{value.name}' has no fixed, non-empty shape",
            remedy="Export with fixed dimensions; only the batch may be free",
        )
    return tuple(shape)
