"""Doubles for tests of the node and of whatever builds on it.

    FakeChain   an in-memory chain that speaks JSON-RPC and holds one oracle and one registry
    FaultyRpc   an endpoint in front of another that fails on demand, before or after the call
    FakeProver  a prover that answers at once, or when told, or with an error

`FakeChain` and `FaultyRpc` are transports of `oracle.chain.rpc.Rpc`, so the node's own encoding
and decoding are under test too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hexbytes import HexBytes

from oracle import tensor
from oracle.chain.codec import ContractAbi
from oracle.chain.contracts import Status
from oracle.chain.input_ranges import deployed_code
from oracle.chain.registration import registration
from oracle.chain.rpc import Rpc, Transport
from oracle.circuits.bundle import srs_unsafe
from oracle.errors import OracleError, RpcLimit, RpcRejected
from oracle.prover.base import ProofOutcome
from oracle.types import (
    ZERO_ADDRESS,
    InputKind,
    ModelSpec,
    Proof,
    ProofJob,
    ProofSystem,
    RegisteredModel,
    Trust,
)

ORACLE = to_checksum_address("0x" + "0a" * 20)
REGISTRY = to_checksum_address("0x" + "0b" * 20)
CALLER = to_checksum_address("0x" + "0c" * 20)
PUBLISHER = to_checksum_address("0x" + "0d" * 20)
_GAS_LIMIT = 30_000_000
_GAS_USED = 500_000
#: Gas that a request on the fake chain is quoted for.
GAS_UNITS = 1_000_000
_ETHER = 10**18
#: Of `IInferenceOracle.Skipped`; the fake chain gives no other reason.
NOT_OPEN = 0


def proof_of(instances: Sequence[int]) -> bytes:
    """The proof that `FakeProver` makes, and that `FakeChain` accepts, for public instances."""
    return keccak(b"".join(value.to_bytes(32, "big") for value in instances))


# --- the prover ---


class FakeProver:
    """A `Prover` that answers every job with ``answer(inputs)``.

    Args:
        answer: the model: fixed-point inputs to fixed-point outputs.
        slots: jobs at the same time.

    Attributes:
        submitted: every job, in order.
        cancelled: ids of cancelled jobs.
        errors: taken from the left, one a job, instead of an answer.
        held: while True jobs do not end.
        most_memory: sum of the caps of jobs that run together (bytes), None for any.
    """

    def __init__(
        self, answer: Callable[[tuple[int, ...]], tuple[int, ...]], slots: int = 1
    ) -> None:
        self._answer = answer
        self._slots = slots
        self.most_memory: int | None = None
        self._running: dict[str, ProofJob] = {}
        self.submitted: list[ProofJob] = []
        self.cancelled: list[str] = []
        self.errors: deque[OracleError] = deque()
        self.held = False

    def submit(self, job: ProofJob) -> None:
        """Start a job."""
        if job.job_id in self._running or not self.capacity():
            raise ValueError(f"job {job.job_id} cannot start")
        self._running[job.job_id] = job
        self.submitted.append(job)

    def poll(self) -> list[ProofOutcome]:
        """Every running job's end, unless held."""
        if self.held:
            return []
        outcomes = [ProofOutcome(job.job_id, self._result(job)) for job in self._running.values()]
        self._running.clear()
        return outcomes

    def cancel(self, job_id: str) -> None:
        """Stop a job."""
        if self._running.pop(job_id, None):
            self.cancelled.append(job_id)

    def capacity(self, memory_bytes: int = 0) -> int:
        """Free slots; none while what runs leaves too little memory."""
        taken = sum(job.memory_bytes for job in self._running.values())
        if self.most_memory is not None and taken and taken + memory_bytes > self.most_memory:
            return 0
        return self._slots - len(self._running)

    def close(self) -> None:
        """Stop everything."""
        self._running.clear()

    def _result(self, job: ProofJob) -> Proof | OracleError:
        if self.errors:
            return self.errors.popleft()
        outputs = self._answer(job.inputs)
        instances = (
            *(tensor.to_field(v) for v in job.inputs),
            *job.tag,
            *(tensor.to_field(v) for v in outputs),
        )
        return Proof(
            job_id=job.job_id,
            proof=proof_of(instances),
            instances=instances,
            outputs=outputs,
            witness_seconds=0.1,
            prove_seconds=0.3,
            verify_seconds=0.1,
            peak_memory_bytes=1 << 20,
        )


# --- the endpoint ---


@dataclass(slots=True)
class _Fault:
    error: OracleError
    times: int
    after: bool


class FaultyRpc:
    """An endpoint that fails on demand.

    Args:
        inner: the endpoint that answers otherwise.

    Attributes:
        calls: names of all calls, failed ones included.
    """

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._faults: dict[str, _Fault] = {}
        self.calls: list[str] = []

    def fail(self, method: str, error: OracleError, *, times: int = 1, after: bool = False) -> None:
        """Let the next calls of a method fail; with ``after``, once they have taken effect."""
        self._faults[method] = _Fault(error, times, after)

    def send(self, method: str, params: list[Any]) -> Any:
        """See `oracle.chain.rpc.Transport`."""
        self.calls.append(method)
        fault = self._faults.get(method)
        if fault is None or fault.times == 0:
            return self._inner.send(method, params)
        fault.times -= 1
        if fault.after:
            self._inner.send(method, params)
        raise fault.error


# --- the chain ---


@dataclass(frozen=True, slots=True)
class _Opened:
    """A request's opening: the events' fields."""

    request_id: int
    model_id: int
    input: bytes
    deadline: int
    fee: int
    gas_money: int


@dataclass(frozen=True, slots=True)
class _ToppedUp:
    """Gas money added to a request."""

    request_id: int
    wei: int


@dataclass(frozen=True, slots=True)
class _Closed:
    """A request's end."""

    request_id: int
    status: Status
    beneficiary: str
    #: Wei for the gas of whoever fulfilled it.
    gas_paid: int = 0


@dataclass(frozen=True, slots=True)
class _Sent:
    """A signed transaction and what it does."""

    hash: bytes
    raw: bytes
    sender: str
    nonce: int
    to: str
    data: bytes
    gas: int
    max_fee: int


_Action = _Opened | _ToppedUp | _Closed | _Sent


class _Refused(Exception):
    """A call reverts with this error of the contract's."""

    def __init__(self, name: str, *arguments: Any) -> None:
        self.name = name
        self.arguments = arguments
        super().__init__(name)


@dataclass(slots=True)
class _Block:
    number: int
    hash: bytes
    parent: bytes
    timestamp: int
    actions: list[_Action]
    logs: list[dict[str, Any]] = field(default_factory=list)
    receipts: dict[bytes, dict[str, Any]] = field(default_factory=dict)


class FakeChain:
    """A chain with one oracle and one registry, for `Rpc` to talk to.

    Args:
        chain_id: what it calls itself.
        clock: seconds since the epoch, for block timestamps.

    Attributes:
        automine: mine each request and transaction at once.
        mempool: transactions that wait.
        received: raw bytes of every broadcast, repeats included.
        base_fee: wei per gas, of every block.
        tip: wei per gas that every block took.
        log_limit: most blocks that a log query may cover.
        balances: wei by account; accounts not in it are rich.
        revert_with: an error of the contract's with which every fulfilment fails.
        revert_batches_with: the same for fulfilments of several requests.
    """

    def __init__(self, chain_id: int = 31337, clock: Callable[[], float] = lambda: 0) -> None:
        self.chain_id = chain_id
        self.automine = True
        self.mempool: list[_Sent] = []
        self.received: list[bytes] = []
        self.base_fee = 10**9
        self.tip = 10**8
        self.log_limit: int | None = None
        self.balances: dict[str, int] = {}
        self.revert_with: tuple[str, tuple[Any, ...]] | None = None
        self.revert_batches_with: tuple[str, tuple[Any, ...]] | None = None
        self._clock = clock
        self._oracle = ContractAbi.of("InferenceOracle")
        self._registry = ContractAbi.of("ModelRegistry")
        self._models: dict[int, RegisteredModel] = {}
        self._code: dict[str, bytes] = {ORACLE: b"\x01", REGISTRY: b"\x01"}
        self._waiting: list[_Action] = []
        self._dropped: dict[int, _Opened] = {}
        self._made = 0
        self._blocks = [_Block(0, keccak(b"genesis"), bytes(32), int(clock()), [])]
        self._replay()

    def rpc(self, **options: Any) -> Rpc:
        """An `Rpc` on this chain alone."""
        return Rpc(["http://fake"], self.chain_id, transport=lambda _url, _timeout: self, **options)

    @property
    def height(self) -> int:
        """Number of the latest block."""
        return self._blocks[-1].number

    # --- what others do on the chain ---

    def register(
        self,
        spec: ModelSpec,
        *,
        verifier_code: bytes,
        fee: int = 0,
        receiver_bps: int = 0,
        input_kind: InputKind = InputKind.VALUES,
        system: ProofSystem = ProofSystem.HALO2_KZG,
    ) -> int:
        """Register a model; its verifiers' code is ``verifier_code``. Its id."""
        model_id = len(self._models) + 1
        verifier, *others = (
            to_checksum_address(keccak(b"verifier" + bytes([model_id, index]))[:20])
            for index in range(1 + len(spec.batches))
        )
        self._code.update(dict.fromkeys((verifier, *others), verifier_code))
        self._models[model_id] = RegisteredModel(
            model_id=model_id,
            spec=spec,
            verifier=verifier,
            fee=fee,
            receiver=PUBLISHER,
            receiver_bps=receiver_bps,
            is_open=True,
            batch_verifiers=tuple(others),
            input_checker=self._checker(model_id, spec),
            input_kind=input_kind,
            systems=(system,) * (1 + len(others)),
        )
        return model_id

    def _checker(self, model_id: int, spec: ModelSpec) -> str:
        if not spec.input_ranges:
            return ZERO_ADDRESS
        address = to_checksum_address(keccak(b"checker" + bytes([model_id]))[:20])
        self._code[address] = deployed_code(spec.input_ranges)
        return address

    def change_checker(self, model_id: int, code: bytes) -> None:
        """Put other code where a model's input checker is."""
        self._code[self._models[model_id].input_checker] = code

    def change_code(self, model_id: int, code: bytes) -> None:
        """Put other code where a model's verifiers are."""
        model = self._models[model_id]
        self._code.update(dict.fromkeys((model.verifier, *model.batch_verifiers), code))

    def request(
        self,
        model_id: int,
        data: bytes,
        *,
        lifetime: int = 3600,
        gas_money: int = 10**16,
    ) -> int:
        """Open a request, of as many rows as ``data`` has; its id."""
        model = self._models.get(model_id)
        self._made += 1
        request_id = int.from_bytes(keccak(b"request%d" % self._made), "big")
        opened = _Opened(
            request_id=request_id,
            model_id=model_id,
            input=data,
            deadline=int(self._clock()) + lifetime,
            fee=model.fee if model else 0,
            gas_money=gas_money,
        )
        self._include(opened)
        return request_id

    def reopen(self, request_ids: Sequence[int]) -> None:
        """Mine requests again that a reorg dropped."""
        self._append([self._dropped[request_id] for request_id in request_ids])

    def top_up(self, request_id: int, wei: int) -> None:
        """Add to a request's gas money."""
        self._include(_ToppedUp(request_id, wei))

    def end(
        self, request_id: int, status: Status = Status.FULFILLED, beneficiary: str = PUBLISHER
    ) -> None:
        """Let somebody else fulfil or refund a request."""
        self._include(_Closed(request_id, status, beneficiary))

    def mine(self, blocks: int = 1) -> None:
        """Mine what waits and then empty blocks."""
        for _ in range(blocks):
            waiting, self._waiting = self._waiting, []
            self._append([*waiting, *self._take_ready()])

    def reorg(self, depth: int, *, keep: bool) -> None:
        """Replace the last blocks by others; with ``keep``, what was in them is in the last."""
        dropped = self._blocks[-depth:]
        del self._blocks[-depth:]
        self._made += 1
        actions = [action for block in dropped for action in block.actions]
        self._dropped.update((a.request_id, a) for a in actions if isinstance(a, _Opened))
        if not keep:
            actions = []
        self._replay()
        for index in range(depth):
            self._append(actions if index == depth - 1 else [])

    def status(self, request_id: int) -> Status:
        """Where the contract says a request stands."""
        return self._statuses.get(request_id, Status.UNKNOWN)

    def fulfilments(self, request_id: int) -> int:
        """How often a request was fulfilled on the present chain."""
        topics = (self._oracle.topic("RequestFulfilled"), request_id.to_bytes(32, "big"))
        wanted = ["0x" + topic.hex() for topic in topics]
        return sum(log["topics"][:2] == wanted for block in self._blocks for log in block.logs)

    # --- JSON-RPC ---

    def send(self, method: str, params: list[Any]) -> Any:
        """See `oracle.chain.rpc.Transport`."""
        handler: Callable[..., Any] = getattr(self, f"_{method}")
        return handler(*params)

    def _eth_chainId(self) -> str:  # noqa: N802 - the method's name on the wire
        return hex(self.chain_id)

    def _eth_getBlockByNumber(self, tag: str, _: bool) -> Any:  # noqa: N802, FBT001
        number = self.height if tag == "latest" else int(tag, 16)
        if number > self.height:
            return None
        block = self._blocks[number]
        return {
            "number": hex(block.number),
            "hash": "0x" + block.hash.hex(),
            "parentHash": "0x" + block.parent.hex(),
            "timestamp": hex(block.timestamp),
            "baseFeePerGas": hex(self.base_fee),
            "gasLimit": hex(_GAS_LIMIT),
        }

    def _eth_getLogs(self, query: dict[str, Any]) -> Any:  # noqa: N802
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        if self.log_limit is not None and last - first + 1 > self.log_limit:
            raise RpcLimit("query covers too many blocks")
        topics = query["topics"][0]
        return [
            log
            for block in self._blocks[first : last + 1]
            for log in block.logs
            if log["topics"][0] in topics
        ]

    def _eth_getCode(self, address: str, _: str) -> str:  # noqa: N802
        return "0x" + self._code.get(address, b"").hex()

    def _eth_getBalance(self, address: str, _: str) -> str:  # noqa: N802
        return hex(self.balances.get(address, 100 * _ETHER))

    def _eth_getTransactionCount(self, address: str, _: str) -> str:  # noqa: N802
        return hex(self._nonces.get(address, 0))

    def _eth_maxPriorityFeePerGas(self) -> str:  # noqa: N802
        return hex(10**8)

    def _eth_gasPrice(self) -> str:  # noqa: N802
        return hex(self.base_fee + 10**8)

    def _eth_feeHistory(self, blocks: str, _: str, __: list[int]) -> Any:  # noqa: N802
        amount = min(int(blocks, 16), self.height + 1)
        return {
            "baseFeePerGas": [hex(self.base_fee)] * (amount + 1),
            "gasUsedRatio": [0.5] * amount,
            "reward": [[hex(self.tip)]] * amount,
        }

    def _eth_getTransactionReceipt(self, transaction_hash: str) -> Any:  # noqa: N802
        wanted = bytes.fromhex(transaction_hash[2:])
        return next((b.receipts[wanted] for b in self._blocks if wanted in b.receipts), None)

    def _eth_sendRawTransaction(self, raw: str) -> str:  # noqa: N802
        data = bytes.fromhex(raw[2:])
        self.received.append(data)
        sent = _decode(data)
        known = any(sent.hash in block.receipts for block in self._blocks)
        if known or sent in self.mempool:
            raise RpcRejected("already known")
        if sent.nonce < self._nonces.get(sent.sender, 0):
            raise RpcRejected("nonce too low")
        rival = next(
            (t for t in self.mempool if (t.sender, t.nonce) == (sent.sender, sent.nonce)), None
        )
        if rival is not None:
            if sent.max_fee < rival.max_fee * 1.1:
                raise RpcRejected("replacement transaction underpriced")
            self.mempool.remove(rival)
        self.mempool.append(sent)
        if self.automine:
            self.mine()
        return "0x" + sent.hash.hex()

    def _eth_call(self, call: dict[str, Any], _: str) -> str:
        data = bytes.fromhex(call["data"][2:])
        if call["to"] == REGISTRY:
            return "0x" + self._call_registry(data).hex()
        if data[:4] == self._oracle.selector("registry"):
            return "0x" + self._oracle.encode_result("registry", REGISTRY).hex()
        if data[:4] == self._oracle.selector("status"):
            (request_id,) = self._oracle.arguments("status", data)
            return "0x" + self._oracle.encode_result("status", self.status(request_id)).hex()
        if data[:4] == self._oracle.selector("commitments"):
            (request_id,) = self._oracle.arguments("commitments", data)
            return "0x" + self._commitment(request_id).hex()
        try:
            delivered = self._deliverable(data)
        except _Refused as refused:
            raise _reverted(self._oracle, refused.name, *refused.arguments) from None
        if data[:4] == self._oracle.selector("fulfillBatch"):
            return "0x" + self._oracle.encode_result("fulfillBatch", len(delivered)).hex()
        return "0x"

    def _call_registry(self, data: bytes) -> bytes:
        abi = self._registry
        if data[:4] == abi.selector("count"):
            return abi.encode_result("count", len(self._models))
        functions = ("isOpen", "trustOf", "getModel")
        function = next(name for name in functions if data[:4] == abi.selector(name))
        (model_id,) = abi.arguments(function, data)
        model = self._models.get(model_id)
        if function == "isOpen":
            return abi.encode_result("isOpen", model is not None and model.is_open)
        if model is None:
            raise _reverted(abi, "UnknownModel", model_id)
        if function == "trustOf":
            unsafe = srs_unsafe(model.spec)
            kind = Trust.ONE_PARTY if unsafe else Trust.UNIVERSAL_CEREMONY
            return abi.encode_result("trustOf", (int(kind), bytes(32), 0))
        row = registration(
            model.spec,
            verifiers=[model.verifier, *model.batch_verifiers],
            fee=model.fee,
            receiver=model.receiver,
            receiver_bps=model.receiver_bps,
            token=model.token,
            input_checker=model.input_checker,
        )
        row["inputKind"] = int(model.input_kind)
        row["verifiers"] = [
            (*circuit[:4], int(system), *circuit[5:])
            for circuit, system in zip(row["verifiers"], model.systems, strict=True)
        ]
        return abi.encode_result("getModel", _tuple(row))

    # --- execution ---

    def _include(self, action: _Action) -> None:
        self._waiting.append(action)
        if self.automine:
            self.mine()

    def _replay(self) -> None:
        """Work the state out again from the blocks."""
        self._statuses: dict[int, Status] = {}
        self._opened: dict[int, _Opened] = {}
        self._nonces: dict[str, int] = {}
        for block in self._blocks:
            self._execute(block)

    def _append(self, actions: list[_Action]) -> None:
        parent = self._blocks[-1]
        number = parent.number + 1
        block_hash = keccak(parent.hash + b"%d/%d" % (number, self._made))
        timestamp = max(int(self._clock()), parent.timestamp)
        block = _Block(number, block_hash, parent.hash, timestamp, actions)
        self._blocks.append(block)
        self._execute(block)

    def _take_ready(self) -> list[_Sent]:
        """Transactions that pay the base fee and leave no gap in their account's nonces."""
        nonces = dict(self._nonces)
        ready: list[_Sent] = []
        for sent in sorted(self.mempool, key=lambda tx: tx.nonce):
            if sent.max_fee >= self.base_fee and sent.nonce == nonces.get(sent.sender, 0):
                ready.append(sent)
                nonces[sent.sender] = sent.nonce + 1
        self.mempool = [sent for sent in self.mempool if sent not in ready]
        return ready

    def _execute(self, block: _Block) -> None:
        block.logs.clear()
        block.receipts.clear()
        for action in block.actions:
            if isinstance(action, _Opened):
                self._open(block, action)
            elif isinstance(action, _ToppedUp):
                self._top_up(block, action)
            elif isinstance(action, _Closed):
                self._close(block, action, keccak(repr(action).encode()))
            else:
                self._transact(block, action)

    def _open(self, block: _Block, opened: _Opened) -> None:
        self._statuses[opened.request_id] = Status.OPEN
        self._opened[opened.request_id] = opened
        transaction_hash = keccak(repr(opened).encode())
        self._log(
            block,
            transaction_hash,
            "AICallbackRequest",
            account=CALLER,
            requestId=opened.request_id,
            modelId=opened.model_id,
            input=opened.input,
            callbackContract=ZERO_ADDRESS,
            gasLimit=0,
            callbackData=b"",
        )
        self._log(
            block,
            transaction_hash,
            "RequestOpened",
            requestId=opened.request_id,
            refundTo=CALLER,
            deadline=opened.deadline,
            fee=opened.fee,
            gasMoney=opened.gas_money,
            gasUnits=GAS_UNITS,
            protocolBps=0,
        )

    def _top_up(self, block: _Block, topped_up: _ToppedUp) -> None:
        request_id = topped_up.request_id
        if self.status(request_id) is not Status.OPEN:
            return
        opened = self._opened[request_id]
        self._opened[request_id] = replace(opened, gas_money=opened.gas_money + topped_up.wei)
        self._log(
            block,
            keccak(repr(topped_up).encode()),
            "RequestToppedUp",
            requestId=request_id,
            gasMoney=self._opened[request_id].gas_money,
        )

    def _close(self, block: _Block, closed: _Closed, transaction_hash: bytes) -> None:
        if self.status(closed.request_id) is not Status.OPEN:
            return
        self._statuses[closed.request_id] = closed.status
        request_id, who = closed.request_id, closed.beneficiary
        if closed.status is Status.FULFILLED:
            self._log(
                block,
                transaction_hash,
                "RequestFulfilled",
                requestId=request_id,
                payee=who,
                feePaid=self._opened[request_id].fee,
                gasPaid=closed.gas_paid,
                callbackSucceeded=False,
            )
        else:
            self._log(
                block,
                transaction_hash,
                "RequestRefunded",
                requestId=request_id,
                refundTo=who,
                fee=0,
                gasMoney=0,
            )

    def _transact(self, block: _Block, sent: _Sent) -> None:
        if sent.nonce != self._nonces.get(sent.sender, 0):
            return
        self._nonces[sent.sender] = sent.nonce + 1
        succeeded, first_log = True, len(block.logs)
        if sent.to == ORACLE:
            try:
                delivered = self._deliverable(sent.data)
            except _Refused:
                succeeded, delivered = False, []
            _, items, payee, _, _ = self._call_of(sent.data)
            for request_id in [item[0] for item in items] if succeeded else []:
                if request_id in delivered:
                    end = _Closed(
                        request_id,
                        Status.FULFILLED,
                        to_checksum_address(payee),
                        _GAS_USED * self.base_fee // len(delivered),
                    )
                    self._close(block, end, sent.hash)
                else:
                    self._log(
                        block, sent.hash, "RequestSkipped", requestId=request_id, reason=NOT_OPEN
                    )
        block.receipts[sent.hash] = {
            "transactionHash": "0x" + sent.hash.hex(),
            "status": hex(succeeded),
            "blockNumber": hex(block.number),
            "blockHash": "0x" + block.hash.hex(),
            "gasUsed": hex(min(sent.gas, _GAS_USED)),
            "effectiveGasPrice": hex(self.base_fee),
            "logs": block.logs[first_log:],
        }

    def _call_of(self, data: bytes) -> tuple[bool, list[Any], str, Sequence[int], bytes]:
        """A fulfilment's arguments: whether it is a batch, its items, payee, outputs, proof."""
        if data[:4] == self._oracle.selector("fulfillBatch"):
            items, payee, outputs, proof = self._oracle.arguments("fulfillBatch", data)
            return True, list(items), payee, outputs, proof
        *item, payee, outputs, proof = self._oracle.arguments("fulfill", data)
        return False, [tuple(item)], payee, outputs, proof

    def _deliverable(self, data: bytes) -> list[int]:
        """The requests that a fulfilment would end.

        Raises:
            _Refused: it reverts.
        """
        is_batch, items, payee, outputs, proof = self._call_of(data)
        delivered = []
        for request_id, preimage, *_ in items:
            try:
                self._check_item(request_id, preimage)
            except _Refused:
                if not is_batch:
                    raise
            else:
                delivered.append(request_id)
        if not delivered:
            raise _Refused("NothingToDeliver")
        refusal = self.revert_with or (self.revert_batches_with if is_batch else None)
        if refusal is not None:
            raise _Refused(refusal[0], *refusal[1])
        spec = self._models[items[0][1][1]].spec
        rows = [
            row for _, _, input_, _ in items for row in tensor.rows(input_, spec.input, spec.codec)
        ]
        if is_batch and len(rows) != len(items):
            raise _Refused("InputLength", len(rows), len(items))
        # The smallest circuit that has room, and no other.
        size = min(s for s in (1, *(b.size for b in spec.batches)) if s >= len(rows))
        if len(outputs) != size * spec.output.length:
            raise _Refused("OutputLength", len(outputs), size * spec.output.length)
        tag = tensor.tag(self.chain_id, ORACLE, [item[0] for item in items], payee, spec.tag)
        inputs = [tensor.to_field(value) for value in tensor.pad(rows, size)]
        if proof != proof_of([*inputs, *tag, *outputs]):
            raise _Refused("ProofRejected")
        return delivered

    def _check_item(self, request_id: int, preimage: tuple[Any, ...]) -> None:
        if self.status(request_id) is not Status.OPEN:
            raise _Refused("NotOpen", request_id, self.status(request_id))
        if preimage != self._preimage(request_id):
            raise _Refused("CommitmentMismatch", request_id)
        deadline = self._opened[request_id].deadline
        if self._blocks[-1].timestamp > deadline:
            raise _Refused("DeadlinePassed", deadline)

    def _preimage(self, request_id: int) -> tuple[Any, ...]:
        opened = self._opened[request_id]
        terms = (CALLER.lower(), opened.model_id, ZERO_ADDRESS, 0, CALLER.lower(), opened.deadline)
        money = (opened.fee, opened.gas_money, GAS_UNITS, 0)
        return (*terms, *money, keccak(opened.input), keccak(b""))

    def _commitment(self, request_id: int) -> bytes:
        status = self.status(request_id)
        if status is Status.OPEN:
            # Every field is one word, as in `fulfill`'s own encoding of the struct.
            head = self._oracle.call("refund", request_id, self._preimage(request_id))
            return keccak(head[36:])
        return {Status.UNKNOWN: 0, Status.FULFILLED: 1, Status.REFUNDED: 2}[status].to_bytes(
            32, "big"
        )

    def _log(self, block: _Block, transaction_hash: bytes, name: str, **fields: Any) -> None:
        topics, data = self._oracle.encode_event(name, **fields)
        block.logs.append(
            {
                "address": ORACLE,
                "topics": ["0x" + topic.hex() for topic in topics],
                "data": "0x" + data.hex(),
                "blockNumber": hex(block.number),
                "blockHash": "0x" + block.hash.hex(),
                "transactionHash": "0x" + transaction_hash.hex(),
                "logIndex": hex(len(block.logs)),
            }
        )


def _reverted(abi: ContractAbi, name: str, *arguments: Any) -> RpcRejected:
    return RpcRejected("execution reverted", data=abi.encode_error(name, *arguments))


def _decode(raw: bytes) -> _Sent:
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    return _Sent(
        hash=keccak(raw),
        raw=raw,
        sender=Account.recover_transaction(raw),
        nonce=int(fields["nonce"]),
        to=to_checksum_address(fields["to"]),
        data=bytes(fields["data"]),
        gas=int(fields["gas"]),
        max_fee=int(fields["maxFeePerGas"]),
    )


def _tuple(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(_tuple(v) if isinstance(v, dict) else v for v in row.values())
