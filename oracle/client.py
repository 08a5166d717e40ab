"""The Python requester: numbers in, proved numbers out.

    client = OracleClient(Rpc([url], chain_id), oracle_address, signer)
    handle = client.request(model_id, [5.1, 3.5, 1.4, 0.2])
    result = handle.wait(timeout=60)      # in a coroutine: await handle.answered(timeout=60)
    result.values                         # numpy.ndarray, a row for each row of the input

A client blocks and may be used from several threads; `asyncio.to_thread(client.request, ...)` asks
without blocking a loop. Waiting is written once, as the pauses between looks: `Handle.wait` sleeps
them, `Handle.answered` hands them to the loop.

Ids of requests are numbers, or text as `oracle.ids` reads it. Whatever argument is wrong, the error
is one of `oracle.errors`, and nothing was sent.
"""

from __future__ import annotations

import asyncio
import math
import operator
import secrets
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np
import numpy.typing as npt
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from oracle import fees, tensor
from oracle.addresses import read_address
from oracle.chain.account import Account
from oracle.chain.codec import ContractAbi
from oracle.chain.contracts import OracleContract, RegistryContract, Status
from oracle.chain.registration import circuits_of
from oracle.chain.rpc import Receipt, Rpc
from oracle.chain.signed_requests import Envelope, SignedRequest, message
from oracle.chain.signer import LocalSigner, Signer
from oracle.chain.trail import Trail, find_id, trail_of
from oracle.errors import (
    AccountUnfunded,
    RequestRefunded,
    RequestTimeout,
    RequestUnknown,
    SignedRequestMalformed,
    TensorEncoding,
    TensorLength,
    TensorRange,
    TransactionReverted,
    UsageError,
)
from oracle.log import request_hex
from oracle.refusals import explained
from oracle.relaying import check, refusal
from oracle.types import ZERO_ADDRESS, Codec, ModelSpec, RegisteredModel, Request, TensorSpec
from oracle.why import Report, explain

#: Seconds that a request of one row leaves for an answer unless told otherwise.
LIFETIME = 3600
#: Least seconds: a request whose deadline the next block is behind costs its gas, and reverts.
MIN_LIFETIME = 30
#: Most seconds that the contract lets a request leave.
MAX_LIFETIME = 30 * 86_400
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

    def __repr__(self) -> str:
        return f"Result({request_hex(self.request_id)}, {self.values.tolist()})"


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
    #: Last second of the chain's time at which it can be answered.
    deadline: int
    _client: OracleClient

    def __repr__(self) -> str:
        return f"Handle({request_hex(self.request_id)}, model {self.model.model_id})"

    def wait(self, timeout: float = TIMEOUT) -> Result:
        """The proved answer.

        Args:
            timeout: seconds; infinity waits until the request's deadline.

        Raises:
            RequestTimeout: none came within ``timeout`` seconds, or by the request's deadline.
            RequestRefunded: none can come any more.
        """
        looks = self._looks(timeout)
        while True:
            try:
                self._client.sleep(next(looks))
            except StopIteration as end:
                return _result(end)

    def __await__(self) -> Generator[Any, None, Result]:
        """As `answered`, until the request's deadline; `asyncio.timeout` bounds it like anything."""
        return self.answered(math.inf).__await__()

    async def answered(self, timeout: float = TIMEOUT) -> Result:
        """As `wait`, in a coroutine."""
        looks = self._looks(timeout)
        while True:
            pause = await asyncio.to_thread(_advance, looks)
            if isinstance(pause, Result):
                return pause
            await asyncio.sleep(pause)

    def result(self) -> Result | None:
        """The proved answer, or None while there is none.

        Raises:
            RequestRefunded: none can come any more.
        """
        return self._client.answer(self)

    def why(self) -> Report:
        """What the request waits for, as the chain knows it."""
        return self._client.why(self.request_id, self.block_number)

    def _looks(self, timeout: float) -> Generator[float, None, Result]:
        """Looks until there is an answer; yields the seconds to pause in between."""
        timeout = _seconds(timeout)
        end = self._client.clock() + timeout
        is_past = False
        while (found := self.result()) is None:
            if is_past or self._client.clock() >= end:
                name = request_hex(self.request_id)
                when = "by its deadline" if is_past else f"after {timeout:.0f} s"
                raise RequestTimeout(
                    f"request {name} has no answer {when}", remedy="Ask"
                ).ending_in(f"oracle why {name}")
            if math.isinf(timeout) and self._client.now() > self.deadline:
                # Whatever was mined before that is there at the next look.
                is_past = True
                continue
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

    Raises:
        UsageError: ``oracle`` is no address.
        ContractMismatch: there is no oracle.
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
        self._oracle = _address(oracle)
        self._contract = OracleContract(rpc, self._oracle)
        self._registry = RegistryContract(rpc, self._contract.registry())
        self._signer = signer
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

    def now(self) -> int:
        """The chain's time: seconds since the epoch."""
        return self._rpc.head().timestamp

    def model(self, model_id: int) -> RegisteredModel:
        """A model that takes requests.

        Raises:
            UsageError: there is none with this id, or it takes no new requests.
        """
        found = self._registered(model_id)
        model_id = found.model_id
        if not found.is_open:
            successor = self._registry.successor(model_id)
            raise UsageError(
                f"model {model_id} takes no new requests",
                remedy=f"Ask model {successor}, its successor" if successor else "Choose another",
            )
        return found

    def encode(self, model_id: int, values: npt.ArrayLike) -> bytes:
        """The bytes that a contract asks a model with: those of one row, or of several.

        Raises:
            UsageError: there is no such model.
            TensorError: the values do not fit it.
        """
        model = self._registered(model_id)
        rows = np.atleast_2d(_array(values))
        data = _encode(rows, model.spec)
        _check_count(model, len(rows))
        return data

    def decode(self, model_id: int, output: bytes) -> Array:
        """The numbers of an answer's bytes: [rows, outputs].

        Raises:
            UsageError: there is no such model.
            TensorError: they are no whole rows of the model's.
        """
        spec = self._registered(model_id).spec
        if not isinstance(output, bytes | bytearray | memoryview):
            raise TensorEncoding(
                f"an output is bytes, not {type(output).__name__}",
                remedy="Make bytes of hex digits by bytes.fromhex",
            )
        return _decode(bytes(output), spec.output, spec.codec)

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
            UsageError: there is no such model, or no request can have such a lifetime.
            AccountUnfunded: the account cannot pay; nothing was sent.
            TransactionReverted: the contract refused.
        """
        model = self.model(model_id)
        model_id = model.model_id
        rows = _array(values)
        data = _encode(np.atleast_2d(rows), model.spec)
        count = 1 if rows.ndim == 1 else len(rows)
        _check_count(model, count)
        value = self._contract.quote(model_id, count)
        if count == 1:
            deadline = self._deadline(LIFETIME if lifetime is None else _lifetime(lifetime))
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
        return self._handle(self._transact(call, value), model, rows.ndim)

    def sign_request(
        self,
        model_id: int,
        values: npt.ArrayLike,
        *,
        lifetime: int = LIFETIME,
        valid_for: int | None = None,
        max_cost: int | None = None,
        tip: int = 0,
        nonce: int | None = None,
        refund_to: str | None = None,
    ) -> Envelope:
        """Sign a request that somebody else submits, paid from the account's credit.

        Args:
            model_id: a registered model.
            values: real values: [inputs].
            lifetime: seconds until the request can be refunded instead.
            valid_for: seconds in which it may be submitted; ``lifetime`` unless told otherwise.
            max_cost: most wei for gas money and a fee in ETH; what a request is quoted for now.
            tip: wei for whoever submits it.
            nonce: any number that the account has not used; a random one by default.
            refund_to: who is credited with unspent money; the account by default.

        Raises:
            TensorError: the values do not fit the model.
            UsageError: another argument is wrong, or the client has no key to sign with.
        """
        if not isinstance(self._signer, LocalSigner):
            raise UsageError("the client has no key to sign with", remedy="Give it a LocalSigner")
        recipient = self._signer.address if refund_to is None else _credited(refund_to)
        model = self.model(model_id)
        row = _array(values)
        if row.ndim != 1:
            raise TensorLength("a signed request is of one row", remedy="Sign one for each row")
        data = _encode(np.atleast_2d(row), model.spec)
        account, life = self._signer.address, _lifetime(lifetime)
        most = self._contract.quote(model.model_id, 1) if max_cost is None else max_cost
        request = SignedRequest(
            account=account,
            model_id=model.model_id,
            input_hash=keccak(data),
            callback_contract=ZERO_ADDRESS,
            callback_gas=0,
            callback_data_hash=keccak(b""),
            refund_to=recipient,
            deadline=self._deadline(life),
            max_cost=_wei(most),
            relayer_tip=_wei(tip),
            nonce=secrets.randbits(256) if nonce is None else _nonce(nonce),
            valid_until=self._deadline(life if valid_for is None else _lifetime(valid_for)),
        )
        signature = self._signer.sign_message(message(self._rpc.chain_id, self._oracle, request))
        return Envelope(self._rpc.chain_id, self._oracle, request, data, b"", signature)

    def relay(self, signed: Envelope, *, least_tip: int = 0) -> Handle:
        """Submit a request that its account signed, and wait until it is mined.

        This client's account pays for the gas and is credited with the tip; the request's own
        account pays for the rest.

        Args:
            signed: what `sign_request` made, or `oracle.chain.signed_requests.read`.
            least_tip: refuse a tip below it (wei).

        Raises:
            SignedRequestError: it cannot be submitted; the class says why. Nothing was sent.
            WrongChain: it was signed for another chain.
            ContractMismatch: it was signed for another oracle.
            UsageError: there is no such model, or it is closed.
            AccountUnfunded: this client's account cannot pay for gas.
            TransactionReverted: the contract refused for another reason.
        """
        if not isinstance(signed, Envelope):
            raise SignedRequestMalformed(
                f"a signed request is an Envelope, not {type(signed).__name__}",
                remedy="Read its JSON by oracle.chain.signed_requests.read",
            )
        check(self._rpc, self._oracle, signed, _wei(least_tip))
        model = self.model(signed.request.model_id)
        try:
            receipt = self._transact(self._contract.request_for_calldata(signed))
        except TransactionReverted as error:
            raise refusal(error, signed, model.token) from None
        return self._handle(receipt, model, 1)

    def deposit(self, wei: int, account: str | None = None) -> int:
        """Add to an account's credit, which pays for what it signs; what the account has then.

        Args:
            wei: how much.
            account: whose; the client's own by default.
        """
        beneficiary = self.account if account is None else _credited(account)
        amount = _wei(wei)
        if amount == 0:
            raise UsageError("there is nothing to deposit", remedy="Give 1 wei or more")
        self._transact(self._contract.deposit_calldata(beneficiary), amount)
        return self._contract.credit_of(beneficiary)

    def _deadline(self, lifetime: int) -> int:
        """The second that is so far away."""
        latest, here = self.now(), int(time.time())
        # A chain that mines on demand has no block of now: its next one is later than its last.
        is_behind = latest < here <= latest + MAX_LIFETIME - lifetime
        return (here if is_behind else latest) + lifetime

    def _handle(self, receipt: Receipt, model: RegisteredModel, dimensions: int) -> Handle:
        opened = self._abi.topic("RequestOpened")
        (log,) = [log for log in receipt.logs if log.topics[:1] == (opened,)]
        fields = self._abi.event("RequestOpened", log)
        return Handle(
            request_id=int(fields["requestId"]),
            model=model,
            block_number=receipt.block_number,
            gas_used=receipt.gas_used,
            dimensions=dimensions,
            deadline=int(fields["deadline"]),
            _client=self,
        )

    def request_id(self, name: int | str, first_block: int = 0) -> int:
        """The id that a name stands for; see `oracle.ids`.

        Args:
            name: a number, or text: 0x and 64 hex digits, the first of them, or a decimal number.
            first_block: where requests can begin whose first digits are given.

        Raises:
            UsageError: it is no id, or the beginning of several.
            RequestUnknown: no request's id begins so.
        """
        if isinstance(name, str):
            first = _block(first_block)
            return find_id(self._rpc, self._contract, name, first, self._rpc.head().number)
        number = _integer(name)
        if number is None:
            raise UsageError(f"{name!r} is not a request id", remedy="Give a number below 2**256")
        return number

    def handle(self, request_id: int | str, first_block: int = 0) -> Handle:
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
        return Handle(
            request_id=request.key.request_id,
            model=model,
            block_number=request.block_number,
            gas_used=None,
            dimensions=dimensions,
            deadline=request.deadline,
            _client=self,
        )

    def answer(self, handle: Handle) -> Result | None:
        """See `Handle.result`."""
        status = self._contract.status(handle.request_id)
        if status is Status.REFUNDED:
            raise RequestRefunded(
                f"request {request_hex(handle.request_id)} was not answered in time; its money is "
                "credit of its refund address",
                remedy="That account gets it with",
            ).ending_in("oracle withdraw --key-file KEY")
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

    def why(self, request_id: int | str, first_block: int = 0) -> Report:
        """What a request waits for, as the chain knows it; see `oracle.why`."""
        number = self.request_id(request_id, first_block)
        return explain(self._rpc, self._contract, number, first_block=_block(first_block))

    def refund(self, request_id: int | str, first_block: int = 0) -> None:
        """Have the escrow of an expired request credited to its refund address.

        Args:
            request_id: anyone's request.
            first_block: where to begin to look for it.

        Raises:
            RequestUnknown: there is no such request.
            TransactionReverted: it has ended, or its deadline has not passed.
        """
        request = self._find(request_id, first_block)
        self._transact(self._contract.refund_calldata(request), about=request)

    def top_up(self, request_id: int | str, wei: int, first_block: int = 0) -> int:
        """Add to an open request's gas money; what it has then (wei).

        Raises:
            RequestUnknown: there is no such request.
            UsageError: it is less than the contract takes.
            TransactionReverted: it has ended, or its deadline has passed.
        """
        added = _wei(wei)
        request = self._find(request_id, first_block)
        least = fees.minimum_top_up(request.gas_money)
        if added < least:
            raise UsageError(
                f"{added} wei is too small a top-up for gas money of {request.gas_money} wei",
                remedy=f"Add at least {least} wei",
            )
        self._transact(self._contract.top_up_calldata(request), added, about=request)
        return request.gas_money + added

    def retry(self, request_id: int | str, gas: int | None = None, first_block: int = 0) -> None:
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
        given = None if gas is None else _integer(gas, most=(1 << 64) - 1)
        if gas is not None and given is None:
            raise UsageError(
                f"{gas!r} is not an amount of gas", remedy="Give a whole number below 2**64"
            )
        request = self._find(request_id, first_block)
        number = request.key.request_id
        answer = self._trail(number, request.block_number).last("AICallbackResult")
        if answer is None:
            raise UsageError(
                f"request {request_hex(number)} has no answer that could be delivered",
                remedy="Ask",
            ).ending_in(f"oracle why {request_hex(number)}")
        limit = request.callback_gas if given is None else given
        call = self._contract.retry_calldata(request, answer.fields["output"], limit)
        self._transact(call, about=request)

    def credit(self) -> int:
        """Wei that `withdraw` would pay: earned fees, refunds, unspent gas money."""
        return self._contract.credit_of(self.account)

    def withdraw(self, to: str) -> int:
        """Send the account's whole credit to an address; the amount in wei.

        Raises:
            UsageError: there is nothing to withdraw, or ``to`` is no address.
            TransactionReverted: the recipient refused the money.
        """
        recipient = _address(to)
        if recipient in (ZERO_ADDRESS, self._oracle):
            raise UsageError(
                f"{recipient} cannot be paid: it is {self._nobody(recipient)}",
                remedy="Name an account of yours",
            )
        amount = self.credit()
        if amount == 0:
            raise UsageError(f"{self.account} has no credit to withdraw")
        self._transact(self._abi.call("withdrawTo(address)", recipient))
        return amount

    def _nobody(self, address: str) -> str:
        return "the oracle itself" if address == self._oracle else "the zero address"

    def _registered(self, model_id: int) -> RegisteredModel:
        number = _integer(model_id)
        found = None if number is None else self._registry.model(number)
        if found is None:
            raise UsageError(
                f"there is no model {model_id!r}",
                remedy=f"Choose an id from 1 to {self._registry.count()}",
            )
        return found

    def _sender(self) -> Account:
        if self._account is None:
            raise UsageError("the client has no account", remedy="Give OracleClient a signer")
        return self._account

    def _trail(self, request_id: int, first_block: int) -> Trail:
        last = self._rpc.head().number
        return trail_of(self._rpc, self._contract, request_id, first_block, last)

    def _find(self, request_id: int | str, first_block: int) -> Request:
        number = self.request_id(request_id, first_block)
        found = self._trail(number, _block(first_block)).request
        if found is None:
            raise RequestUnknown(
                f"no request {request_hex(number)} since block {first_block}",
                remedy="Check the id, the oracle's address, the chain and the first block",
            )
        return found

    def _transact(self, data: bytes, value: int = 0, about: Request | None = None) -> Receipt:
        sender = self._sender()
        number = None if about is None else about.key.request_id
        with self._sending:
            balance = self._rpc.balance(sender.address)
            if balance < value:
                raise AccountUnfunded(
                    f"{sender.address} has {balance} wei, the request costs {value} wei and gas",
                    remedy="Fund the account",
                )
            # Before the estimate: an endpoint words its refusal less clearly than the contract.
            try:
                self._contract.simulate(data, sender.address, value=value)
            except TransactionReverted as error:
                raise explained(error, number) from None
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


def _integer(value: SupportsIndex, most: int = (1 << 256) - 1) -> int | None:
    """A whole number from 0 to ``most``, numpy's included; None for anything else."""
    try:
        number = operator.index(value)
    except TypeError:
        return None
    return number if 0 <= number <= most else None


def _whole(value: SupportsIndex, what: str, bits: int) -> int:
    number = _integer(value, most=(1 << bits) - 1)
    if number is None:
        raise UsageError(f"{value!r} is not {what}", remedy=f"Give a whole number below 2**{bits}")
    return number


def _wei(value: SupportsIndex) -> int:
    return _whole(value, "an amount of wei", 96)


def _nonce(value: SupportsIndex) -> int:
    return _whole(value, "a nonce", 256)


def _block(value: SupportsIndex) -> int:
    return _whole(value, "the number of a block", 64)


def _lifetime(value: SupportsIndex) -> int:
    number = _integer(value, most=MAX_LIFETIME)
    if number is None or number < MIN_LIFETIME:
        raise UsageError(
            f"a request cannot live for {value!r} s",
            remedy=f"Give whole seconds from {MIN_LIFETIME} to {MAX_LIFETIME} (30 days)",
        )
    return number


def _seconds(value: object) -> float:
    """How long to wait."""
    try:
        # A text of a number is as wrong here as everywhere else.
        number = float(value) if isinstance(value, SupportsFloat) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not number >= 0:
        raise UsageError(
            f"{value!r} is not a time to wait", remedy="Give a number of seconds, 0 or more"
        )
    return number


def _address(value: str) -> str:
    found = read_address(value)
    if found is None:
        raise UsageError(
            f"{value} is not an Ethereum address",
            remedy="Give 0x and 40 hex digits with a valid checksum",
        )
    return found


def _credited(value: str) -> str:
    """An address that the contract takes for the owner of credit."""
    found = _address(value)
    if found == ZERO_ADDRESS:
        raise UsageError(
            "the zero address cannot have credit", remedy="Name the account that is to have it"
        )
    return found


def _check_count(model: RegisteredModel, count: int) -> None:
    """Refuse more rows than the model's largest circuit has."""
    most = circuits_of(model.spec)[-1].size
    if count > most:
        raise TensorLength(
            f"model {model.model_id} proves {most} row{'s' if most > 1 else ''} at most at once, "
            f"got {count}",
            remedy="Ask in several requests",
        )


def _array(values: npt.ArrayLike) -> Array:
    """Real values of one or two dimensions.

    Raises:
        TensorEncoding: they are no numbers.
        TensorLength: they are nested more deeply, or not evenly, or there are none.
    """
    if isinstance(values, np.ndarray) and np.iscomplexobj(values):
        # Else numpy drops what is imaginary, with a warning.
        raise _no_numbers("it is complex")
    try:
        array = np.asarray(values, dtype=np.float64)
    except OverflowError:
        raise TensorRange(
            "a value is too large for a floating-point number",
            remedy="Give numbers in the range that `oracle model show` names",
        ) from None
    except (TypeError, ValueError) as error:
        raise _no_numbers(str(error)) from None
    if array.ndim not in (1, 2) or not array.size:
        raise TensorLength(
            f"the input has shape {array.shape}",
            remedy="Give [inputs], or [rows, inputs] for several rows",
        )
    return array


def _no_numbers(reason: str) -> TensorEncoding:
    return TensorEncoding(
        f"the input is no array of numbers ({reason})",
        remedy="Give a list of numbers, or a list of rows of equal length",
    )


def _encode(rows: Array, spec: ModelSpec) -> bytes:
    separator = b"," if spec.codec is Codec.TEXT else b""
    return separator.join(
        tensor.encode(row.tolist(), spec.input, spec.codec, spec.input_ranges) for row in rows
    )


def _decode(data: bytes, spec: TensorSpec, codec: Codec) -> Array:
    """Result bytes as [rows, outputs]."""
    return np.array(tensor.decode_rows(data, spec, codec), dtype=np.float64)
