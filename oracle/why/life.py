"""What happened to a request, told by the chain's logs and by a node's ledger."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eth_utils.address import to_checksum_address

from oracle.chain.rpc import Rpc
from oracle.chain.trail import Happening, Trail
from oracle.store.states import RequestState
from oracle.why.report import NodeView, Step, ether

#: Announced together with another event, whose step tells of it.
_HIDDEN = frozenset({"RequestOpened", "AICallbackResult"})
#: Of `IInferenceOracle.Skipped`.
_SKIPPED = ("not open", "topped up meanwhile", "deadline passed", "other input or callback data")

#: The events in a person's words: what happened, and details.
_WORDS: Mapping[str, Callable[[dict[str, Any]], tuple[str, str]]] = {
    "AICallbackRequest": lambda fields: (
        "asked",
        f"model {fields['modelId']}" + (", with a callback" if fields["gasLimit"] else ""),
    ),
    "RequestRelayed": lambda fields: ("relayed", f"for a tip of {ether(fields['tip'])}"),
    "RequestToppedUp": lambda fields: (
        "topped up",
        f"the gas money is now {ether(fields['gasMoney'])}",
    ),
    "RequestSkipped": lambda fields: ("left out of a batch", _SKIPPED[fields["reason"]]),
    "RequestFulfilled": lambda fields: (
        "answered",
        f"{ether(fields['feePaid'] + fields['gasPaid'])} to {to_checksum_address(fields['payee'])}",
    ),
    "CallbackRetried": lambda _: ("callback made again", ""),
    "RequestRefunded": lambda fields: (
        "refunded",
        f"to the credit of {to_checksum_address(fields['refundTo'])}",
    ),
    "ModelClosed": lambda fields: (
        "model closed",
        f"model {fields['modelId']} takes no new requests",
    ),
}


def chain_steps(rpc: Rpc, trail: Trail) -> list[Step]:
    """A request's events."""
    told = (each for each in trail.happenings if each.event not in _HIDDEN)
    return [chain_step(rpc, each) for each in told]


def chain_step(rpc: Rpc, happening: Happening) -> Step:
    """An event with its block's time."""
    block = rpc.block(happening.block_number)
    what, detail = _WORDS[happening.event](happening.fields)
    return Step(
        at=float(block.timestamp) if block else 0.0,
        source="chain",
        what=what,
        detail=detail,
        block=happening.block_number,
        transaction="0x" + happening.transaction_hash.hex(),
    )


def node_steps(node: NodeView, request_id: int) -> list[Step]:
    """A request's way through a node, with the transaction that is on its way."""
    history = node.store.history(request_id)
    intent = node.store.live_intent(request_id)
    sent = "0x" + intent.attempts[-1].hash.hex() if intent else None
    last = len(history) - 1
    return [
        Step(
            at=step.at,
            source="node",
            what=step.state.value,
            detail=step.reason,
            transaction=sent if index == last and step.state is RequestState.PENDING else None,
        )
        for index, step in enumerate(history)
    ]


def in_order(chain: Sequence[Step], node: Sequence[Step]) -> tuple[Step, ...]:
    """Both by time. A block knows only its second, and an answer follows its sending.

    The sending may be written down later than the block was made: on a busy machine, or if the chain is
    quick.
    """
    sent = [step.at for step in node if step.what == RequestState.PENDING]
    mined = [step.at for step in node if step.what == RequestState.MINED]

    def moment(step: Step) -> float:
        if (step.source, step.what) != ("chain", "answered"):
            return step.at
        # Mined is said of the node's own answers alone.
        last = mined[-1] if mined else math.nextafter(step.at + 1, 0)
        return max([step.at, *(at for at in sent if at <= last)])

    return tuple(sorted((*node, *chain), key=moment))
