"""Requests that have ended, or that the chain does not know."""

from __future__ import annotations

from oracle import fees
from oracle.chain.contracts import OracleContract
from oracle.chain.rpc import Rpc
from oracle.chain.trail import Trail
from oracle.errors import RpcRejected
from oracle.log import request_hex
from oracle.store.records import RequestRow
from oracle.types import Request
from oracle.why.report import Cause, Verdict

#: What a transaction costs before its call gets gas.
_INTRINSIC_GAS = 21_000
_ZERO_BYTE_GAS, _BYTE_GAS = 4, 16
#: A suggested gas limit is this share above what was measured.
_ROOM_DIVISOR = 5


def unknown(row: RequestRow | None) -> Verdict:
    """The chain has no such request; the node may have seen it (``row``)."""
    if row is not None:
        return Verdict(
            Cause.REORGANISED,
            f"The block {row.request.block_number} that held the request has left the chain, and "
            "no other block holds it",
            "If its transaction is not mined again soon, ask again: the money left the escrow with "
            "the block",
        )
    return Verdict(
        Cause.UNKNOWN,
        "This oracle has no request of this id: the id, the address or the chain is another one, "
        "or a reorganisation dropped its block",
        "Check the id, --oracle and --chain-id; if the transaction is not in a block any more, ask "
        "again",
    )


def refunded(request: Request) -> Verdict:
    """The escrow went back."""
    return Verdict(
        Cause.REFUNDED,
        f"The deadline passed unanswered and the escrow is credit of {request.refund_to}",
        "That account can withdraw it",
        ("oracle withdraw",),
    )


def fulfilled(rpc: Rpc, oracle: OracleContract, request: Request, trail: Trail) -> Verdict:
    """Answered; if its callback failed: whether it is gas that it needs."""
    name = request_hex(request.key.request_id)
    answer = trail.last("AICallbackResult")
    if answer is None or not oracle.is_undelivered(request.key.request_id):
        return Verdict(
            Cause.ANSWERED, "The answer was delivered", "Read it", (f"oracle result {name}",)
        )
    if not rpc.code(request.callback_contract):
        return Verdict(
            Cause.CALLBACK_MISSING,
            f"The answer is proved, but there is no contract at {request.callback_contract} to "
            "call back",
            "Read the answer",
            (f"oracle result {name}",),
        )
    call = oracle.callback_calldata(request, answer.fields["output"])
    base = _INTRINSIC_GAS + sum(_BYTE_GAS if byte else _ZERO_BYTE_GAS for byte in call)
    if _reverts(rpc, oracle, request, call, base + request.callback_gas) is None:
        return Verdict(
            Cause.CALLBACK_RETRIABLE,
            "The callback failed when the answer came; it would succeed now",
            "Have it made again",
            (f"oracle retry {name}",),
        )
    reason = _reverts(rpc, oracle, request, call, fees.TRANSACTION_GAS)
    if reason is not None:
        return Verdict(
            Cause.CALLBACK_REVERTS,
            f"The answer is proved, but the callback of {request.callback_contract} reverts with "
            f"any gas ({reason})",
            "Repair what makes the contract revert, then have the callback made again",
            (f"oracle retry {name}",),
        )
    estimate = {"from": oracle.address, "to": request.callback_contract, "data": "0x" + call.hex()}
    needed = int(rpc.send("eth_estimateGas", [estimate]), 16) - base
    enough = max(needed + needed // _ROOM_DIVISOR, request.callback_gas)
    return Verdict(
        Cause.CALLBACK_OUT_OF_GAS,
        f"The answer is proved, but the callback takes about {needed:,} gas and was given "
        f"{request.callback_gas:,}",
        "Have it made again with more",
        (f"oracle retry {name} --gas {enough}",),
    )


def _reverts(
    rpc: Rpc, oracle: OracleContract, request: Request, call: bytes, gas: int
) -> str | None:
    """Why the callback fails with this gas; None if it does not."""
    try:
        rpc.call(request.callback_contract, call, sender=oracle.address, gas=gas, read=bytes)
    except RpcRejected as error:
        if not error.executed:
            raise
        return oracle.error_text(error.data)
    return None
