"""The oracle and the registry as typed calls that take and return the vocabulary's values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

from eth_abi.abi import encode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from oracle.chain.codec import ContractAbi
from oracle.chain.rpc import Log, Receipt, Rpc
from oracle.errors import ContractMismatch, ModelUnsupported, RpcRejected, TransactionReverted
from oracle.types import (
    ZERO_ADDRESS,
    BatchVerifier,
    Codec,
    ModelSpec,
    RegisteredModel,
    Request,
    RequestKey,
    TagLayout,
    TensorSpec,
)

#: Of `IInferenceOracle.Request`.
_PREIMAGE_TYPES = (
    *("address", "uint256", "address", "uint64", "address", "uint64"),
    *("uint96", "uint96", "uint64", "uint16", "bytes32", "bytes32"),
)

#: Selector of `IAIOracleCallbackReceiver.aiOracleCallback(uint256,bytes,bytes)`.
_CALLBACK = bytes.fromhex("b0347814")


class Status(IntEnum):
    """Where the contract says a request stands. Values are the contract's."""

    UNKNOWN = 0
    OPEN = 1
    FULFILLED = 2
    REFUNDED = 3


@dataclass(frozen=True, slots=True)
class Ended:
    """A request's end, as its log tells it."""

    request_id: int
    status: Status
    #: The account that was paid for the proof; the refund address for a refund.
    beneficiary: str
    block_number: int


@dataclass(frozen=True, slots=True)
class ToppedUp:
    """A request's gas money was raised; its commitment has the new amount."""

    request_id: int
    #: Wei, all of it.
    gas_money: int
    block_number: int


class OracleContract:
    """`InferenceOracle` at one address."""

    def __init__(self, rpc: Rpc, address: str) -> None:
        self.address = address
        self._rpc = rpc
        self._abi = ContractAbi.of("InferenceOracle")

    def registry(self) -> str:
        """Address of the model registry.

        Raises:
            ContractMismatch: nothing at this address answers like the oracle.
        """
        if not self._rpc.code(self.address):
            raise ContractMismatch(
                f"no contract at {self.address}", remedy="Correct the oracle's address"
            )
        try:
            return to_checksum_address(self._read("registry"))
        except (TransactionReverted, DecodingError):
            raise ContractMismatch(
                f"the contract at {self.address} is not an inference oracle",
                remedy="Correct the oracle's address",
            ) from None

    def events(self, first: int, last: int) -> list[Request | ToppedUp | Ended]:
        """Requests made, topped up and ended in blocks ``first`` to ``last``, in chain order.

        Raises:
            RpcLimit: the endpoint wants a smaller range.
        """
        made, opened, topped_up = map(
            self._abi.topic, ("AICallbackRequest", "RequestOpened", "RequestToppedUp")
        )
        fulfilled, refunded = map(self._abi.topic, ("RequestFulfilled", "RequestRefunded"))
        topics = (made, opened, topped_up, fulfilled, refunded)
        logs = self._rpc.logs(self.address, topics, first, last)
        terms = {
            (log.transaction_hash, log.topics[1]): log for log in logs if log.topics[0] == opened
        }
        found: list[Request | ToppedUp | Ended] = []
        for log in logs:
            if log.topics[0] == made:
                pair = terms.get((log.transaction_hash, log.topics[2]))
                if pair is None:
                    raise ContractMismatch(
                        f"a request in block {log.block_number} came without its terms"
                    )
                found.append(self.read(log, pair))
            elif log.topics[0] == topped_up:
                event = self._abi.event("RequestToppedUp", log)
                found.append(ToppedUp(event["requestId"], event["gasMoney"], log.block_number))
            elif log.topics[0] == fulfilled:
                event = self._abi.event("RequestFulfilled", log)
                found.append(_ended(event["requestId"], Status.FULFILLED, event["payee"], log))
            elif log.topics[0] == refunded:
                event = self._abi.event("RequestRefunded", log)
                found.append(_ended(event["requestId"], Status.REFUNDED, event["refundTo"], log))
        return found

    def status(self, request_id: int) -> Status:
        """Where a request stands."""
        return Status(self._read("status", request_id))

    def commitment(self, request_id: int) -> bytes:
        """What the contract holds for a request: `commitment_of` it while it is open."""
        return bytes(self._read("commitments", request_id))

    def outcome(self, receipt: Receipt) -> dict[int, bool]:
        """For each request that a transaction fulfilled or skipped: whether it fulfilled it."""
        ends = {self._abi.topic("RequestFulfilled"): True, self._abi.topic("RequestSkipped"): False}
        return {
            int.from_bytes(log.topics[1], "big"): ends[log.topics[0]]
            for log in receipt.logs
            if log.topics[:1] and log.topics[0] in ends and _checksum(log.address) == self.address
        }

    def fulfill_calldata(
        self, request: Request, payee: str, outputs: Sequence[int], proof: bytes
    ) -> bytes:
        """Calldata that delivers a proof.

        Args:
            request: the request; the contract checks it against its commitment.
            payee: the address in the proof's tag.
            outputs: proved outputs as field elements.
            proof: the proof.
        """
        return self._abi.call(
            "fulfill",
            request.key.request_id,
            preimage(request),
            request.input,
            request.callback_data,
            payee,
            list(outputs),
            proof,
        )

    def fulfill_batch_calldata(
        self, requests: Sequence[Request], payee: str, outputs: Sequence[int], proof: bytes
    ) -> bytes:
        """Calldata that delivers one proof to several requests, in the order of its rows."""
        items = [
            (request.key.request_id, preimage(request), request.input, request.callback_data)
            for request in requests
        ]
        return self._abi.call("fulfillBatch", items, payee, list(outputs), proof)

    def delivered(self, result: bytes) -> int:
        """How many items a simulated `fulfill_batch_calldata` delivered."""
        return int(self._abi.result("fulfillBatch", result))

    def quote(self, model_id: int, rows: int) -> int:
        """Wei to send with a request without a callback: twice what it needs at this base fee."""
        return int(self._read("estimateFeeBatch", model_id, 0, rows))

    def credit_of(self, account: str) -> int:
        """Wei that an account can withdraw."""
        return int(self._read("creditOf", ZERO_ADDRESS, account))

    def is_undelivered(self, request_id: int) -> bool:
        """Whether a request is fulfilled and its callback failed."""
        return any(self._read("undelivered", request_id))

    def callback_calldata(self, request: Request, output: bytes) -> bytes:
        """What the oracle calls a request's consumer with."""
        arguments = (request.key.request_id, output, request.callback_data)
        return _CALLBACK + encode(("uint256", "bytes", "bytes"), arguments)

    def retry_calldata(self, request: Request, output: bytes, gas: int) -> bytes:
        """Calldata that makes a failed callback again, with exactly ``gas``."""
        return self._abi.call(
            "retryCallback",
            request.key.request_id,
            request.callback_contract,
            request.callback_gas,
            request.refund_to,
            gas,
            output,
            request.callback_data,
        )

    def top_up_calldata(self, request: Request) -> bytes:
        """Calldata that adds the value sent to a request's gas money."""
        return self._abi.call("topUp", request.key.request_id, preimage(request))

    def refund_calldata(self, request: Request) -> bytes:
        """Calldata that gives the escrow of an expired request back."""
        return self._abi.call("refund", request.key.request_id, preimage(request))

    def simulate(
        self, calldata: bytes, sender: str, gas: int | None = None, value: int = 0
    ) -> bytes:
        """What a call returns, run on the latest state without sending it.

        Raises:
            TransactionReverted: it would revert; ``name`` is the contract's error.
        """
        return _call(
            self._rpc, self._abi, self.address, calldata, sender=sender, gas=gas, value=value
        )

    def error_text(self, data: bytes) -> str:
        """Revert data in a person's words."""
        return self._abi.error(data)[1]

    def _read(self, function: str, *arguments: Any) -> Any:
        data = self._abi.call(function, *arguments)
        return self._abi.result(function, _call(self._rpc, self._abi, self.address, data))

    def read(self, log: Log, terms: Log) -> Request:
        """A request from the two events that announce it."""
        event = self._abi.event("AICallbackRequest", log)
        opened = self._abi.event("RequestOpened", terms)
        return Request(
            key=RequestKey(self._rpc.chain_id, self.address, event["requestId"]),
            account=_checksum(event["account"]),
            model_id=event["modelId"],
            input=event["input"],
            callback_contract=_checksum(event["callbackContract"]),
            callback_gas=event["gasLimit"],
            callback_data=event["callbackData"],
            refund_to=_checksum(opened["refundTo"]),
            deadline=opened["deadline"],
            fee=opened["fee"],
            gas_money=opened["gasMoney"],
            gas_units=opened["gasUnits"],
            protocol_bps=opened["protocolBps"],
            block_number=log.block_number,
            block_hash=log.block_hash,
            transaction_hash=log.transaction_hash,
            log_index=log.log_index,
        )


class RegistryContract:
    """`ModelRegistry` at one address."""

    def __init__(self, rpc: Rpc, address: str) -> None:
        self.address = address
        self._rpc = rpc
        self._abi = ContractAbi.of("ModelRegistry")

    def count(self) -> int:
        """How many models are registered; their ids are 1 to this number."""
        return int(self._read("count"))

    def model(self, model_id: int) -> RegisteredModel | None:
        """A registered model; None for an unknown id.

        Raises:
            ModelUnsupported: the model uses a codec that this version does not know.
        """
        try:
            row = self._read("getModel", model_id)
        except TransactionReverted as error:
            if error.name == "UnknownModel":
                return None
            raise
        (onnx, codec, limbs, bits, input_, output, *rest) = row
        token, fee, receiver, receiver_bps, verifiers = rest
        (_, gas, verifier, code, settings, vk, srs), *batches = verifiers
        if codec not in Codec.__members__.values():
            raise ModelUnsupported(f"model {model_id} uses codec {codec}, unknown to this version")
        return RegisteredModel(
            model_id=model_id,
            spec=ModelSpec(
                onnx_hash=onnx,
                settings_hash=settings,
                vk_hash=vk,
                srs_hash=srs,
                input=TensorSpec(*input_),
                output=TensorSpec(*output),
                verifier_code_hash=code,
                verify_gas=gas,
                codec=Codec(codec),
                tag=TagLayout(limbs, bits),
                batches=tuple(
                    BatchVerifier(
                        size=size,
                        settings_hash=settings,
                        vk_hash=vk,
                        srs_hash=srs,
                        verifier_code_hash=code,
                        verify_gas=gas,
                    )
                    for size, gas, _, code, settings, vk, srs in batches
                ),
            ),
            verifier=_checksum(verifier),
            fee=fee,
            receiver=_checksum(receiver),
            receiver_bps=receiver_bps,
            is_open=bool(self._read("isOpen", model_id)),
            token=_checksum(token),
            batch_verifiers=tuple(_checksum(address) for _, _, address, *_ in batches),
        )

    def successor(self, model_id: int) -> int | None:
        """The model that the publisher recommends instead, if there is one."""
        return int(self._read("successorOf", model_id)) or None

    def simulate(self, calldata: bytes, sender: str) -> None:
        """Run a call on the latest state without sending it.

        Raises:
            TransactionReverted: it would revert; ``name`` is the contract's error.
        """
        _call(self._rpc, self._abi, self.address, calldata, sender=sender)

    def _read(self, function: str, *arguments: Any) -> Any:
        data = self._abi.call(function, *arguments)
        return self._abi.result(function, _call(self._rpc, self._abi, self.address, data))


def code_hash(rpc: Rpc, address: str) -> bytes:
    """EXTCODEHASH of a deployed contract."""
    return keccak(rpc.code(address))


def _call(
    rpc: Rpc,
    abi: ContractAbi,
    to: str,
    data: bytes,
    *,
    sender: str | None = None,
    gas: int | None = None,
    value: int = 0,
) -> bytes:
    try:
        return rpc.call(to, data, sender=sender, gas=gas, value=value)
    except RpcRejected as error:
        if not error.data and "revert" not in error.message.lower():
            raise
        name, text = abi.error(error.data)
        raise TransactionReverted(f"the contract refused: {text}", name=name) from error


def commitment_of(request: Request) -> bytes:
    """keccak256 of a request's preimage, which the contract holds while the request is open."""
    return keccak(encode(_PREIMAGE_TYPES, preimage(request)))


def preimage(request: Request) -> tuple[Any, ...]:
    """The ``Request`` struct that the contract holds a hash of."""
    return (
        request.account,
        request.model_id,
        request.callback_contract,
        request.callback_gas,
        request.refund_to,
        request.deadline,
        request.fee,
        request.gas_money,
        request.gas_units,
        request.protocol_bps,
        keccak(request.input),
        keccak(request.callback_data),
    )


def _ended(request_id: int, status: Status, beneficiary: str, log: Log) -> Ended:
    return Ended(request_id, status, _checksum(beneficiary), log.block_number)


# Checksums cost a keccak each, and the same few addresses return in every log.
@lru_cache(maxsize=4096)
def _checksum(address: str) -> str:
    return str(to_checksum_address(address))
