"""Rows of the ledger as frozen values."""

from __future__ import annotations

import re
from dataclasses import dataclass

from oracle.store.states import IntentState, JobState, RequestState
from oracle.types import Request


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the chain was read, and its head when last looked at."""

    #: Last block whose logs are in the store.
    block: int
    #: Blocks per log query.
    chunk: int
    head: int
    head_timestamp: int
    #: Wei per gas.
    head_base_fee: int
    #: Of the last block read; 0 while that is not known.
    block_timestamp: int = 0

    def has_passed(self, deadline: int) -> bool:
        """Whether the chain takes no answer any more: by its newest block, not by a clock here."""
        return deadline < self.head_timestamp


@dataclass(frozen=True, slots=True)
class Workload:
    """What the node has to do."""

    #: Proofs that wait, and that are being made.
    queued: int
    running: int
    #: Since when the oldest unanswered request is known, and the oldest transaction waits.
    oldest_request: float | None
    oldest_transaction: float | None


@dataclass(frozen=True, slots=True)
class Settled:
    """What a final transaction did, used and brought."""

    #: ``fulfilled``, ``reverted`` or ``cancelled``.
    result: str
    gas: int
    #: Wei.
    cost: int
    fees: int
    refunds: int
    #: The model that it was for, and how many requests it answered.
    model_id: int | None = None
    requests: int = 0


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request and where it stands."""

    request: Request
    state: RequestState
    reason: str
    job_id: str | None
    #: A batch could not answer it: it is proved alone.
    alone: bool
    seen_at: float
    updated_at: float
    #: Whose proof is to answer it; empty until it is accepted.
    payee: str = ""

    @property
    def request_id(self) -> int:
        """The request's id on chain."""
        return self.request.key.request_id

    @property
    def place(self) -> tuple[int, int]:
        """Where it lies in the chain: block number and log index."""
        return self.request.block_number, self.request.log_index


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a request's history."""

    at: float
    state: RequestState
    reason: str


@dataclass(frozen=True, slots=True)
class Sighting:
    """A request as an onlooker sees it, without its terms."""

    request_id: int
    model_id: int
    state: RequestState
    reason: str
    #: Block and log index: where it lies in the chain.
    place: tuple[int, int]
    input: bytes
    seen_at: float
    updated_at: float
    #: Seconds of its proof, and the rows of that proof's circuit; None before there is one.
    prove_seconds: float | None
    rows: int | None
    #: Of the transaction that answered it, all requests that it answered together.
    gas: int | None
    #: Of the transaction that answered it, or that is meant to.
    transaction: bytes | None
    #: What its proof states, fixed-point integers of every row; None before there is one.
    outputs: tuple[int, ...] | None
    #: Which of the proof's rows is its own, where the proof names several requests; None where all
    #: rows are this request's, padding behind them.
    row: int | None


@dataclass(frozen=True, slots=True)
class ProverStep:
    """A proof's beginning (RUNNING) or its end (anything else)."""

    job_id: str
    at: float
    state: RequestState


_MINED_NOTE = re.compile(r"0x([0-9a-f]{64}) used (\d+) gas")


def mined_note(transaction: bytes, gas: int) -> str:
    """What a request's history says of the transaction that answered it."""
    return f"0x{transaction.hex()} used {gas} gas"


def read_mined_note(note: str) -> tuple[bytes, int] | None:
    """The inverse of `mined_note`; None for any other text."""
    found = _MINED_NOTE.fullmatch(note)
    return None if found is None else (bytes.fromhex(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class Job:
    """One proof to make, or made."""

    job_id: str
    bundle_id: str
    #: Rows of the circuit.
    size: int
    #: What the proof names, in the order of its tag.
    request_ids: tuple[int, ...]
    state: JobState
    #: Starts so far.
    attempts: int
    memory_bytes: int
    error: str
    proof: bytes | None
    #: Fixed-point output integers.
    outputs: tuple[int, ...] | None
    #: The node that runs it; empty unless it is RUNNING.
    node_id: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction of an intent."""

    hash: bytes
    raw: bytes
    #: Wei per gas.
    max_fee: int
    priority_fee: int
    #: Only uses up the nonce: the requests had ended, or paid too little for it.
    cancels: bool
    #: When an endpoint last took it; None while that is unknown.
    broadcast_at: float | None
    created_at: float


@dataclass(frozen=True, slots=True)
class Intent:
    """One nonce, the requests it answers, and every transaction signed for it (oldest first)."""

    intent_id: int
    #: The proof that it carries.
    job_id: str
    #: Those of the proof's requests that it was sent for; the others had ended.
    request_ids: tuple[int, ...]
    account: str
    nonce: int
    state: IntentState
    gas: int
    #: Wei per gas that the requests' money justified when it was made.
    ceiling: int
    mined_block: int | None
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class ExportRow:
    """A request with its proof and its last transaction, for other programs."""

    request_id: int
    state: str
    reason: str
    model_id: int
    account: str
    block: int
    log_index: int
    #: Wei.
    fee: int
    gas_money: int
    #: Seconds since the epoch.
    deadline: int
    seen_at: float
    updated_at: float
    #: Whom the proof names; empty until the request is accepted.
    payee: str
    job: str | None
    proving_seconds: float | None
    #: The account that sent the answer.
    sender: str | None
    nonce: int | None
    transaction: bytes | None
    mined_block: int | None


@dataclass(frozen=True, slots=True)
class Trouble:
    """What stands in a node's way now."""

    #: A service, or an endpoint without what is secret in its address.
    subject: str
    code: str
    detail: str
    #: When it began.
    since: float
    #: The node, for a person: host and process; empty for this one.
    node: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A node that works on the store."""

    node_id: str
    #: For a person: host and process.
    name: str
    #: Who sends, and whom its proofs name.
    account: str
    payee: str
    workers: int
    #: When the others take over, unless it is heard of before.
    expires_at: float
