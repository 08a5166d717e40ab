"""Take a request or skip it, and say why. Pure: nothing is spent before this has said yes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, auto

from oracle import fees, tensor
from oracle.errors import TensorError
from oracle.types import CircuitFiles, ModelSpec, RegisteredModel, Request


class Reason(StrEnum):
    """Why a request is skipped. Stable: alerts match on it."""

    #: The registry has no such model.
    UNKNOWN_MODEL = auto()
    #: The model needs a newer version of this program.
    MODEL_UNSUPPORTED = auto()
    #: This node has no bundle for the model.
    NO_BUNDLE = auto()
    #: The verifier's code on chain is not what was registered or what the bundle was built with.
    VERIFIER_DIFFERS = auto()
    #: The registered terms are not the bundle's.
    BUNDLE_DIFFERS = auto()
    #: The input is not a valid tensor of the model, or outside the circuit's range.
    INPUT_INVALID = auto()
    #: The deadline is nearer than a proof takes.
    DEADLINE_NEAR = auto()
    #: The money does not cover the gas at the present base fee and some room.
    FEE_LOW = auto()
    #: The node's part of the model fee is below its minimum.
    INCOME_LOW = auto()


#: Refusals that time alone can end: the base fee falls, the queue gets shorter.
PASSING = frozenset({Reason.FEE_LOW, Reason.DEADLINE_NEAR})


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model this node can prove."""

    bundle_id: str
    name: str
    spec: ModelSpec
    circuit: CircuitFiles
    #: Seconds of one proof as measured when the bundle was built.
    prove_seconds: float
    #: Cap for the prover's address space (bytes).
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision depends on besides the request."""

    #: The registry's row; None for an unknown id.
    model: RegisteredModel | None
    #: EXTCODEHASH of the registered verifier as it is now.
    verifier_code_hash: bytes
    served: ServedModel | None
    #: Seconds since the epoch, as the chain sees it.
    now: float
    #: Seconds until a proof would be ready.
    expected_seconds: float
    #: Seconds to keep between the proof and the deadline.
    margin_seconds: float
    base_fee: int
    #: Wei of the model fee that the node wants for a proof.
    min_income: int


@dataclass(frozen=True, slots=True)
class Skip:
    """A refusal."""

    reason: Reason
    detail: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def decide(request: Request, situation: Situation) -> Skip | None:
    """None to take the request, or why not."""
    model, served = situation.model, situation.served
    if model is None:
        return Skip(Reason.UNKNOWN_MODEL, f"model {request.model_id} is not registered")
    if served is None:
        return Skip(Reason.NO_BUNDLE, f"no bundle here proves model {model.model_id}")
    return (
        _check_identity(model, served, situation.verifier_code_hash)
        or _check_input(request, served.spec)
        or _check_deadline(request, situation)
        or _check_money(request, model, situation)
    )


def same_circuit(registered: ModelSpec, served: ModelSpec) -> bool:
    """Whether a bundle is the registered model's: by the hashes of what its proofs depend on."""
    return (
        registered.vk_hash,
        registered.onnx_hash,
        registered.settings_hash,
        registered.srs_hash,
    ) == (
        served.vk_hash,
        served.onnx_hash,
        served.settings_hash,
        served.srs_hash,
    )


def p95(times: Sequence[float], default: float) -> float:
    """The 95th percentile (nearest rank) of measured times, or the default without any."""
    if not times:
        return default
    return sorted(times)[-(-95 * len(times) // 100) - 1]


def _check_identity(
    model: RegisteredModel, served: ServedModel, verifier_code_hash: bytes
) -> Skip | None:
    registered = model.spec.verifier_code_hash
    if not (verifier_code_hash == registered == served.spec.verifier_code_hash):
        return Skip(
            Reason.VERIFIER_DIFFERS,
            f"verifier {model.verifier} has code {verifier_code_hash.hex()[:8]}, registered "
            f"{registered.hex()[:8]}, bundle {served.spec.verifier_code_hash.hex()[:8]}",
        )
    ours, theirs = served.spec, model.spec
    if (ours.input, ours.output, ours.tag, ours.codec) != (
        theirs.input,
        theirs.output,
        theirs.tag,
        theirs.codec,
    ):
        return Skip(
            Reason.BUNDLE_DIFFERS, f"model {model.model_id} is registered with other tensors"
        )
    # The contract gives the verifier no more than was registered: every proof would be in vain.
    if theirs.verify_gas < ours.verify_gas:
        return Skip(
            Reason.BUNDLE_DIFFERS,
            f"model {model.model_id} grants its verifier {theirs.verify_gas} gas, "
            f"the bundle says {ours.verify_gas}",
        )
    return None


def _check_input(request: Request, spec: ModelSpec) -> Skip | None:
    try:
        tensor.check(tensor.read(request.input, spec.input, spec.codec), spec.input)
    except TensorError as error:
        return Skip(Reason.INPUT_INVALID, error.message)
    return None


def _check_deadline(request: Request, situation: Situation) -> Skip | None:
    left = request.deadline - situation.now
    needed = situation.expected_seconds + situation.margin_seconds
    if left >= needed:
        return None
    return Skip(Reason.DEADLINE_NEAR, f"{left:.0f} s left, {needed:.1f} s needed")


def _check_money(request: Request, model: RegisteredModel, situation: Situation) -> Skip | None:
    share = fees.share(request, model)
    if share < situation.min_income:
        return Skip(
            Reason.INCOME_LOW, f"leaves {share} wei of the fee, {situation.min_income} are wanted"
        )
    ceiling, least = fees.ceiling(request, model), fees.least(situation.base_fee)
    if ceiling < least:
        return Skip(
            Reason.FEE_LOW,
            f"pays up to {ceiling} wei per gas, {least} are needed at a base fee of "
            f"{situation.base_fee}",
        )
    return None
