"""What is in a model file, and what its circuit would cost: within seconds, no keys made."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx as onnx_format

from oracle.circuits import cost, onnx, shapes
from oracle.circuits import reveal as policies
from oracle.circuits.cost import Estimate, Objective
from oracle.circuits.reveal import Reveal
from oracle.circuits.source import file_hash
from oracle.circuits.trial import Graph
from oracle.circuits.verifier import MAX_CODE_BYTES, too_large
from oracle.errors import ModelMalformed, ModelUnsupported, ProverError
from oracle.prover.sandbox import Sandbox

#: What the numbers of a model are taken to stay below; a build finds out with samples.
_BOUND = 1 << 32
#: Larger graphs are estimated with the arithmetic that the compiler has by default (count).
_MANY_NODES = 500
_FULL = Reveal()
_NO_DIMS: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output as the file declares it."""

    name: str
    #: float, int64, string ..., or sequence, map.
    type: str
    #: Sizes, names of free dimensions, None for one without a name.
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """What a file holds."""

    #: How often each operator occurs, by name; those outside ONNX's core with their domain.
    operators: dict[str, int]
    #: Numbers in weights and constants.
    parameters: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    #: Version by operator domain.
    opsets: dict[str, int]
    producer: str


@dataclass(frozen=True, slots=True)
class Estimated:
    """The best layout that the cost model knows for a batch size and an objective."""

    size: int
    objective: Objective
    logrows: int
    columns: int
    cost: Estimate
    #: Why it cannot be used, and what would help; empty if it can.
    problem: str


@dataclass(frozen=True, slots=True)
class Provable:
    """A model as it would be proved."""

    #: The graph, reveal policy and tag input included.
    graph: Description
    #: Numbers in a request and in an answer.
    input_length: int
    output_length: int
    takes_batches: bool
    #: Names of a classifier's classes, by index.
    labels: tuple[str, ...]
    #: By batch size and objective.
    estimates: tuple[Estimated, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What can be said of a file without building it."""

    size_bytes: int
    #: `source.Source.sha256`: with data files beside it, of the hashes of all.
    sha256: bytes
    given: Description
    #: None if the model is refused.
    provable: Provable | None
    #: Why it is refused; empty if it is not.
    refusal: str

    @property
    def rewritten(self) -> tuple[str, ...]:
        """Operators that the file has and the proved graph has not, or has less often."""
        left = self.provable.graph.operators if self.provable else self.given.operators
        return tuple(name for name, n in self.given.operators.items() if left.get(name, 0) < n)


def inspect(
    path: Path,
    sandbox: Sandbox,
    *,
    batches: Collection[int] = (1,),
    speed: float = 1.0,
    reveal: Reveal = _FULL,
    dims: Mapping[str, int] = _NO_DIMS,
    outputs: Sequence[str] = (),
) -> Inspection:
    """Look at a model.

    Args:
        path: the file; not trusted.
        sandbox: runs native code on it; its memory limit is what a proof may use.
        batches: sizes to estimate.
        speed: seconds here for a second on the reference machine (`oracle.circuits.speed`).
        reveal: as for a build, like the others.
        dims: sizes of named free dimensions.
        outputs: names of the outputs to prove.

    Raises:
        ModelMalformed: not an ONNX file.
        UsageError: a batch size, dimension, output or policy that the model does not have.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelMalformed(
            f"cannot read {path}: {error.strerror}", remedy="Give the path of an ONNX file"
        ) from None
    given = _describe(path, sandbox)
    provable, refusal = None, ""
    digest = hashlib.sha256(data).digest()
    try:
        digest = file_hash(path, sandbox)
        model = policies.apply(onnx.load(path, sandbox, dims=dims, outputs=outputs), reveal)
        provable = _provable(model, sorted({*batches}), speed, sandbox)
    except ModelUnsupported as error:
        refusal = error.line()
    return Inspection(len(data), digest, given, provable, refusal)


def _provable(model: onnx.Model, sizes: Sequence[int], speed: float, sandbox: Sandbox) -> Provable:
    cost.require_verifiable(model.input_length)
    layout = shapes.TAG_LAYOUTS[0]
    estimates = []
    with tempfile.TemporaryDirectory(prefix="oracle-inspect-") as folder:
        for size in sizes:
            file = Path(folder) / f"{size}.onnx"
            file.write_bytes(onnx.add_tag(model, layout, size))
            estimates += _estimates(Graph(file, layout, sandbox), size, speed)
        graph = _describe(file, sandbox)
    (output,) = graph.outputs
    return Provable(
        graph=graph,
        input_length=model.input_length,
        output_length=int(output.shape[1] or 0),
        takes_batches=model.takes_batches,
        labels=model.labels,
        estimates=tuple(estimates),
    )


def _estimates(graph: Graph, size: int, speed: float) -> list[Estimated]:
    """The best layout for each objective; of those that can be used, if there are any."""
    nodes = len(onnx_format.load(graph.path).graph.node)
    # The compiler takes a time that grows with the square of them, for each multiplier again.
    survey = shapes.survey(graph, shapes.MULTIPLIERS if nodes <= _MANY_NODES else (1,))
    known = [
        (shape, cost.estimate(survey.structure(shape), shape.logrows, speed))
        for shape in shapes.shapes(survey, _BOUND)
    ]
    if not known:
        raise ModelUnsupported(
            f"a circuit for {size} rows needs more than 2**{shapes.MAX_LOGROWS} rows",
            remedy="Use a smaller model or a smaller batch",
        )
    limit = graph.sandbox.limits.memory_bytes
    found = []
    for objective in Objective:
        shape, best = min(
            known,
            key=lambda each: (
                bool(_problem(each[1], limit)),
                objective.rank(each[1].gas, each[1].prove_seconds),
            ),
        )
        found.append(
            Estimated(size, objective, shape.logrows, shape.columns, best, _problem(best, limit))
        )
    return found


def _problem(estimate: Estimate, memory_bytes: int) -> str:
    """Why a circuit of this cost cannot be used, and what would help; empty if it can."""
    if estimate.memory_bytes > memory_bytes:
        return (
            f"needs {estimate.memory_bytes >> 20:,} MiB of memory, {memory_bytes >> 20:,} are there: "
            "use a smaller model or batch, or a larger machine"
        )
    if estimate.verifier_bytes > MAX_CODE_BYTES:
        return too_large(estimate.verifier_bytes, "would have").line()
    return ""


def _describe(path: Path, sandbox: Sandbox) -> Description:
    try:
        found = sandbox.run("describe_model", {"model": str(path.resolve())})
    except ProverError as error:
        raise ModelMalformed(
            f"{path} is not an ONNX file ({error.message})", remedy="Export the model again"
        ) from None
    inputs, outputs = (
        tuple(Tensor(each["name"], each["type"], tuple(each["shape"])) for each in found[kind])
        for kind in ("inputs", "outputs")
    )
    return Description(
        operators=dict(sorted(found["operators"].items())),
        parameters=found["parameters"],
        inputs=inputs,
        outputs=outputs,
        opsets=found["opsets"],
        producer=found["producer"],
    )
