"""`InferenceLens` without a deployment: its code travels with the call.

The contract decides why a request is not done; nothing of that is said a second time here. One call
has the endpoint run the lens's constructor, which returns its code; a second calls that code at an
address that nobody uses (a state override, which Geth, its kin and anvil know).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum
from importlib.resources import files

from eth_abi.abi import encode

from oracle.chain.codec import ContractAbi
from oracle.chain.contracts import preimage
from oracle.chain.rpc import Rpc
from oracle.errors import RpcUnreachable
from oracle.types import Request

#: Where the lens pretends to be: the low 20 bytes of keccak256("InferenceLens").
_PLACE = "0xbc8a3813bb691696b905e5d9bbbcd5092511b313"


class Reason(IntEnum):
    """`IInferenceLens.Reason`."""

    UNKNOWN = 0
    FULFILLED = 1
    UNDELIVERED = 2
    REFUNDED = 3
    PREIMAGE_MISMATCH = 4
    EXPIRED = 5
    UNDERFUNDED = 6
    WAITING = 7


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`IInferenceLens.Diagnosis`: money in wei, zero where a field does not apply."""

    reason: Reason
    gas_money_short: int
    top_up_required: int
    seconds_left: int
    callback_missing: bool
    callback_gas_low: bool
    model_closed: bool
    verifier_lost: bool


def diagnose(rpc: Rpc, oracle: str, request: Request) -> Diagnosis:
    """What stands between a request and its result, as the contract sees it.

    Raises:
        RpcRejected: the endpoint does not run calls with code of their own.
        RpcUnreachable: what it answers is nothing that the lens says.
    """
    text = files("oracle.chain").joinpath("abi", "InferenceLens.code.json").read_text()
    creation = json.loads(text) + encode(["address"], [oracle]).hex()
    code = rpc.send("eth_call", [{"data": creation}, "latest"])
    abi = ContractAbi.of("InferenceLens")
    data = abi.call("diagnose", request.key.request_id, preimage(request), request.input)
    call = {"to": _PLACE, "data": "0x" + data.hex()}
    answer = rpc.send("eth_call", [call, "latest", {_PLACE: {"code": code}}])
    try:
        reason, *figures = abi.result("diagnose", bytes.fromhex(answer.removeprefix("0x")))
        return Diagnosis(Reason(reason), *figures)
    except (AttributeError, TypeError, ValueError):
        raise RpcUnreachable(
            "the endpoint answers a call of the lens with something else"
        ) from None
