"""A model as the page shows it."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.circuits.bundle import Bundle, SizedCircuit
from oracle.circuits.row import TensorInfo
from oracle.circuits.srs import ceremony_pins
from oracle.page.texts import hexed, shown
from oracle.types import Codec, RegisteredModel, TensorSpec


@dataclass(frozen=True, slots=True)
class CircuitLine:
    """A model's circuit for some number of rows."""

    rows: int
    #: Of the verifier's call, measured when the model was built.
    verify_gas: int
    #: Seconds, measured when the model was built, and the median of this node's last proofs.
    prove_seconds: float
    usual_seconds: float | None
    memory_bytes: int
    proof_bytes: int
    logrows: int


@dataclass(frozen=True, slots=True)
class Check:
    """Something about a model that this node looked at when it started."""

    name: str
    ok: bool


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of a served model. The publisher's words and figures, but for `checks`."""

    model_id: int
    name: str
    #: Names and shapes, as ``float_input 1 x 4``.
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    #: A row on its way into the circuit and out of it, and how bytes carry it (0 packed, 1 text).
    input: TensorSpec
    output: TensorSpec
    codec: Codec
    labels: tuple[str, ...]
    objective: str
    reveal: str
    #: Over held-back samples, against the float model.
    label_agreement: float | None
    max_abs_error: float
    #: Price of one row in the smallest unit of ``token``, the zero address being ETH.
    fee: str
    token: str
    circuits: tuple[CircuitLine, ...]
    verifier: str
    #: By what they are of.
    hashes: dict[str, str]
    checks: tuple[Check, ...]


def card(bundle: Bundle, registered: RegisteredModel) -> ModelCard:
    """The card of a bundle that was checked against the registry."""
    spec, origin, measures = bundle.spec, bundle.origin, bundle.measures
    pinned = {sized.circuit.srs_hash for sized in bundle.circuits} <= set(ceremony_pins().values())
    return ModelCard(
        model_id=registered.model_id,
        name=shown(bundle.name),
        inputs=tuple(map(_shape, origin.inputs)),
        outputs=tuple(map(_shape, origin.outputs)),
        input=spec.input,
        output=spec.output,
        codec=spec.codec,
        labels=tuple(map(shown, origin.labels)),
        objective=shown(origin.objective),
        reveal=shown(origin.reveal),
        label_agreement=measures.label_agreement,
        max_abs_error=measures.max_abs_error,
        fee=str(registered.fee),
        token=registered.token,
        circuits=tuple(map(_circuit, bundle.circuits)),
        verifier=registered.verifier,
        hashes={
            "bundle": f"0x{bundle.bundle_id}",
            "publisher's file": hexed(origin.file_hash),
            "model as proved": hexed(spec.onnx_hash),
            "settings": hexed(spec.settings_hash),
            "verifying key": hexed(spec.vk_hash),
            "SRS": hexed(spec.srs_hash),
            "verifier code": hexed(spec.verifier_code_hash),
        },
        # A node with a false one of the first two does not start.
        checks=(
            Check("files match their hashes", ok=True),
            Check("verifier on chain has the bundle's code", ok=True),
            Check("SRS of the public ceremony", ok=True)
            if pinned
            else Check("unsafe SRS: its maker can forge proofs", ok=False),
        ),
    )


def _circuit(sized: SizedCircuit) -> CircuitLine:
    measures = sized.measures
    return CircuitLine(
        rows=sized.size,
        verify_gas=measures.verify_gas,
        prove_seconds=measures.prove_seconds,
        usual_seconds=None,
        memory_bytes=measures.prove_memory_bytes,
        proof_bytes=measures.proof_bytes,
        logrows=measures.logrows,
    )


def _shape(tensor: TensorInfo) -> str:
    return shown(f"{tensor.name} {' by '.join(map(str, tensor.shape))}")
