"""What a thief would try with an honest fulfilment in hand; each attempt must revert.

Attempts are simulated on the state just before the honest transaction was mined, where that
transaction itself succeeds: the control that gives the rejections their meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from eth_typing import ChecksumAddress, HexStr
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import ContractLogicError
from web3.types import TxParams

from oracle.errors import ChainError

#: Words before ``proof`` in ``fulfill``'s head: requestId, twelve of the request, input, callbackData,
#: payee, outputs.
_PROOF_HEAD_WORD = 17


@dataclass(frozen=True, slots=True)
class Fulfilment:
    """A mined ``fulfill`` transaction, taken apart."""

    oracle: Contract
    sender: ChecksumAddress
    block_number: int
    arguments: Mapping[str, Any]
    calldata: bytes


def observe(oracle: Contract, transaction_hash: bytes) -> Fulfilment:
    """Read a mined fulfilment as anyone can who watches the chain."""
    transaction = oracle.w3.eth.get_transaction(transaction_hash)  # type: ignore[arg-type]
    _, arguments = oracle.decode_function_input(transaction["input"])
    return Fulfilment(
        oracle=oracle,
        sender=transaction["from"],
        block_number=transaction["blockNumber"],
        arguments=arguments,
        calldata=bytes(transaction["input"]),
    )


def attempt_all(
    honest: Fulfilment, thief: ChecksumAddress, other_request: int, other_block: int
) -> dict[str, bool]:
    """Try everything; True means that the chain rejected it for the reason it should.

    Args:
        honest: the fulfilment that the thief has seen.
        thief: the address that wants the money.
        other_request: another request by the same caller for the same model and input.
        other_block: the block that it was made in.

    Raises:
        ChainError: the control failed, so nothing would be shown.
    """
    before = honest.block_number - 1
    arguments = dict(honest.arguments)
    proof, outputs, data = arguments["proof"], arguments["outputs"], arguments["input"]

    def changed(**changes: Any) -> bytes:
        return encode(honest.oracle, arguments | changes)

    control = _revert_selector(honest, honest.calldata, before)
    if control is not None:
        raise ChainError(f"the honest fulfilment does not replay: {control}")

    tries: dict[str, tuple[bytes, int | str, str]] = {
        "flipped_proof_byte": (changed(proof=flip(proof)), before, "ProofRejected()"),
        "another_output": (
            changed(outputs=[outputs[0] ^ 1, *outputs[1:]]),
            before,
            "ProofRejected()",
        ),
        "another_input": (changed(input=flip(data)), before, "PreimageMismatch(bytes32)"),
        "another_request": (
            changed(
                requestId=other_request,
                req=preimage(honest, other_request, other_block),
            ),
            other_block,
            "ProofRejected()",
        ),
        "another_payee": (changed(payee=thief), before, "ProofRejected()"),
        "replay": (honest.calldata, "latest", "NotOpen(uint256,uint8)"),
        "handmade_calldata": (
            repoint_proof(honest.calldata, flip(proof)),
            before,
            "ProofRejected()",
        ),
    }
    return {
        name: _revert_selector(honest, calldata, block) == selector(error)
        for name, (calldata, block, error) in tries.items()
    }


def preimage(honest: Fulfilment, request_id: int, block: int) -> dict[str, Any]:
    """The preimage of a request that differs from the honest one only in its terms."""
    (opened,) = honest.oracle.events.RequestOpened().get_logs(
        from_block=block, to_block=block, argument_filters={"requestId": request_id}
    )
    terms = ("refundTo", "deadline", "fee", "gasMoney", "gasUnits", "protocolBps")
    return dict(honest.arguments["req"]) | {name: opened["args"][name] for name in terms}


def encode(oracle: Contract, arguments: Mapping[str, Any]) -> bytes:
    """``fulfill`` calldata with the standard layout."""
    return bytes.fromhex(oracle.encode_abi("fulfill", kwargs=dict(arguments)).removeprefix("0x"))


def flip(data: bytes, index: int = 0) -> bytes:
    """``data`` with one bit of one byte changed."""
    return data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]


def repoint_proof(calldata: bytes, proof: bytes) -> bytes:
    """Valid ABI, unusual layout: the head's proof offset points at ``proof`` appended at the end.

    The honest proof stays at the position where generated verifiers look for it by hard-coded
    offset, so a contract that forwarded this blob would check one proof and hash another.
    """
    body = calldata[4:]
    appended = len(proof).to_bytes(32, "big") + proof + bytes(-len(proof) % 32)
    head = 32 * _PROOF_HEAD_WORD
    return calldata[:4] + body[:head] + len(body).to_bytes(32, "big") + body[head + 32 :] + appended


def selector(signature: str) -> str:
    """The four bytes that name a custom error, as hex with 0x."""
    return "0x" + bytes(Web3.keccak(text=signature)[:4]).hex()


def _revert_selector(honest: Fulfilment, calldata: bytes, block: int | str) -> str | None:
    """First four bytes of the revert data, or None if the call succeeds."""
    transaction: TxParams = {
        "from": honest.sender,
        "to": honest.oracle.address,
        "data": HexStr("0x" + calldata.hex()),
    }
    call: Callable[..., Any] = honest.oracle.w3.eth.call
    try:
        call(transaction, block)
    except ContractLogicError as error:
        return str(error.data)[:10]
    return None
