"""The oracle and the registry as typed calls that take and return the vocabulary's values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any, TypeVar

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from oracle.chain.codec import ContractAbi
from oracle.chain.evidence import Block, Log, LogQuery
from oracle.chain.input_ranges import ranges_in
from oracle.chain.rpc import Receipt, Rpc
from oracle.chain.signed_requests import Envelope
from oracle.errors import (
    ContractMismatch,
    ModelUnsupported,
    RpcRejected,
    RpcUnreachable,
    TransactionReverted,
)
from oracle.types import (
    ZERO_ADDRESS,
    BatchVerifier,
    Codec,
    InputKind,
    ModelSpec,
    ProofSystem,
    RegisteredModel,
    Request,
    RequestKey,
    SetupTrust,
    TagLayout,
    TensorSpec,
    Trust,
)

T = TypeVar("T")

#: The oracle's events that the node follows.
_WATCHED = (
    *("AICallbackRequest", "RequestOpened", "RequestToppedUp"),
    *("RequestFulfilled", "RequestRefunded"),
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
    transaction_hash: bytes

    def reason(self, payee: str) -> str:
        """Why a node whose proof names ``payee`` has no transaction of its own for the request."""
        if self.status is Status.REFUNDED:
            return f"refunded to {self.beneficiary}"
        if self.beneficiary == payee:
            # Whoever sends a proof, whom it names is paid.
            hash_ = self.transaction_hash.hex()
            return f"delivered by a foreign transaction, 0x{hash_}: our payee was paid"
        return f"fulfilled for {self.beneficiary}"


@dataclass(frozen=True, slots=True)
class ToppedUp:
    """A request's gas money was raised; its commitment has the new amount."""

    request_id: int
    #: Wei, all of it.
    gas_money: int
    block_number: int


@dataclass(frozen=True, slots=True)
class _Event:
    """A decoded log."""

    name: str
    log: Log
    fields: dict[str, Any]

    @property
    def pair(self) -> tuple[bytes, int]:
        """What the two events of one new request have in common."""
        return self.log.transaction_hash, self.fields["requestId"]


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
            call = self._abi.call("registry")
            data = _call(self._rpc, self._abi, self.address, call, read=bytes)
            return to_checksum_address(self._abi.result("registry", data))
        except (TransactionReverted, ValueError):
            raise ContractMismatch(
                f"the contract at {self.address} is not an inference oracle",
                remedy="Correct the oracle's address",
            ) from None

    def events(
        self, first: int, last: int, headers: Sequence[Block] = ()
    ) -> list[Request | ToppedUp | Ended]:
        """Requests made, topped up and ended in blocks ``first`` to ``last``, in chain order.

        Args:
            first: first block, inclusive.
            last: last block, inclusive.
            headers: of these blocks, as far as they are known; logs must agree with them.

        Raises:
            RpcLimit: the endpoint wants a smaller range.
            RpcUnreachable: no endpoint gave a list that can be true.
        """
        names = {self._abi.topic(name): name for name in _WATCHED}
        decoded: dict[Log, _Event] = {}

        def check(logs: Sequence[Log]) -> None:
            for log in logs:
                if log not in decoded:
                    name = names[log.topics[0]]
                    decoded[log] = _Event(name, log, self._abi.event(name, log))
            _check_pairs([decoded[log] for log in logs])

        query = LogQuery(self.address, tuple(names), first, last, tuple(headers))
        return self._joined([decoded[log] for log in self._rpc.logs(query, check)])

    def _joined(self, events: Sequence[_Event]) -> list[Request | ToppedUp | Ended]:
        terms = {event.pair: event.fields for event in events if event.name == "RequestOpened"}
        found: list[Request | ToppedUp | Ended] = []
        for event in events:
            fields, log = event.fields, event.log
            if event.name == "AICallbackRequest":
                found.append(self.read(log, fields, terms[event.pair]))
            elif event.name == "RequestToppedUp":
                found.append(ToppedUp(fields["requestId"], fields["gasMoney"], log.block_number))
            elif event.name == "RequestFulfilled":
                found.append(_ended(fields["requestId"], Status.FULFILLED, fields["payee"], log))
            elif event.name == "RequestRefunded":
                found.append(_ended(fields["requestId"], Status.REFUNDED, fields["refundTo"], log))
        return found

    def status(self, request_id: int, block: int | None = None) -> Status:
        """Where a request stands, or stood after a block."""
        return self._read("status", request_id, then=Status, block=block)

    def commitment(self, request_id: int, block: int | None = None) -> bytes:
        """What the contract holds (or held after a block): `commitment_of` an open request."""
        return self._read("commitments", request_id, then=bytes, block=block)

    def outcome(self, receipt: Receipt) -> dict[int, bool]:
        """For each request that a transaction fulfilled or skipped: whether it fulfilled it."""
        ends = {self._abi.topic("RequestFulfilled"): True, self._abi.topic("RequestSkipped"): False}
        return {
            int.from_bytes(log.topics[1], "big"): ends[log.topics[0]]
            for log in receipt.logs
            if len(log.topics) > 1
            and log.topics[0] in ends
            and _checksum(log.address) == self.address
        }

    def income(self, receipt: Receipt, payee: str) -> tuple[int, int]:
        """What a transaction brought a payee: its part of the model fees, and its gas (wei).

        Fees of models that are paid in a token count in the token's smallest unit.
        """
        topic = self._abi.topic("RequestFulfilled")
        events = [
            self._abi.event("RequestFulfilled", log)
            for log in receipt.logs
            if log.topics[:1] == (topic,) and _checksum(log.address) == self.address
        ]
        ours = [event for event in events if _checksum(event["payee"]) == payee]
        return sum(each["feePaid"] for each in ours), sum(each["gasPaid"] for each in ours)

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
        """How many items a simulated `fulfill_batch_calldata` delivered.

        Raises:
            RpcUnreachable: the endpoint did not simulate it.
        """
        try:
            return int(self._abi.result("fulfillBatch", result))
        except ValueError:
            raise RpcUnreachable("the endpoint answers a simulation with something else") from None

    def quote(self, model_id: int, rows: int) -> int:
        """Wei to send with a request without a callback: twice what it needs at this base fee."""
        return self._read("estimateFeeBatch", model_id, 0, rows, then=int)

    def credit_of(self, account: str) -> int:
        """Wei that an account can withdraw."""
        return self._read("creditOf", ZERO_ADDRESS, account, then=int)

    def is_undelivered(self, request_id: int) -> bool:
        """Whether a request is fulfilled and its callback failed."""
        return self._read("undelivered", request_id, then=any)

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

    def request_for_calldata(self, signed: Envelope) -> bytes:
        """Calldata that submits what an account has signed."""
        fields = astuple(signed.request)
        return self._abi.call(
            "requestFor", fields, signed.input, signed.callback_data, signed.signature
        )

    def deposit_calldata(self, account: str) -> bytes:
        """Calldata that adds the value sent to an account's credit."""
        return self._abi.call("deposit", account)

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
            self._rpc,
            self._abi,
            self.address,
            calldata,
            sender=sender,
            gas=gas,
            value=value,
            read=bytes,
        )

    def error_text(self, data: bytes) -> str:
        """Revert data in a person's words."""
        return self._abi.error(data)[1]

    def _read(
        self,
        function: str,
        *arguments: Any,
        then: Callable[[Any], T],
        block: int | None = None,
    ) -> T:
        return _read(self._rpc, self._abi, self.address, function, arguments, then, block)

    def read(self, log: Log, event: dict[str, Any], opened: dict[str, Any]) -> Request:
        """A request from the two events that announce it.

        Args:
            log: of ``AICallbackRequest``.
            event: its fields.
            opened: the fields of ``RequestOpened``.
        """
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
        return self._read("count", then=int)

    def model(self, model_id: int) -> RegisteredModel | None:
        """A registered model; None for an unknown id.

        Raises:
            ModelUnsupported: the model uses a codec, a proof system or a kind of input that this
                version does not know.
        """
        if not 0 <= model_id < 1 << 256:
            return None
        try:
            row = self._read("getModel", model_id, then=tuple)
        except TransactionReverted as error:
            if error.name == "UnknownModel":
                return None
            raise
        (onnx, codec, limbs, bits, kind, input_, output, checker, *rest) = row
        token, fee, receiver, receiver_bps, _, _, verifiers = rest
        (verifier, code, gas, _, _, artifact, vk, setup), *batches = verifiers
        systems = [system for _, _, _, _, system, *_ in verifiers]
        _require_known(model_id, "codec", Codec, codec)
        _require_known(model_id, "input kind", InputKind, kind)
        _require_known(model_id, "proof system", ProofSystem, *systems)
        return RegisteredModel(
            model_id=model_id,
            spec=ModelSpec(
                onnx_hash=onnx,
                settings_hash=artifact,
                vk_hash=vk,
                srs_hash=setup,
                input=TensorSpec(*input_),
                output=TensorSpec(*output),
                verifier_code_hash=code,
                verify_gas=gas,
                codec=Codec(codec),
                tag=TagLayout(limbs, bits),
                batches=tuple(
                    BatchVerifier(
                        size=size,
                        settings_hash=artifact,
                        vk_hash=vk,
                        srs_hash=setup,
                        verifier_code_hash=code,
                        verify_gas=gas,
                    )
                    for _, code, gas, size, _, artifact, vk, setup in batches
                ),
                input_ranges=self._input_ranges(checker),
            ),
            verifier=_checksum(verifier),
            fee=fee,
            receiver=_checksum(receiver),
            receiver_bps=receiver_bps,
            is_open=self.is_open(model_id),
            token=_checksum(token),
            batch_verifiers=tuple(_checksum(address) for address, *_ in batches),
            input_checker=_checksum(checker),
            input_kind=InputKind(kind),
            systems=tuple(map(ProofSystem, systems)),
        )

    def _input_ranges(self, checker: str) -> tuple[tuple[int, int], ...]:
        """What a model's input checker holds inputs to, by its code: a call could say anything."""
        if _checksum(checker) == ZERO_ADDRESS:
            return ()
        return ranges_in(self._rpc.code(_checksum(checker))) or ()

    def successor(self, model_id: int) -> int | None:
        """The model that the publisher recommends instead, if there is one."""
        return self._read("successorOf", model_id, then=int) or None

    def publisher(self, model_id: int) -> str:
        """The account that registered a known model."""
        return _checksum(self._read("publisherOf", model_id, then=str))

    def is_open(self, model_id: int) -> bool:
        """Whether a model takes requests."""
        return self._read("isOpen", model_id, then=bool)

    def trust(self, model_id: int) -> SetupTrust:
        """Who could forge a known model's proofs, by what is registered.

        Only a registry on a local chain has models of `Trust.ONE_PARTY`.
        """

        def read(row: tuple[int, bytes, int]) -> SetupTrust:
            kind, transcript, contributors = row
            return SetupTrust(Trust(kind), transcript, contributors)

        return self._read("trustOf", model_id, then=read)

    def simulate(self, calldata: bytes, sender: str) -> None:
        """Run a call on the latest state without sending it.

        Raises:
            TransactionReverted: it would revert; ``name`` is the contract's error.
        """
        _call(self._rpc, self._abi, self.address, calldata, sender=sender, read=bytes)

    def _read(self, function: str, *arguments: Any, then: Callable[[Any], T]) -> T:
        return _read(self._rpc, self._abi, self.address, function, arguments, then)


def _require_known(model_id: int, what: str, kinds: type[IntEnum], *values: int) -> None:
    for value in values:
        if value not in kinds.__members__.values():
            raise ModelUnsupported(f"model {model_id} uses {what} {value}, unknown to this version")


def verifier_accepts(rpc: Rpc, verifier: str, proof: bytes, instances: Sequence[int]) -> bool:
    """Whether a generated verifier accepts a proof of these public instances."""
    arguments = encode(["bytes", "uint256[]"], [proof, list(instances)])
    try:
        return rpc.call(
            verifier,
            keccak(text="verifyProof(bytes,uint256[])")[:4] + arguments,
            read=lambda answer: int.from_bytes(answer, "big") == 1,
        )
    except RpcRejected as error:
        # It reverts on what it cannot read. An endpoint's own trouble is not its verdict.
        if not error.data and "revert" not in error.message.lower():
            raise
        return False


def code_hash(rpc: Rpc, address: str) -> bytes:
    """EXTCODEHASH of a deployed contract."""
    return keccak(rpc.code(address))


def _read(
    rpc: Rpc,
    abi: ContractAbi,
    to: str,
    function: str,
    arguments: Sequence[Any],
    then: Callable[[Any], T],
    block: int | None = None,
) -> T:
    """A view function's result; one that does not fit its ABI is no answer."""
    data = abi.call(function, *arguments)
    return _call(
        rpc, abi, to, data, block=block, read=lambda result: then(abi.result(function, result))
    )


def _call(
    rpc: Rpc,
    abi: ContractAbi,
    to: str,
    data: bytes,
    *,
    sender: str | None = None,
    gas: int | None = None,
    value: int = 0,
    block: int | None = None,
    read: Callable[[bytes], T],
) -> T:
    try:
        return rpc.call(to, data, sender=sender, gas=gas, value=value, block=block, read=read)
    except RpcRejected as error:
        if not error.data and "revert" not in error.message.lower():
            raise
        name, text = abi.error(error.data)
        raise TransactionReverted(
            f"the contract refused: {text}",
            name=name,
            arguments=abi.error_arguments(error.data),
        ) from error


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


def _check_pairs(events: Sequence[_Event]) -> None:
    """Refuse a list that was cut between the two events that the contract emits at once.

    Raises:
        ValueError: there is a request without its terms, or terms without their request.
    """
    made, opened = (
        {event.pair for event in events if event.name == name}
        for name in ("AICallbackRequest", "RequestOpened")
    )
    if made != opened:
        raise ValueError("a request without its terms, or terms without a request")


def _ended(request_id: int, status: Status, beneficiary: str, log: Log) -> Ended:
    return Ended(request_id, status, _checksum(beneficiary), log.block_number, log.transaction_hash)


# Checksums cost a keccak each, and the same few addresses return in every log.
@lru_cache(maxsize=4096)
def _checksum(address: str) -> str:
    return str(to_checksum_address(address))
