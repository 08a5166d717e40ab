"""The Python requester: numbers in, proved numbers out.

client = OracleClient(Rpc([url], chain_id), oracle_address, signer)
ticket = client.request(model_id, [5.1, 3.5, 1.4, 0.2])
result = client.wait(ticket, timeout=60)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from oracle import tensor
from oracle.chain.account import Account
from oracle.chain.codec import ContractAbi
from oracle.chain.contracts import OracleContract, RegistryContract
from oracle.chain.evidence import LogQuery
from oracle.chain.rpc import Receipt, Rpc
from oracle.chain.signer import Signer
from oracle.errors import AccountUnfunded, RequestTimeout, UsageError
from oracle.types import ZERO_ADDRESS, RegisteredModel, Request

#: Seconds that a request leaves for an answer unless told otherwise.
LIFETIME = 3600


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request that was mined."""

    request_id: int
    model: RegisteredModel
    block_number: int
    gas_used: int


@dataclass(frozen=True, slots=True)
class Result:
    """A proved answer."""

    request_id: int
    #: Real values, one per output element.
    values: tuple[float, ...]
    payee: str
    transaction_hash: bytes
    block_number: int


class OracleClient:
    """Requests inferences from an account and reads their proved answers.

    Args:
        rpc: endpoints of the chain.
        oracle: address of the InferenceOracle.
        signer: the account that pays.
        clock: monotonic seconds.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        rpc: Rpc,
        oracle: str,
        signer: Signer,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rpc = rpc
        self._abi = ContractAbi.of("InferenceOracle")
        self._oracle = oracle
        self._contract = OracleContract(rpc, oracle)
        self._registry = RegistryContract(rpc, self._contract.registry())
        self._sender = Account(rpc, signer, clock, sleep)
        self._clock = clock
        self._sleep = sleep

    @property
    def account(self) -> str:
        """The account that pays and is paid."""
        return self._sender.address

    def model(self, model_id: int) -> RegisteredModel:
        """A registered model.

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
            raise UsageError(f"model {model_id} takes no new requests", remedy="Choose another")
        return found

    def request(self, model_id: int, values: Sequence[float], lifetime: int = LIFETIME) -> Ticket:
        """Send a request without a callback and wait until it is mined.

        Args:
            model_id: a registered model.
            values: real values, one per input element.
            lifetime: seconds until the request can be refunded instead.

        Raises:
            TensorError: the values do not fit the model; nothing was sent.
            AccountUnfunded: the account cannot pay; nothing was sent.
            TransactionReverted: the contract refused.
        """
        model = self.model(model_id)
        data = tensor.encode(values, model.spec.input, model.spec.codec)
        value = self._call("estimateFee", model_id, 0)
        deadline = self._rpc.head().timestamp + lifetime
        call = self._abi.call(
            "request", model_id, data, ZERO_ADDRESS, 0, b"", self._sender.address, deadline
        )
        receipt = self._transact(call, value)
        block = receipt.block_number
        opened = self._rpc.logs(
            LogQuery(self._oracle, (self._abi.topic("RequestOpened"),), block, block)
        )
        (mine,) = [log for log in opened if log.transaction_hash == receipt.transaction_hash]
        request_id = self._abi.event("RequestOpened", mine)["requestId"]
        return Ticket(request_id, model, block, receipt.gas_used)

    def wait(self, ticket: Ticket, timeout: float, poll: float = 0.25) -> Result:
        """The proved answer.

        Raises:
            RequestTimeout: none came within ``timeout`` seconds.
        """
        deadline = self._clock() + timeout
        while True:
            result = self.result(ticket)
            if result is not None:
                return result
            if self._clock() >= deadline:
                raise RequestTimeout(
                    f"request {ticket.request_id:#066x} has no answer after {timeout:.0f} s",
                    remedy="Is a node running that serves this model? The money is refundable "
                    "after the deadline",
                )
            self._sleep(poll)

    def result(self, ticket: Ticket) -> Result | None:
        """The proved answer, or None while there is none."""
        topics = tuple(map(self._abi.topic, ("AICallbackResult", "RequestFulfilled")))
        logs = self._rpc.logs(
            LogQuery(self._oracle, topics, ticket.block_number, self._rpc.head().number)
        )
        mine = {
            log.topics[0]: log
            for log in logs
            if ticket.request_id.to_bytes(32, "big") in log.topics[1:3]
        }
        if len(mine) < len(topics):
            return None
        answer, fulfilled = (mine[topic] for topic in topics)
        output = self._abi.event("AICallbackResult", answer)["output"]
        return Result(
            request_id=ticket.request_id,
            values=tensor.decode(output, ticket.model.spec.output, ticket.model.spec.codec),
            payee=self._abi.event("RequestFulfilled", fulfilled)["payee"],
            transaction_hash=answer.transaction_hash,
            block_number=answer.block_number,
        )

    def refund(self, request_id: int, first_block: int = 0) -> None:
        """Have the escrow of an expired request credited to its refund address.

        Args:
            request_id: anyone's request.
            first_block: where to begin to look for it.

        Raises:
            UsageError: there is no such request.
            TransactionReverted: it has ended, or its deadline has not passed.
        """
        for event in self._contract.events(first_block, self._rpc.head().number):
            if isinstance(event, Request) and event.key.request_id == request_id:
                self._transact(self._contract.refund_calldata(event))
                return
        raise UsageError(
            f"no request {request_id:#066x} since block {first_block}",
            remedy="Check the id, the oracle's address and the first block",
        )

    def credit(self) -> int:
        """Wei that `withdraw` would pay: earned fees, refunds, unspent gas money."""
        return self._call("creditOf", ZERO_ADDRESS, self._sender.address)

    def withdraw(self, to: str) -> int:
        """Send the account's whole credit to an address; the amount in wei.

        Raises:
            UsageError: there is nothing to withdraw.
            TransactionReverted: the recipient refused the money.
        """
        amount = self.credit()
        if amount == 0:
            raise UsageError(f"{self._sender.address} has no credit to withdraw")
        self._transact(self._abi.call("withdrawTo(address)", to))
        return amount

    def _call(self, function: str, *arguments: object) -> int:
        def read(result: bytes) -> int:
            return int(self._abi.result(function, result))

        return self._rpc.call(self._oracle, self._abi.call(function, *arguments), read=read)

    def _transact(self, data: bytes, value: int = 0) -> Receipt:
        sender = self._sender.address
        balance = self._rpc.balance(sender)
        if balance < value:
            raise AccountUnfunded(
                f"{sender} has {balance} wei, the request costs {value} wei and gas",
                remedy="Fund the account",
            )
        # Before the estimate: an endpoint words its refusal less clearly than the contract does.
        self._contract.simulate(data, sender, value=value)
        return self._sender.send(self._oracle, data, value)
