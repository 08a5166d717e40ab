"""Take a request or skip it, and say why. Pure: nothing is spent before this has said yes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto

from oracle import fees, tensor
from oracle.chain.input_ranges import is_foreign_checker
from oracle.chain.registration import circuits_of
from oracle.errors import TensorError
from oracle.types import (
    BatchVerifier,
    CircuitFiles,
    InputKind,
    ModelSpec,
    ProofSystem,
    RegisteredModel,
    Request,
)


class Reason(StrEnum):
    """Why a request is skipped. Stable: alerts match on it."""

    #: The registry has no such model.
    UNKNOWN_MODEL = auto()
    #: The model needs a newer version of this program.
    MODEL_UNSUPPORTED = auto()
    #: This node has no bundle for the model.
    NO_BUNDLE = auto()
    #: The verifier's code on chain is not what was registered or what the bundle was built with, or
    #: the input checker's is none that is known.
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
    #: The operator does not work for this account.
    REQUESTER_REFUSED = auto()
    #: The account has as many unanswered requests as the operator allows.
    REQUESTER_LIMIT = auto()
    #: A disk of the node has less room than the operator wants to keep.
    LOW_DISK = auto()
    #: The machine has less memory left than the operator wants to keep.
    LOW_MEMORY = auto()
    #: The node's account holds less than it needs for gas.
    LOW_BALANCE = auto()


#: Refusals that time can end: the base fee falls, the queue gets shorter, disk and account fill, an
#: endpoint that lacks the newest blocks, and with them a model or its verifier, catches up.
PASSING = frozenset(
    {
        Reason.FEE_LOW,
        Reason.DEADLINE_NEAR,
        Reason.UNKNOWN_MODEL,
        Reason.VERIFIER_DIFFERS,
        Reason.REQUESTER_LIMIT,
        Reason.LOW_DISK,
        Reason.LOW_MEMORY,
        Reason.LOW_BALANCE,
    }
)


@dataclass(frozen=True, slots=True)
class ServedCircuit:
    """A model's circuit for one number of rows."""

    #: Rows that one proof covers.
    size: int
    circuit: CircuitFiles
    #: Seconds of one proof as measured when the bundle was built.
    prove_seconds: float
    #: Cap for the prover's address space (bytes).
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model this node can prove."""

    bundle_id: str
    name: str
    spec: ModelSpec
    #: By ascending size, the first for one row.
    circuits: tuple[ServedCircuit, ...]

    def circuit(self, size: int) -> ServedCircuit | None:
        """The circuit of exactly this size."""
        return next((circuit for circuit in self.circuits if circuit.size == size), None)


@dataclass(frozen=True, slots=True)
class Means:
    """What the node has left to work with: wei, and bytes."""

    balance: int
    disk: int
    memory: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator asks of a request and keeps in reserve."""

    #: Wei of the model fee that the node wants for a proof.
    min_income: int = 0
    #: Wei that the node adds to a request's money if it must.
    subsidy: int = 0
    #: What must be left for the node to take anything new.
    reserve: Means = Means(0, 0, 0)
    #: Most unanswered requests of an account; 0 sets no limit.
    max_open_per_account: int = 0
    #: Accounts to work for; empty for all.
    only_accounts: frozenset[str] = frozenset()
    refused_accounts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision depends on besides the request."""

    #: The registry's row; None for an unknown id.
    model: RegisteredModel | None
    #: EXTCODEHASH of each registered verifier as it is now, by the size of its circuit.
    code_hashes: Mapping[int, bytes]
    served: ServedModel | None
    #: Seconds since the epoch by the chain's newest block: what deadlines are measured by.
    now: float
    #: The same by this machine's clock: what the ledger's own times are measured by.
    clock: float
    #: Seconds until a proof would be ready, by the size of its circuit.
    expected_seconds: Mapping[int, float]
    #: Seconds to keep between the proof and the deadline.
    margin_seconds: float
    base_fee: int
    terms: Terms
    means: Means
    #: Accepted requests of the same account that are not answered yet.
    open_of_account: int


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
    skip = _check_identity(model, served)
    if skip is not None:
        return skip
    try:
        rows = tensor.rows(request.input, served.spec.input, served.spec.codec)
        for row in rows:
            tensor.check(row, served.spec.input, served.spec.input_ranges)
    except TensorError as error:
        return Skip(Reason.INPUT_INVALID, error.message)
    circuit = fitting(model, served, len(rows), situation.code_hashes)
    if isinstance(circuit, Skip):
        return circuit
    needed = situation.expected_seconds[circuit.size] + situation.margin_seconds
    return (
        _check_requester(request, situation)
        or _check_deadline(request.deadline, needed, situation)
        or _check_money(request, model, situation)
        or _check_means(situation)
    )


def is_ours(model: RegisteredModel) -> bool:
    """Whether a registered model is of the kind that bundles are of: Halo2-KZG circuits of values.

    One with the same hashes that says otherwise makes a false claim about its set-up or its input.
    """
    return model.input_kind is InputKind.VALUES and set(model.systems) == {ProofSystem.HALO2_KZG}


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


def fitting(
    model: RegisteredModel, served: ServedModel, rows: int, code_hashes: Mapping[int, bytes]
) -> ServedCircuit | Skip:
    """The circuit that proves ``rows`` rows, or why it cannot be used here.

    The contract takes the smallest registered one of at least that size, and no other.

    Args:
        model: the registry's row.
        served: this node's bundle of it.
        rows: at least 1.
        code_hashes: as in `Situation`.
    """
    registered = next((v for v in circuits_of(model.spec) if v.size >= rows), None)
    if registered is None:
        return Skip(
            Reason.INPUT_INVALID, f"{rows} rows, model {model.model_id} has no circuit for as many"
        )
    size = registered.size
    ours = next((v for v in circuits_of(served.spec) if v.size == size), None)
    circuit = served.circuit(size)
    if ours is None or circuit is None or _statement(ours) != _statement(registered):
        return Skip(
            Reason.BUNDLE_DIFFERS,
            f"the bundle {served.name} lacks the circuit for {size} rows of model {model.model_id}",
        )
    actual = code_hashes.get(size, b"")
    if not (actual == registered.verifier_code_hash == ours.verifier_code_hash):
        return Skip(
            Reason.VERIFIER_DIFFERS,
            f"the verifier of {size} rows has code {actual.hex()[:8]}, registered "
            f"{registered.verifier_code_hash.hex()[:8]}, bundle {ours.verifier_code_hash.hex()[:8]}",
        )
    # The contract gives the verifier no more than was registered: every proof would be in vain.
    if registered.verify_gas < ours.verify_gas:
        return Skip(
            Reason.BUNDLE_DIFFERS,
            f"model {model.model_id} grants its verifier {registered.verify_gas} gas, "
            f"the bundle says {ours.verify_gas}",
        )
    return circuit


def common_sizes(registered: ModelSpec, served: ModelSpec) -> tuple[int, ...]:
    """The sizes, ascending, whose circuits are the same in both."""
    ours = {v.size: _statement(v) for v in circuits_of(served)}
    return tuple(v.size for v in circuits_of(registered) if ours.get(v.size) == _statement(v))


def in_time(requests: Sequence[Request], size: int, situation: Situation, wait: float = 0) -> bool:
    """Whether a proof with a circuit, begun in ``wait`` seconds, is early enough for all."""
    needed = situation.expected_seconds[size] + situation.margin_seconds + wait
    return all(request.deadline - situation.now >= needed for request in requests)


def p95(times: Sequence[float], default: float) -> float:
    """The 95th percentile (nearest rank) of measured times, or the default without any."""
    if not times:
        return default
    return sorted(times)[-(-95 * len(times) // 100) - 1]


def _statement(verifier: BatchVerifier) -> tuple[bytes, bytes, bytes]:
    """What proofs depend on."""
    return verifier.vk_hash, verifier.settings_hash, verifier.srs_hash


def _check_identity(model: RegisteredModel, served: ServedModel) -> Skip | None:
    ours, theirs = served.spec, model.spec
    if not is_ours(model):
        return Skip(
            Reason.BUNDLE_DIFFERS,
            f"model {model.model_id} is registered with another proof system or kind of input",
        )
    if (ours.input, ours.output, ours.tag, ours.codec) != (
        theirs.input,
        theirs.output,
        theirs.tag,
        theirs.codec,
    ):
        return Skip(
            Reason.BUNDLE_DIFFERS, f"model {model.model_id} is registered with other tensors"
        )
    if is_foreign_checker(model):
        return Skip(
            Reason.VERIFIER_DIFFERS,
            f"the input checker of model {model.model_id}, {model.input_checker}, has unknown code",
        )
    if ours.input_ranges != theirs.input_ranges:
        return Skip(
            Reason.BUNDLE_DIFFERS, f"model {model.model_id} is registered with other input ranges"
        )
    return None


def _check_deadline(deadline: int, needed: float, situation: Situation) -> Skip | None:
    left = deadline - situation.now
    if left >= needed:
        return None
    return Skip(Reason.DEADLINE_NEAR, f"{left:.0f} s left, {needed:.1f} s needed")


def _check_requester(request: Request, situation: Situation) -> Skip | None:
    terms, account = situation.terms, request.account
    if account in terms.refused_accounts or (
        terms.only_accounts and account not in terms.only_accounts
    ):
        return Skip(Reason.REQUESTER_REFUSED, f"this node does not work for {account}")
    if 0 < terms.max_open_per_account <= situation.open_of_account:
        return Skip(
            Reason.REQUESTER_LIMIT,
            f"{account} has {situation.open_of_account} unanswered requests, "
            f"{terms.max_open_per_account} are allowed",
        )
    return None


def _check_means(situation: Situation) -> Skip | None:
    means, reserve = situation.means, situation.terms.reserve
    if means.balance < reserve.balance:
        return Skip(
            Reason.LOW_BALANCE, f"the account holds {means.balance} wei of {reserve.balance}"
        )
    if means.disk < reserve.disk:
        return Skip(
            Reason.LOW_DISK, f"{means.disk >> 20} MiB of disk left, {reserve.disk >> 20} are kept"
        )
    if means.memory < reserve.memory:
        return Skip(
            Reason.LOW_MEMORY,
            f"{means.memory >> 20} MiB of memory left, {reserve.memory >> 20} are kept",
        )
    return None


def _check_money(request: Request, model: RegisteredModel, situation: Situation) -> Skip | None:
    share, terms = fees.share(request, model), situation.terms
    if share < terms.min_income:
        return Skip(
            Reason.INCOME_LOW, f"leaves {share} wei of the fee, {terms.min_income} are wanted"
        )
    ceiling = fees.ceiling(request, model, terms.subsidy)
    least = fees.least(situation.base_fee)
    if ceiling < least:
        return Skip(
            Reason.FEE_LOW,
            f"pays up to {ceiling} wei per gas, {least} are needed at a base fee of "
            f"{situation.base_fee}",
        )
    return None
