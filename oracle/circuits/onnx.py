"""A model file as it arrives, hostile until checked, and as it is proved.

What is proved has one input [batch, n] and one float32 output [batch, m]: all inputs of a row side by
side in the file's order, and all chosen outputs likewise. The input is float32 unless the file takes
whole numbers alone (see `canonical`). A file that has this form stays as it is; else nodes are added
that cut, reshape and join. Native code that reads the untrusted bytes runs in the sandbox.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from oracle.circuits import lowering, refusals, undefined, vocabulary
from oracle.circuits.canonical import pack
from oracle.circuits.cost import require_verifiable
from oracle.circuits.labels import is_label, labels_of
from oracle.circuits.lowering import summands
from oracle.circuits.lowering.floats import to_float32
from oracle.circuits.lowering.graph import ML, known_shape, prune
from oracle.circuits.lowering.names import names_in
from oracle.circuits.plan import Plan
from oracle.circuits.row import Range, TensorInfo
from oracle.circuits.source import first_line, malformed, read
from oracle.errors import (
    ModelUnsupported,
    ProverError,
    TensorLength,
    UsageError,
)
from oracle.prover.sandbox import Sandbox
from oracle.types import TagLayout

#: Name of the graph input that carries the tag.
TAG = "tag"
#: Versions of the core operators that the rewriting rules and the circuit compiler's loader share;
#: files of other versions are converted.
OPSETS = (13, 18)

Floats = npt.NDArray[np.float64]

_NUMERIC = frozenset(
    {
        TensorProto.FLOAT,
        TensorProto.DOUBLE,
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
        TensorProto.INT64,
        TensorProto.INT32,
        TensorProto.INT16,
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.UINT16,
        TensorProto.UINT32,
        TensorProto.BOOL,
    }
)
#: How far a rewritten graph's outputs may be from the original's, relative to 1 + their size:
#: float32 operations in another order.
_TOLERANCE = 1e-3
#: Samples on which the rewritten graph is compared with the original.
_COMPARED = 32
_NO_DIMS: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class Model:
    """A checked model in the form that is proved, for one row."""

    #: The file's bytes: one input [1, n], one float32 output [1, m], no tag.
    data: bytes
    input_name: str
    output_name: str
    input_shape: tuple[int, ...]
    #: The file leaves the first dimension of inputs and outputs free, so it takes several rows.
    takes_batches: bool
    #: SHA-256 of the publisher's file (`source.Source.sha256`).
    file_hash: bytes = b""
    #: The file's own inputs and the chosen outputs, as they lie in a row.
    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
    #: Names of the classes, by index; empty if the file names none.
    labels: tuple[str, ...] = ()
    #: What the types of the inputs and lookups by them allow each element (`vocabulary.allowed`).
    allowed: tuple[Range, ...] = ()
    #: Its curves are constant where they are flat to within this; 0 if they are not limited.
    flat: float = 0.0
    #: Its roots and reciprocals are looked up.
    tabled: bool = False
    #: Its norms enlarge deviations before they square them.
    widened: bool = False
    #: Its arithmetic; None leaves it to the circuit compiler.
    plan: Plan | None = None

    @property
    def input_length(self) -> int:
        """Number of input elements."""
        return math.prod(self.input_shape)

    @property
    def sha256(self) -> bytes:
        """Identity of the file."""
        return hashlib.sha256(self.data).digest()


def load(
    path: Path,
    sandbox: Sandbox,
    *,
    dims: Mapping[str, int] = _NO_DIMS,
    outputs: Sequence[str] = (),
    samples: npt.NDArray[np.floating[Any]] | None = None,
) -> Model:
    """Read, check and rewrite a model file.

    Args:
        path: the file.
        sandbox: runs native code on the untrusted bytes.
        dims: sizes of named free dimensions. A free first dimension without one is the batch.
        outputs: names of the outputs to prove; by default all, of classifiers the scores without
            the label.
        samples: inputs, float [k, n]; the rewritten graph must give what the original gives.

    Raises:
        ModelMalformed: not a valid ONNX file.
        ModelUnsupported: valid, but outside what can be proved; names the operator and node.
        UsageError: a dimension or output that the model does not have, or unusable samples.
    """
    source = read(path, sandbox)
    with tempfile.TemporaryDirectory(prefix="oracle-model-") as folder:
        original = source.write(Path(folder))
        _check_dims(dims)
        given, prepared = _prepare(original, dims, sandbox, external=bool(source.beside))
        refusals.reject_fixed_batch(given.graph)
        names = [value.name for value in _chosen(given.graph, outputs)]
        batched = _takes_batches(given.graph, names, dims)
        infos = [_info(value, given.graph.input) for value in prepared.graph.input]
        require_verifiable(sum(info.length for info in infos))
        intervals = vocabulary.allowed(prepared, infos)
        indices = vocabulary.indices(prepared, infos)
        to_float32(prepared.graph)
        prepared = _rewrite(prepared, names, Path(folder) / "lowered.onnx", sandbox)
        refusals.reject_positions(prepared.graph)
        refusals.reject_large(prepared)
        if batched:
            _close_batch(prepared.graph.output)
        results = [_info(value, given.graph.output) for value in prepared.graph.output]
        pack(prepared.graph, infos, results, batched=batched)
        lowering.lower_integers(prepared)
        lowering.lower_core(prepared, indices)
        summands.part(prepared.graph)
        refusals.require_numbers(prepared.graph)
        # Hints for tools, and the rules may have made them wrong.
        del prepared.graph.value_info[:]
        model = Model(
            data=prepared.SerializeToString(deterministic=True),
            input_name=prepared.graph.input[0].name,
            output_name=prepared.graph.output[0].name,
            input_shape=known_shape(prepared.graph.input[0]) or (),
            takes_batches=batched,
            inputs=tuple(infos),
            outputs=tuple(results),
            labels=labels_of(given.graph),
            file_hash=source.sha256,
            allowed=intervals,
        )
        if samples is not None:
            _compare(model, original, names, np.asarray(samples, dtype=np.float64), sandbox)
    return model


def answers(
    path: Path,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[str],
    labels: Sequence[str],
    rows: Floats,
    sandbox: Sandbox,
) -> Floats:
    """What a file itself answers, float [n, numbers of its outputs], by onnxruntime.

    Args:
        path: the file; data files lie beside it.
        inputs: as they lie in a row.
        outputs: names.
        labels: texts that outputs may hold, by index.
        rows: float [n, numbers of its inputs].
        sandbox: runs it.

    Raises:
        ProverError: it does not run.
    """
    params = {
        "model": str(path.resolve()),
        "inputs": [(tensor.name, tensor.shape, tensor.dtype) for tensor in inputs],
        "outputs": list(outputs),
        "labels": list(labels),
        "rows": rows.tolist(),
    }
    return np.asarray(sandbox.run("run_original", params)["outputs"], dtype=np.float64)


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
            remedy="Export inputs and outputs with a free batch dimension",
        )
    proto = onnx.load_model_from_string(model.data)
    if rows > 1:
        for value in (*proto.graph.input, *proto.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = rows
    if TAG in names_in(proto.graph):
        raise ModelUnsupported(
            f"the model uses the name '{TAG}', which the oracle needs", remedy="Rename that tensor"
        )
    proto.graph.input.append(
        helper.make_tensor_value_info(TAG, TensorProto.FLOAT, [1, layout.limbs])
    )
    return bytes(proto.SerializeToString(deterministic=True))


# --- reading --------------------------------------------------------------------------------------


def _prepare(
    original: Path, dims: Mapping[str, int], sandbox: Sandbox, *, external: bool
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The file as given, and with functions inlined, opset converted and dimensions fixed.

    In both, what no input decides is a constant.
    """
    folded, path = original.with_name("folded.onnx"), original.with_name("prepared.onnx")
    params = {
        "model": str(original),
        "external": external,
        "folded": str(folded),
        "prepared": str(path),
        "dims": dict(dims),
        "opsets": list(OPSETS),
    }
    try:
        verdict = sandbox.run("prepare_model", params)
    except ProverError as error:
        raise malformed(f"the checker failed on it ({error.message})") from None
    if not verdict["valid"]:
        raise malformed(verdict["reason"])
    given = _parse(folded if folded.exists() else original)
    refusals.require_size(given.graph)
    if not given.functions:
        refusals.reject_foreign(given.graph)
    for function in given.functions:
        refusals.reject_control_flow(function.node)
    if verdict["reason"]:
        raise ModelUnsupported(
            f"its operators cannot be converted to opset {OPSETS[1]}: {first_line(verdict['reason'])}",
            remedy=f"Export the model with an opset from {OPSETS[0]} to {OPSETS[1]}",
        )
    prepared = _parse(path)
    refusals.require_size(prepared.graph)
    refusals.reject_foreign(prepared.graph)
    unused = set(dims) - {
        dim.dim_param
        for value in (*given.graph.input, *given.graph.output)
        for dim in value.type.tensor_type.shape.dim
    }
    if unused:
        raise UsageError(
            f"no input or output has a free dimension '{min(unused)}'",
            remedy="Name free dimensions as the model does",
        )
    return given, prepared


def _parse(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(path.read_bytes())
    except DecodeError as error:
        raise malformed(str(error)) from None


def _check_dims(dims: Mapping[str, int]) -> None:
    for name, size in dims.items():
        if not 1 <= size <= 2**20:
            raise UsageError(
                f"{size} is no size for dimension '{name}'", remedy="Give a number from 1 up"
            )


# --- inputs and outputs ---------------------------------------------------------------------------


def _chosen(graph: onnx.GraphProto, names: Sequence[str]) -> list[onnx.ValueInfoProto]:
    """The outputs that are proved."""
    outputs = list(graph.output)
    known = {value.name: value for value in outputs}
    for name in names:
        if name not in known:
            raise UsageError(
                f"the model has no output '{name}'", remedy=f"Choose from {', '.join(known)}"
            )
    if names:
        return [known[name] for name in dict.fromkeys(names)]
    if any(node.domain == ML for node in graph.node):
        # A classifier's label follows from its scores; text and integers are labels.
        return [value for value in outputs if not is_label(value)] or outputs
    return outputs


def _takes_batches(graph: onnx.GraphProto, names: Sequence[str], dims: Mapping[str, int]) -> bool:
    """Whether inputs and chosen outputs leave their first dimension free."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    outputs = [value for value in graph.output if value.name in names]
    return all(_is_batch_free(value, dims) for value in (*inputs, *outputs))


def _is_batch_free(value: onnx.ValueInfoProto, dims: Mapping[str, int]) -> bool:
    if not value.type.HasField("tensor_type"):
        # A classifier's dictionaries, one for each row.
        return True
    shape = value.type.tensor_type.shape.dim
    if not shape or shape[0].WhichOneof("value") == "dim_value":
        return False
    return shape[0].dim_param not in dims


def _close_batch(outputs: Sequence[onnx.ValueInfoProto]) -> None:
    """One row, where shape inference lost the batch."""
    for value in outputs:
        for dim in value.type.tensor_type.shape.dim[:1]:
            if dim.WhichOneof("value") != "dim_value":
                dim.dim_value = 1


def _info(value: onnx.ValueInfoProto, given: Iterable[onnx.ValueInfoProto]) -> TensorInfo:
    """What a tensor of the prepared graph looks like in a row; names of dimensions are those given."""
    kind = value.type.tensor_type.elem_type
    if kind not in _NUMERIC:
        raise ModelUnsupported(
            f"'{value.name}' does not hold real numbers",
            remedy="Export with numbers as inputs and outputs",
        )
    for axis, dim in enumerate(value.type.tensor_type.shape.dim):
        if dim.WhichOneof("value") != "dim_value":
            name = _dimension_name(value.name, axis, given)
            raise ModelUnsupported(
                f"dimension {axis}{f' ({name})' if name else ''} of '{value.name}' is not fixed",
                remedy=f"Give its size: --dim {name}=SIZE"
                if name
                else "Export with fixed dimensions; only the batch may be free",
            )
    shape = known_shape(value)
    if shape is None or min(shape, default=1) < 1:
        raise ModelUnsupported(
            f"'{value.name}' has no fixed, non-empty shape",
            remedy="Export with fixed dimensions; only the batch may be free",
        )
    return TensorInfo(value.name, shape, str(helper.tensor_dtype_to_np_dtype(kind)))


def _dimension_name(tensor: str, axis: int, given: Iterable[onnx.ValueInfoProto]) -> str:
    """What the file calls a dimension; empty if it has no name. Shape inference makes up others."""
    for value in given:
        dims = value.type.tensor_type.shape.dim
        if value.name == tensor and axis < len(dims):
            return str(dims[axis].dim_param)
    return ""


# --- rewriting ------------------------------------------------------------------------------------


def _rewrite(
    prepared: onnx.ModelProto, names: Sequence[str], path: Path, sandbox: Sandbox
) -> onnx.ModelProto:
    """The chosen outputs alone, in core operators and float32, with all shapes."""
    graph = prepared.graph
    found = {value.name: value for value in graph.output}
    del graph.output[:]
    for name in names:
        value = found[name]
        kind = value.type.tensor_type.elem_type
        if not value.type.HasField("tensor_type"):
            value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        elif kind == TensorProto.STRING:
            value = helper.make_tensor_value_info(name, TensorProto.INT64, None)
        graph.output.append(value)
    prune(graph)
    _join_sequences(graph, names)
    if all(node.domain != ML for node in graph.node):
        return prepared
    lowering.lower_ml(prepared)
    domains = [opset for opset in prepared.opset_import if opset.domain != ML]
    del prepared.opset_import[:], graph.value_info[:]
    prepared.opset_import.extend(domains or [helper.make_opsetid("", OPSETS[1])])
    path.write_bytes(prepared.SerializeToString())
    try:
        sandbox.run("infer_shapes", {"model": str(path)})
    except ProverError as error:
        raise ModelUnsupported(
            f"its shapes cannot be inferred ({error.message})", remedy="Export it again"
        ) from None
    return _parse(path)


def _join_sequences(graph: onnx.GraphProto, names: Collection[str]) -> None:
    """Several tensors of scores in one output, as of several labels, become one beside the other."""
    for node in graph.node:
        if node.op_type == "SequenceConstruct" and node.output[0] in names:
            node.op_type = "Concat"
            node.attribute.append(helper.make_attribute("axis", 1))


def _compare(
    model: Model, original: Path, names: Sequence[str], samples: Floats, sandbox: Sandbox
) -> None:
    """Refuse a rewriting that does not compute what the file computes."""
    batch = {tensor.shape[0] if tensor.shape else 1 for tensor in (*model.inputs, *model.outputs)}
    size = min(batch)
    is_part = samples.ndim == 2 and samples.shape[1] * size == model.input_length
    if len(batch) == 1 and size > 1 and is_part:
        raise refusals.fixed_batch(
            size,
            "Export one row or a free first dimension: "
            "torch.onnx.export(..., dynamic_shapes=({0: torch.export.Dim('batch')},))",
        )
    if samples.ndim != 2 or samples.shape[1] != model.input_length:
        raise TensorLength(
            f"the samples have shape {list(samples.shape)}, the model takes rows of "
            f"{model.input_length}",
            remedy=f"Give samples of shape [n, {model.input_length}]",
        )
    vocabulary.require_allowed(model.allowed, model.inputs, samples)
    rows = samples[:_COMPARED]
    rewritten = original.with_name("rewritten.onnx")
    rewritten.write_bytes(model.data)
    flat = {
        "model": str(rewritten),
        "input": model.input_name,
        "output": model.output_name,
        "rows": rows.tolist(),
    }
    try:
        expected = answers(original, model.inputs, names, model.labels, rows, sandbox)
        found = np.asarray(sandbox.run("reference", flat)["outputs"], dtype=np.float64)
    except ProverError as error:
        raise ModelUnsupported(
            f"the model does not run on the samples: {error.message}",
            remedy="Check them with onnxruntime",
        ) from None
    if expected.shape != found.shape:
        raise ModelUnsupported("rewriting the model changed the shape of its outputs")
    hidden = np.argwhere(~np.isfinite(found) & np.isfinite(expected))
    if hidden.size:
        worst = int(hidden[0][0])
        row = rows[worst : worst + 1]

        def ask(path: Path, outputs: Sequence[str]) -> Floats:
            return answers(path, model.inputs, outputs, model.labels, row, sandbox)

        raise undefined.explained(
            model.data, model.input_name, row[0], worst, original, ask, sandbox
        )
    # Neither a NaN nor an infinity is a number that could be proved; the tuner says so.
    with np.errstate(invalid="ignore"):
        misses = np.nan_to_num(np.abs(found - expected) / (1 + np.abs(expected)), posinf=np.inf)
    if misses.size and misses.max() > _TOLERANCE:
        worst = int(misses.max(axis=1).argmax())
        raise ModelUnsupported(
            f"rewritten in core operators it gives {found[worst].tolist()} for sample {worst}, "
            f"not {expected[worst].tolist()}",
            remedy="Export it with core operators",
        )
