"""The Python requester: numbers in, proved numbers out.

    client = OracleClient(Rpc([url], chain_id), oracle_address, signer)
    handle = client.request(model_id, [5.1, 3.5, 1.4, 0.2])
    result = handle.wait(timeout=60)      # or, in a coroutine: result = await handle
    result.values                         # numpy.ndarray, a row for each row of the input

A client blocks and may be used from several threads; `asyncio.to_thread(client.request, ...)` asks
without blocking a loop. Waiting is written once, as the pauses between looks: `Handle.wait` sleeps
them, `await` hands them to the loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from eth_utils.address import to_checksum_address

from oracle import fees, tensor
from oracle.chain.account import Account
from oracle.chain.codec import ContractAbi
from oracle.chain.contracts import OracleContract, RegistryContract, Status
from oracle.chain.registration import circuits_of
from oracle.chain.rpc import Receipt, Rpc
from oracle.chain.signer import Signer
from oracle.chain.trail import Trail, trail_of
from oracle.errors import (
    AccountUnfunded,
    RequestRefunded,
    RequestTimeout,
    RequestUnknown,
    TensorEncoding,
    TensorLength,
    UsageError,
)
from oracle.log import request_hex
from oracle.types import ZERO_ADDRESS, Codec, ModelSpec, RegisteredModel, Request, TensorSpec
from oracle.why import Report, explain

#: Seconds that a request of one row leaves for an answer unless told otherwise.
LIFETIME = 3600
#: Seconds to wait for an answer unless told otherwise.
TIMEOUT = 120.0
#: Seconds between two looks for an answer.
POLL = 0.25

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A proved answer."""

    request_id: int
    #: Real values: [outputs] for an input of one dimension, [rows, outputs] for one of two.
    values: Array
    payee: str
    transaction_hash: bytes
    block_number: int


@dataclass(frozen=True, slots=True, eq=False)
class Handle:
    """A request that was mined; wait for it, or await it."""

    request_id: int
    model: RegisteredModel
    block_number: int
    #: Gas of the request; None when it was somebody else's.
    gas_used: int | None
    #: Of the input as given: one dimension or two.
    dimensions: int
    _client: OracleClient = field(repr=False)

    def wait(self, timeout: float = TIMEOUT) -> Result:
        """The proved answer.

        Raises:
            RequestTimeout: none came within ``timeout`` seconds.
            RequestRefunded: none can come any more.
        """
        looks = self._looks(timeout)
        while True:
            try:
                self._client.sleep(next(looks))
            except StopIteration as end:
                return _result(end)

    def __await__(self) -> Generator[Any, None, Result]:
        """As `wait` with its default timeout; `asyncio.timeout` gives another."""
        return self._wait_in_loop().__await__()

    def result(self) -> Result | None:
        """The proved answer, or None while there is none.

        Raises:
            RequestRefunded: none can come any more.
        """
        return self._client.answer(self)

    def why(self) -> Report:
        """What the request waits for, as the chain knows it."""
        return self._client.why(self.request_id, self.block_number)

    async def _wait_in_loop(self) -> Result:
        looks = self._looks(TIMEOUT)
        while True:
            pause = await asyncio.to_thread(_advance, looks)
            if isinstance(pause, Result):
                return pause
            await asyncio.sleep(pause)

    def _looks(self, timeout: float) -> Generator[float, None, Result]:
        """Looks until there is an answer; yields the seconds to pause in between."""
        deadline = self._client.clock() + timeout
        while (found := self.result()) is None:
            if self._client.clock() >= deadline:
                raise RequestTimeout(
                    f"request {request_hex(self.request_id)} has no answer after {timeout:.0f} s",
                    remedy=f"Ask: oracle why {request_hex(self.request_id)}",
                )
            yield POLL
        return found


class OracleClient:
    """Requests inferences from an account and reads their proved answers.

    Args:
        rpc: endpoints of the chain.
        oracle: address of the InferenceOracle.
        signer: the account that pays; without one the client only reads.
        clock: monotonic seconds.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        rpc: Rpc,
        oracle: str,
        signer: Signer | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rpc = rpc
        self._abi = ContractAbi.of("InferenceOracle")
        self._oracle = oracle
        self._contract = OracleContract(rpc, oracle)
        self._registry = RegistryContract(rpc, self._contract.registry())
        self._account = None if signer is None else Account(rpc, signer, clock, sleep)
        # An account's transactions go one after the other: each takes the next nonce.
        self._sending = threading.Lock()
        self.clock = clock
        self.sleep = sleep

    @property
    def account(self) -> str:
        """The account that pays and is paid.

        Raises:
            UsageError: the client has none.
        """
        return self._sender().address

    def model(self, model_id: int) -> RegisteredModel:
        """A model that takes requests.

        Raises:
            UsageError: there is none with this id, or it takes no new requests.
        """
        found = self._registry.model(model_id)
        if found is None:
            raise UsageError(
                f"there is no model {model_id}",
                remedy=f"Choose an id from 1 to {self._registry.count()}",
            )
        if not found.is_open:
            successor = self._registry.successor(model_id)
            raise UsageError(
                f"model {model_id} takes no new requests",
                remedy=f"Ask model {successor}, its successor" if successor else "Choose another",
            )
        return found

    def request(
        self, model_id: int, values: npt.ArrayLike, *, lifetime: int | None = None
    ) -> Handle:
        """Send a request without a callback and wait until it is mined.

        Args:
            model_id: a registered model.
            values: real values: [inputs], or [rows, inputs] for several rows in one proof.
            lifetime: seconds until the request can be refunded instead; `LIFETIME` for one row. Of
                several rows the contract itself says: a day.

        Raises:
            TensorError: the values do not fit the model; nothing was sent.
            AccountUnfunded: the account cannot pay; nothing was sent.
            TransactionReverted: the contract refused.
        """
        model = self.model(model_id)
        rows = _array(values)
        data = _encode(np.atleast_2d(rows), model.spec)
        count = 1 if rows.ndim == 1 else len(rows)
        most = circuits_of(model.spec)[-1].size
        if count > most:
            raise TensorLength(
                f"model {model_id} proves {most} rows at most at once, got {count}",
                remedy="Ask in several requests",
            )
        value = self._contract.quote(model_id, count)
        if count == 1:
            deadline = self._rpc.head().timestamp + (LIFETIME if lifetime is None else lifetime)
            end = (self.account, deadline)
            call = self._abi.call("request", model_id, data, ZERO_ADDRESS, 0, b"", *end)
        elif lifetime is None:
            asked = (count, model_id, data, ZERO_ADDRESS, 0, b"", 0, 0)
            call = self._abi.call("requestBatchInference", *asked)
        else:
            raise UsageError(
                "a request of several rows has the contract's own lifetime",
                remedy="Leave lifetime out, or ask row by row",
            )
        receipt = self._transact(call, value)
        opened = self._abi.topic("RequestOpened")
        (log,) = [log for log in receipt.logs if log.topics[:1] == (opened,)]
        request_id = int(self._abi.event("RequestOpened", log)["requestId"])
        return Handle(request_id, model, receipt.block_number, receipt.gas_used, rows.ndim, self)

    def handle(self, request_id: int, first_block: int = 0) -> Handle:
        """The handle of a request that was made before, or by somebody else.

        Args:
            request_id: anyone's request.
            first_block: where to begin to look for it.

        Raises:
            RequestUnknown: there is no such request.
        """
        request = self._find(request_id, first_block)
        model = self._registry.model(request.model_id)
        if model is None:
            raise RequestUnknown(f"model {request.model_id} is not registered here")
        rows = len(tensor.rows(request.input, model.spec.input, model.spec.codec))
        dimensions = 1 if rows == 1 else 2
        return Handle(request_id, model, request.block_number, None, dimensions, self)

    def answer(self, handle: Handle) -> Result | None:
        """See `Handle.result`."""
        status = self._contract.status(handle.request_id)
        if status is Status.REFUNDED:
            raise RequestRefunded(
                f"request {request_hex(handle.request_id)} was not answered in time; its money is "
                "credit of its refund address",
                remedy="That account gets it with: oracle withdraw",
            )
        if status is not Status.FULFILLED:
            return None
        trail = self._trail(handle.request_id, handle.block_number)
        answer, fulfilled = trail.last("AICallbackResult"), trail.last("RequestFulfilled")
        if answer is None or fulfilled is None:
            # An endpoint whose logs are behind its state.
            return None
        spec, codec = handle.model.spec.output, handle.model.spec.codec
        rows = _decode(answer.fields["output"], spec, codec)
        return Result(
            request_id=handle.request_id,
            values=rows[0] if handle.dimensions == 1 else rows,
            payee=to_checksum_address(fulfilled.fields["payee"]),
            transaction_hash=answer.transaction_hash,
            block_number=answer.block_number,
        )

    def why(self, request_id: int, first_block: int = 0) -> Report:
        """What a request waits for, as the chain knows it; see `oracle.why`."""
        return explain(self._rpc, self._contract, request_id, first_block=first_block)

    def refund(self, request_id: int, first_block: int = 0) -> None:
        """Have the escrow of an expired request credited to its refund address.

        Args:
            request_id: anyone's request.
            first_block: where to begin to look for it.

        Raises:
            RequestUnknown: there is no such request.
            TransactionReverted: it has ended, or its deadline has not passed.
        """
        request = self._find(request_id, first_block)
        self._transact(self._contract.refund_calldata(request))

    def top_up(self, request_id: int, wei: int, first_block: int = 0) -> int:
        """Add to an open request's gas money; what it has then (wei).

        Raises:
            RequestUnknown: there is no such request.
            UsageError: it is less than the contract takes.
            TransactionReverted: it has ended, or its deadline has passed.
        """
        request = self._find(request_id, first_block)
        least = fees.minimum_top_up(request.gas_money)
        if wei < least:
            raise UsageError(
                f"{wei} wei is too small a top-up for gas money of {request.gas_money} wei",
                remedy=f"Add at least {least} wei",
            )
        self._transact(self._contract.top_up_calldata(request), wei)
        return request.gas_money + wei

    def retry(self, request_id: int, gas: int | None = None, first_block: int = 0) -> None:
        """Make the failed callback of an answered request again, at this account's cost.

        Args:
            request_id: anyone's request.
            gas: exact gas for the callback; what the request promised it by default.
            first_block: where to begin to look for it.

        Raises:
            RequestUnknown: there is no such request.
            UsageError: it is not answered yet.
            TransactionReverted: its callback did not fail, or fails again.
        """
        request = self._find(request_id, first_block)
        answer = self._trail(request_id, request.block_number).last("AICallbackResult")
        if answer is None:
            raise UsageError(
                f"request {request_hex(request_id)} has no answer that could be delivered",
                remedy=f"Ask: oracle why {request_hex(request_id)}",
            )
        limit = request.callback_gas if gas is None else gas
        self._transact(self._contract.retry_calldata(request, answer.fields["output"], limit))

    def credit(self) -> int:
        """Wei that `withdraw` would pay: earned fees, refunds, unspent gas money."""
        return self._contract.credit_of(self.account)

    def withdraw(self, to: str) -> int:
        """Send the account's whole credit to an address; the amount in wei.

        Raises:
            UsageError: there is nothing to withdraw.
            TransactionReverted: the recipient refused the money.
        """
        amount = self.credit()
        if amount == 0:
            raise UsageError(f"{self.account} has no credit to withdraw")
        self._transact(self._abi.call("withdrawTo(address)", to))
        return amount

    def _sender(self) -> Account:
        if self._account is None:
            raise UsageError("the client has no account", remedy="Give OracleClient a signer")
        return self._account

    def _trail(self, request_id: int, first_block: int) -> Trail:
        last = self._rpc.head().number
        return trail_of(self._rpc, self._contract, request_id, first_block, last)

    def _find(self, request_id: int, first_block: int) -> Request:
        found = self._trail(request_id, first_block).request
        if found is None:
            raise RequestUnknown(
                f"no request {request_hex(request_id)} since block {first_block}",
                remedy="Check the id, the oracle's address, the chain and the first block",
            )
        return found

    def _transact(self, data: bytes, value: int = 0) -> Receipt:
        sender = self._sender()
        with self._sending:
            balance = self._rpc.balance(sender.address)
            if balance < value:
                raise AccountUnfunded(
                    f"{sender.address} has {balance} wei, the request costs {value} wei and gas",
                    remedy="Fund the account",
                )
            # Before the estimate: an endpoint words its refusal less clearly than the contract.
            self._contract.simulate(data, sender.address, value=value)
            return sender.send(self._oracle, data, value)


def _advance(looks: Generator[float, None, Result]) -> float | Result:
    """The next pause, or the result: a StopIteration cannot leave a thread's future."""
    try:
        return next(looks)
    except StopIteration as end:
        return _result(end)


def _result(end: StopIteration) -> Result:
    result: Result = end.value
    return result


def _array(values: npt.ArrayLike) -> Array:
    """Real values of one or two dimensions.

    Raises:
        TensorEncoding: they are no numbers.
        TensorLength: they are nested more deeply, or not evenly, or there are none.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TensorEncoding(
            f"the input is no array of numbers ({error})",
            remedy="Give a list of numbers, or a list of rows of equal length",
        ) from None
    if array.ndim not in (1, 2) or not array.size:
        raise TensorLength(
            f"the input has shape {array.shape}",
            remedy="Give [inputs], or [rows, inputs] for several rows",
        )
    return array


def _encode(rows: Array, spec: ModelSpec) -> bytes:
    separator = b"," if spec.codec is Codec.TEXT else b""
    return separator.join(
        tensor.encode(row.tolist(), spec.input, spec.codec, spec.input_ranges) for row in rows
    )


def _decode(data: bytes, spec: TensorSpec, codec: Codec) -> Array:
    """Result bytes as [rows, outputs]."""
    if codec is Codec.TEXT:
        texts = data.split(b",")
        pieces = [b",".join(texts[i : i + spec.length]) for i in range(0, len(texts), spec.length)]
    else:
        width = spec.length * spec.width
        pieces = [data[i : i + width] for i in range(0, len(data), width)]
    return np.array([tensor.decode(piece, spec, codec) for piece in pieces], dtype=np.float64)
