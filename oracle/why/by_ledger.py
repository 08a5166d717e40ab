"""Why a request stands where it stands, by a node's ledger alone: no chain is asked.

For whoever looks at the node, as often as they like. What only the chain knows, what the contract
would say now for one, `oracle.why.explain` asks it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from oracle.log import request_hex
from oracle.policy import Reason
from oracle.store import operator
from oracle.store.records import RequestRow
from oracle.store.states import RequestState
from oracle.why.at_node import SKIP_REMEDIES, being_proved, cancelled, failed, on_its_way
from oracle.why.report import Cause, NodeView, Verdict

_WAIT = "Nothing to do but to wait"
_AGAIN = "the node looks at it again every minute"

#: Why a request that was skipped stands there, where that is not `NODE_REFUSES`, and what to do.
_SKIPPED = {
    Reason.FEE_LOW: (
        Cause.UNDERFUNDED,
        f"Top the gas money up, or wait until the base fee falls: {_AGAIN}",
    ),
    Reason.LOW_BALANCE: (
        Cause.NODE_UNFUNDED,
        f"Send money to the node's account: {_AGAIN}",
    ),
    Reason.NO_BUNDLE: (
        Cause.NODE_LACKS_MODEL,
        "Add the bundle's folder to bundles in the node's configuration and start it again",
    ),
    Reason.DEADLINE_NEAR: (
        Cause.DEADLINE_NEAR,
        "Ask again with a longer lifetime",
    ),
}


@dataclass(frozen=True, slots=True)
class _Name:
    """A request by its id in hex."""

    name: str


def by_ledger(node: NodeView, row: RequestRow) -> Verdict:
    """What a running node makes of a request that it knows as ``row``."""
    return _BY_STATE[row.state](_Name(request_hex(row.request_id)), node, row)


def _seen(_: _Name, __: NodeView, ___: RequestRow) -> Verdict:
    return Verdict(
        Cause.NODE_BEHIND, "The node has seen the request and has not decided on it yet", _WAIT
    )


def _skipped(_: _Name, __: NodeView, row: RequestRow) -> Verdict:
    code = row.reason.partition(":")[0]
    text = f"The node skipped the request: {row.reason}"
    known = next((said for reason, said in _SKIPPED.items() if reason == code), None)
    if known is not None:
        return Verdict(known[0], text, known[1])
    remedy = SKIP_REMEDIES.get(code, "Look at the node's log")
    return Verdict(Cause.NODE_REFUSES, text, remedy)


def _proved(_: _Name, __: NodeView, ___: RequestRow) -> Verdict:
    return Verdict(Cause.DELIVERING, "The proof is ready and about to be sent", _WAIT)


def _pending(_: _Name, node: NodeView, row: RequestRow) -> Verdict:
    intent, cursor = node.store.live_intent(row.request_id), node.store.cursor()
    if intent is None:
        return Verdict(Cause.DELIVERING, "The answer's transaction is mined or replaced just now")
    base_fee = cursor.head_base_fee if cursor else 0
    return Verdict(Cause.DELIVERING, *on_its_way(base_fee, intent))


def _mined(_: _Name, node: NodeView, __: RequestRow) -> Verdict:
    return Verdict(
        Cause.ANSWERED,
        f"The answer was delivered; it is final with {node.confirmations} blocks on top of it",
    )


def _final(_: _Name, __: NodeView, ___: RequestRow) -> Verdict:
    return Verdict(Cause.ANSWERED, "The answer was delivered")


def _expired(name: _Name, _: NodeView, __: RequestRow) -> Verdict:
    return Verdict(
        Cause.DEADLINE_PASSED,
        "The deadline passed before an answer was sent",
        "Have the money given back",
        (f"oracle refund {name.name}",),
    )


def _lost(_: _Name, __: NodeView, row: RequestRow) -> Verdict:
    return Verdict(Cause.ANSWERED, f"Another sender answered the request: {row.reason}")


def _cancelled(name: _Name, node: NodeView, row: RequestRow) -> Verdict:
    if row.reason.startswith(f"{operator.REASON}:"):
        return cancelled(name, node)
    return Verdict(Cause.REFUNDED, f"The request ended without an answer: {row.reason}")


def _orphaned(_: _Name, __: NodeView, ___: RequestRow) -> Verdict:
    return Verdict(
        Cause.REORGANISED,
        "The block that held the request left the chain",
        "Ask again if it stays out",
    )


_BY_STATE: dict[RequestState, Callable[[_Name, NodeView, RequestRow], Verdict]] = {
    RequestState.SEEN: _seen,
    RequestState.SKIPPED: _skipped,
    RequestState.ACCEPTED: being_proved,
    RequestState.QUEUED: being_proved,
    RequestState.RUNNING: being_proved,
    RequestState.PROVED: _proved,
    RequestState.PENDING: _pending,
    RequestState.MINED: _mined,
    RequestState.FINAL: _final,
    RequestState.FAILED: failed,
    RequestState.EXPIRED: _expired,
    RequestState.LOST: _lost,
    RequestState.CANCELLED: _cancelled,
    RequestState.ORPHANED: _orphaned,
}
