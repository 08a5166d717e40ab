"""What is said of a request: values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Protocol

from oracle.chain.contracts import Status
from oracle.chain.evidence import Block
from oracle.chain.lens import Diagnosis
from oracle.chain.rpc import Rpc
from oracle.log import request_hex
from oracle.store.ledger import Store
from oracle.types import RegisteredModel, Request

_ETHER = 10**18


class Cause(StrEnum):
    """Why a request stands where it stands. Stable: scripts match on it."""

    #: The answer was delivered.
    ANSWERED = auto()
    #: Answered; the callback needs more gas than the request promised it.
    CALLBACK_OUT_OF_GAS = auto()
    #: Answered; the callback reverts whatever gas it gets.
    CALLBACK_REVERTS = auto()
    #: Answered; there is no contract to call back.
    CALLBACK_MISSING = auto()
    #: Answered; the callback failed then and would succeed now.
    CALLBACK_RETRIABLE = auto()
    #: The escrow went back.
    REFUNDED = auto()
    #: The chain knows no such request.
    UNKNOWN = auto()
    #: The request, or its answer, was in a block that left the chain.
    REORGANISED = auto()
    #: Too late to answer; nobody has asked for the refund yet.
    DEADLINE_PASSED = auto()
    #: Too near to the deadline for the node to prove it.
    DEADLINE_NEAR = auto()
    #: The gas money does not cover the gas at the present base fee.
    UNDERFUNDED = auto()
    #: The verifier contract is gone or changed: no proof can be accepted.
    VERIFIER_LOST = auto()
    #: The publisher closed the model; nodes may have stopped serving it.
    MODEL_CLOSED = auto()
    #: Nothing stands in its way; no node has answered.
    NO_NODE = auto()
    #: The node is not running.
    NODE_STOPPED = auto()
    #: The node has not read or decided that far yet.
    NODE_BEHIND = auto()
    #: The node began to read the chain after the request.
    NODE_MISSED = auto()
    #: The request's block is too young for the node.
    CONFIRMING = auto()
    #: The node's account cannot pay.
    NODE_UNFUNDED = auto()
    #: The node has no bundle for the model.
    NODE_LACKS_MODEL = auto()
    #: The node refuses the request for another reason.
    NODE_REFUSES = auto()
    #: The proof waits its turn, or is being made.
    PROVING = auto()
    #: The proof was tried and failed.
    PROOF_FAILING = auto()
    #: The contract refused the proof.
    DELIVERY_REFUSED = auto()
    #: The proof is ready and on its way.
    DELIVERING = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened."""

    #: Seconds since the epoch: of the block, or of the node's clock.
    at: float
    #: "chain" or "node".
    source: str
    what: str
    detail: str = ""
    block: int | None = None
    #: Hex with 0x.
    transaction: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A request's life and what it waits for."""

    request_id: int
    #: Of the contract.
    status: Status
    cause: Cause
    #: What it waits for, or how it ended; a sentence.
    explanation: str
    #: What to do; a sentence, empty when there is nothing to be done.
    remedy: str
    #: Commands that do it, those first that help soonest.
    commands: tuple[str, ...]
    #: Oldest first.
    steps: tuple[Step, ...]
    #: What else is worth knowing; sentences.
    notes: tuple[str, ...]
    request: Request | None
    #: Seconds until the deadline, by the chain's clock; None when the request is not open.
    seconds_left: int | None

    @property
    def is_done(self) -> bool:
        """Whether the request has ended and nobody needs to do anything."""
        return self.cause in (Cause.ANSWERED, Cause.REFUNDED)


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node, looked at from outside."""

    #: Its ledger; may be open for reading only.
    store: Store
    #: Whether a process has the ledger open for writing.
    is_running: bool
    #: The account that pays for gas.
    account: str
    #: Wei below which it takes nothing new.
    min_balance: int
    #: Blocks that it waits for.
    confirmations: int
    #: Wei that it adds to a request's money if it must.
    subsidy: int = 0
    #: Its configuration, as one would type it in a shell.
    config: str = "node.toml"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One cause, in sentences."""

    cause: Cause
    explanation: str
    remedy: str = ""
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Starting:
    """What would have a node serve the chain that was asked, as one would type it in a shell."""

    #: Starts it.
    command: str = "oracle node run --config CONFIG"
    #: Its configuration.
    config: str = "CONFIG"


class Named(Protocol):
    """A request that commands are written for."""

    @property
    def name(self) -> str:
        """The request's id in hex."""


@dataclass(frozen=True, slots=True)
class Situation:
    """An open request and all that its fate depends on."""

    rpc: Rpc
    request: Request
    model: RegisteredModel
    head: Block
    found: Diagnosis

    @property
    def name(self) -> str:
        """The request's id in hex."""
        return request_hex(self.request.key.request_id)


def ether(wei: int) -> str:
    """An amount with its unit, exact where that is short."""
    return f"{wei} wei" if 0 < wei < _ETHER // 10**9 else f"{wei / _ETHER:.6g} ETH"


def gwei(wei: int) -> str:
    """A price with its unit."""
    return f"{wei} wei" if 0 < wei < 10**6 else f"{wei / 10**9:.6g} gwei"


def values(report: Report) -> dict[str, object]:
    """A report as plain values, for JSON."""
    request = report.request
    return {
        "request_id": request_hex(report.request_id),
        "status": report.status.name.lower(),
        "cause": report.cause.value,
        "explanation": report.explanation,
        "remedy": report.remedy,
        "commands": list(report.commands),
        "notes": list(report.notes),
        "model_id": request.model_id if request else None,
        "deadline": request.deadline if request else None,
        "seconds_left": report.seconds_left,
        "steps": [
            {
                "at": step.at,
                "source": step.source,
                "what": step.what,
                "detail": step.detail,
                "block": step.block,
                "transaction": step.transaction,
            }
            for step in report.steps
        ],
    }
