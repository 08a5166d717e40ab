"""The vocabulary: frozen values that circuits, contracts and node share. No behaviour, no I/O.

Hashes are 32 raw bytes. Addresses are EIP-55 checksum strings. Money is wei, time is seconds
since the epoch (UTC), durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

#: No contract, no account; as a fee's token it means ETH.
ZERO_ADDRESS = "0x" + "00" * 20


class Codec(IntEnum):
    """How request and result bytes carry a tensor. Values are the registry's."""

    PACKED = 0
    TEXT = 1


class ProofSystem(IntEnum):
    """How a circuit's proofs are made and checked. Values are the registry's."""

    HALO2_KZG = 1
    GROTH16 = 2
    STARK = 3


class InputKind(IntEnum):
    """What the input of a request is. Values are the registry's."""

    VALUES = 0
    #: Field elements that commit to an input which the requester keeps.
    COMMITMENT = 1


class Trust(IntEnum):
    """Who could forge a model's answers, the least trustworthy first. Values are the registry's."""

    #: Whoever made a set-up alone.
    ONE_PARTY = 0
    #: All participants of a ceremony of the model's own together, as its transcript names them.
    CEREMONY = 1
    #: Likewise, of the Perpetual Powers of Tau.
    UNIVERSAL_CEREMONY = 2
    #: Nobody: there is no secret.
    TRANSPARENT = 3


@dataclass(frozen=True, slots=True)
class SetupTrust:
    """The weakest of a model's circuits, as the registry has it."""

    kind: Trust
    #: SHA-256 of the transcript of the model's own ceremony, and how many are said to have
    #: contributed; zero for other kinds.
    transcript_hash: bytes = bytes(32)
    contributors: int = 0


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A flat tensor of fixed-point integers: real value = integer / 2**scale."""

    length: int
    #: Bytes per element in the packed codec, 1 to 32.
    width: int
    #: Fractional bits.
    scale: int
    #: Least and greatest integer the circuit accepts, both inclusive.
    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class TagLayout:
    """How the tag, a truncated keccak256, is cut into public inputs; most significant limb first."""

    limbs: int = 5
    bits: int = 24


@dataclass(frozen=True, slots=True)
class BatchVerifier:
    """The verifier of a model's circuit for ``size`` rows, a size above one."""

    size: int
    settings_hash: bytes
    vk_hash: bytes
    #: Circuits of other sizes need other strings.
    srs_hash: bytes
    verifier_code_hash: bytes
    #: Upper bound for the gas that one verifier call may use.
    verify_gas: int


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a registered model promises; never changes after registration.

    Settings, keys and verifier are those of the circuit for one row; `batches` has the others.
    """

    #: Of the model for one row; for others only its batch dimension changes.
    onnx_hash: bytes
    settings_hash: bytes
    vk_hash: bytes
    srs_hash: bytes
    input: TensorSpec
    output: TensorSpec
    verifier_code_hash: bytes
    #: Upper bound for the gas that one verifier call may use.
    verify_gas: int
    codec: Codec = Codec.PACKED
    tag: TagLayout = TagLayout()
    #: By ascending size. Scales, widths and ranges are the same for every size.
    batches: tuple[BatchVerifier, ...] = ()
    #: Least and greatest integer of each element of an input row, within the range of ``input``;
    #: empty where that one range serves all.
    input_ranges: tuple[tuple[int, int], ...] = ()

    @property
    def input_bounds(self) -> tuple[tuple[int, int], ...]:
        """Least and greatest integer of each element of an input row."""
        whole = (self.input.minimum, self.input.maximum)
        return self.input_ranges or (whole,) * self.input.length


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A row of the on-chain registry."""

    model_id: int
    spec: ModelSpec
    verifier: str
    #: Price of one row, in ``token``.
    fee: int
    #: Publisher's address and its share of the fee in basis points.
    receiver: str
    receiver_bps: int
    is_open: bool
    #: Currency of the fee; the zero address is ETH.
    token: str = ZERO_ADDRESS
    #: Verifiers of ``spec.batches``, in the same order.
    batch_verifiers: tuple[str, ...] = ()
    #: Contract that holds requests to ``spec.input_ranges``; the zero address is none. These are
    #: empty all the same where its code is not the one that is known to hold some.
    input_checker: str = ZERO_ADDRESS
    #: What the input is, and the proof systems of the verifiers, the one for a single row first. Our
    #: circuits are Halo2-KZG of values: of others, ``spec`` has what the registry has in its place.
    input_kind: InputKind = InputKind.VALUES
    systems: tuple[ProofSystem, ...] = (ProofSystem.HALO2_KZG,)


@dataclass(frozen=True, slots=True)
class RequestKey:
    """Identity of a request across chains and deployments."""

    chain_id: int
    oracle: str
    request_id: int


@dataclass(frozen=True, slots=True)
class Request:
    """One inference request as its log describes it: the preimage of the on-chain commitment."""

    key: RequestKey
    account: str
    model_id: int
    input: bytes
    #: Zero address when the caller wants no callback.
    callback_contract: str
    callback_gas: int
    callback_data: bytes
    refund_to: str
    deadline: int
    #: Model fee, fixed at request time (wei).
    fee: int
    #: Escrowed gas money (wei), top-ups included.
    gas_money: int
    #: Gas that the gas money was quoted for.
    gas_units: int
    #: The protocol's share of the fee in basis points, fixed at request time.
    protocol_bps: int
    block_number: int
    block_hash: bytes
    transaction_hash: bytes
    log_index: int


@dataclass(frozen=True, slots=True)
class CircuitFiles:
    """The paths a proof needs. The SRS is shared by circuits of the same size."""

    compiled: Path
    settings: Path
    proving_key: Path
    verifying_key: Path
    srs: Path
    #: SHA-256 of the SRS file, checked before every use.
    srs_hash: bytes


@dataclass(frozen=True, slots=True)
class ProofJob:
    """One unit of proving work: no keys, no endpoints, nothing but the statement."""

    job_id: str
    circuit: CircuitFiles
    #: Fixed-point input integers; those of a batch circuit row after row.
    inputs: tuple[int, ...]
    #: Tag limbs, most significant first.
    tag: tuple[int, ...]
    timeout: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Proof:
    """A locally verified proof."""

    job_id: str
    proof: bytes
    #: Public instances as integers below the field modulus: inputs, tag limbs, outputs.
    instances: tuple[int, ...]
    #: Fixed-point output integers; those of a batch circuit row after row.
    outputs: tuple[int, ...]
    witness_seconds: float
    prove_seconds: float
    verify_seconds: float
    peak_memory_bytes: int
