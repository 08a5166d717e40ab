"""A node between a chain, endpoints, a prover and a disk that all misbehave by one seed.

The contracts are the real ones on anvil, the endpoints real HTTP servers, the store a real SQLite
file; the circuit's verifier and the prover are doubles. Time is the world's own, one block a
second, and nothing runs beside anything else: the same seed gives the same run. What became of the
requests is read from the chain alone.
"""

from __future__ import annotations

import io
import random
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from oracle import tensor
from oracle.chain import contracts
from oracle.chain.contracts import OracleContract, RegistryContract
from oracle.chain.registration import registration
from oracle.chain.rpc import HttpTransport, Rpc, Transport
from oracle.chain.signer import LocalSigner
from oracle.config import NodeConfig
from oracle.devnet import CHAIN_ID, Anvil, deploy_contract, transact
from oracle.errors import (
    OracleError,
    ProverCrashed,
    ProverInput,
    ProverMemory,
    ProverTimeout,
    ProverUnavailable,
    StoreError,
)
from oracle.log import make_logger, request_hex
from oracle.node import Node, Parts
from oracle.policy import Reason, ServedCircuit, ServedModel
from oracle.prover.base import ProofOutcome
from oracle.store.ledger import Store
from oracle.store.states import IntentState, RequestState
from oracle.testing import proof_of
from oracle.types import (
    ZERO_ADDRESS,
    BatchVerifier,
    CircuitFiles,
    ModelSpec,
    Proof,
    ProofJob,
    Request,
    TensorSpec,
)

from .proxy import FaultyEndpoint, Upstream, endpoints

#: Everything that must have gone wrong at least once in a whole run.
KINDS = frozenset(
    {
        *("rpc_error", "http_500", "http_429", "truncated_body", "closed_connection"),
        *("answer_lost", "hanging_socket", "stale_replica", "provider_limit", "truncated_logs"),
        *("expired_key", "dripping_answer", "flooding_answer"),
        *("lying_logs", "lying_receipt", "lying_header", "wrong_chain"),
        "lying_code",
        *("transaction_dropped", "transaction_replaced", "base_fee_spike", "rival_first"),
        *("rival_beside_ours", "topped_up"),
        *(f"reorg_{depth}" for depth in range(1, 11)),
        *("prover_panic", "prover_memory", "prover_timeout", "prover_silent", "prover_input"),
        *("prover_unavailable", "disk_full", "killed"),
        *("consumer_reverts", "consumer_burns_gas", "consumer_bombs"),
    }
)
#: Seconds since the epoch at which a world begins.
_BEGIN = 1_800_000_000
_ETHER = 10**18
_GWEI = 10**9
_CALLBACK_GAS = 200_000
_CALLERS = 6
#: Seconds that some requests leave: fewer than the node's margin.
_SHORT = 15
#: Of `InferenceOracle.DEFAULT_LIFETIME`.
_LIFETIME = 24 * 3600
#: First inputs that the prover never manages.
_NEVER = 900
#: Ticks without faults in which everything that is left must come to its end; no fewer than the
#: node takes to look again at what it refused.
_CALM = 400
_LEAST_CALM = 80
_LONGEST_PAUSE = 30.0
#: Reasons that do not last for a request with plenty of time, and one that no proof here gives.
_PASSING = (Reason.FEE_LOW, Reason.UNKNOWN_MODEL, Reason.VERIFIER_DIFFERS, "TRANSACTION_REVERTED")


class Killed(BaseException):
    """The process is gone: nothing may catch it."""


class MortalTransport:
    """A connection in whose calls the node may die, before or after the endpoint hears of them."""

    def __init__(self, inner: Transport, world: World) -> None:
        self._inner = inner
        self._world = world

    def send(self, method: str, params: list[Any]) -> Any:
        """See `oracle.chain.rpc.Transport`."""
        self._world.maybe_die()
        answer = self._inner.send(method, params)
        self._world.maybe_die()
        return answer


class FaultyProver:
    """A prover whose proofs take a while of the world's time and go wrong by plan."""

    def __init__(self, world: World, slots: int) -> None:
        self._world = world
        self._slots = slots
        self._random = random.Random(f"{world.seed}/prover/{world.lives}")
        self._running: dict[str, tuple[float, ProofOutcome]] = {}

    def submit(self, job: ProofJob) -> None:
        """Start a job, which ends in a few seconds, or never."""
        if not self._world.is_calm and self._random.random() < 0.03:
            self._world.tally["prover_unavailable"] += 1
            raise ProverUnavailable("no space left on device")
        ready = self._world.now + self._random.uniform(0.5, 3)
        outcome = ProofOutcome(job.job_id, self._result(job))
        if not self._world.is_calm and self._random.random() < 0.02:
            self._world.tally["prover_silent"] += 1
            ready = float("inf")
        self._running[job.job_id] = ready, outcome

    def poll(self) -> list[ProofOutcome]:
        """The jobs whose time has come."""
        done = [o for ready, o in self._running.values() if ready <= self._world.now]
        for outcome in done:
            del self._running[outcome.job_id]
        return done

    def cancel(self, job_id: str) -> None:
        """Stop a job."""
        self._running.pop(job_id, None)

    def capacity(self, memory_bytes: int = 0) -> int:
        """Free slots."""
        return self._slots - len(self._running)

    def close(self) -> None:
        """Stop everything."""
        self._running.clear()

    def _result(self, job: ProofJob) -> Proof | OracleError:
        if any(value >= _NEVER for value in job.inputs[::2]):
            self._world.tally["prover_input"] += 1
            return ProverInput("the circuit does not take this input")
        roll = 1.0 if self._world.is_calm else self._random.random()
        faults: list[tuple[float, str, type[OracleError]]] = [
            (0.05, "prover_panic", ProverCrashed),
            (0.09, "prover_memory", ProverMemory),
            (0.13, "prover_timeout", ProverTimeout),
        ]
        for below, kind, error in faults:
            if roll < below:
                self._world.tally[kind] += 1
                return error()
        outputs = _swapped(job.inputs)
        instances = (
            *(tensor.to_field(v) for v in job.inputs),
            *job.tag,
            *(tensor.to_field(v) for v in outputs),
        )
        return Proof(job.job_id, proof_of(instances), instances, outputs, 0.1, 0.3, 0.1, 1 << 20)


@dataclass
class World:
    """See the module; made by `opened`."""

    folder: Path
    seed: int
    anvil: Anvil
    tally: Counter[str]
    proxies: list[FaultyEndpoint]
    #: Requests to make.
    wanted: int
    #: Real seconds that a call may take; each hanging socket costs as many.
    timeout: float
    now: float = _BEGIN
    is_calm: bool = False
    #: How often the node was started.
    lives: int = 0
    ticks: int = 0
    #: What escaped a service without being an error of the tree, and other defects seen on the way.
    crashes: list[str] = field(default_factory=list)
    lines: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.seed}/world")
        self._mortality = random.Random(f"{self.seed}/mortality")
        self.chain = Upstream(self.anvil.url)
        self._callers = [self._account(f"caller {i}") for i in range(_CALLERS)]
        self._rival = self._account("rival")
        self._node_key = self._account("node")
        self._nonces: Counter[str] = Counter()
        # Raw transactions by hash, of everybody but the node: sent again after a reorg.
        self._sent: dict[str, str] = {}
        self._resend: deque[tuple[int, str]] = deque()
        self._depths = [*range(1, 11)]
        self._random.shuffle(self._depths)
        self._spike_until = 0
        self._paused: dict[str, float] = {}
        self._pause: dict[str, float] = {}
        self._deaths_due = 0
        self._disk_full_until = 0
        self._deploy()
        self._start()

    # --- the chain ---

    def _account(self, name: str) -> LocalAccount:
        account: LocalAccount = Account.from_key(keccak(name.encode()))
        self.chain.result("anvil_setBalance", account.address, hex(1000 * _ETHER))
        return account

    def _deploy(self) -> None:
        self.chain.result("evm_setAutomine", True)
        w3 = self.anvil.w3
        owner, publisher = list(w3.eth.accounts)[:2]
        registry = deploy_contract(w3, owner, "ModelRegistry")
        oracle = deploy_contract(w3, owner, "InferenceOracle", registry.address, owner)
        verifier = deploy_contract(w3, owner, "HashVerifier")
        code_hash = keccak(bytes(w3.eth.get_code(verifier.address)))
        self.spec = _spec(code_hash)
        unserved = replace(self.spec, onnx_hash=b"n" * 32)
        for spec in (self.spec, unserved):
            terms = registration(
                spec,
                verifiers=[verifier.address] * (1 + len(spec.batches)),
                fee=10**14,
                receiver=publisher,
                receiver_bps=1000,
            )
            transact(registry.functions.register(terms), publisher)
        self.oracle, self.registry = oracle, registry
        self.consumers = {
            "": None,
            "recording": deploy_contract(w3, owner, "RecordingConsumer", oracle.address),
            "consumer_reverts": deploy_contract(w3, owner, "RevertingConsumer", oracle.address),
            "consumer_burns_gas": deploy_contract(w3, owner, "BurningConsumer", oracle.address),
            "consumer_bombs": deploy_contract(w3, owner, "BombingConsumer", oracle.address, True),
        }
        self.start_block = int(self.chain.result("eth_blockNumber"), 16)
        self.chain.result("evm_setAutomine", False)
        # The node's own view of the contracts, on an endpoint that never fails.
        honest = Rpc([self.anvil.url], CHAIN_ID)
        self.view = OracleContract(honest, oracle.address)
        for _ in range(12):
            self._mine()

    def _mine(self) -> None:
        gwei = 40 if self.ticks < self._spike_until else 1 + self.ticks // 20 % 3
        self.chain.result("anvil_setNextBlockBaseFeePerGas", hex(gwei * _GWEI))
        last = self._block("latest")
        stamp = max(int(self.now), int(last["timestamp"], 16) + 1)
        self.now = max(self.now, float(stamp))
        self.chain.result("evm_setNextBlockTimestamp", stamp)
        self.chain.result("evm_mine")

    def _block(self, tag: str) -> dict[str, Any]:
        block: dict[str, Any] = self.chain.result("eth_getBlockByNumber", tag, False)
        return block

    def _send(
        self, sender: LocalAccount, to: str, data: bytes, value: int = 0, tip: int = 1
    ) -> str:
        """Broadcast a transaction of somebody's, with the next nonce; its hash."""
        transaction: Any = {
            "chainId": CHAIN_ID,
            "nonce": self._nonces[sender.address],
            "to": to,
            "data": data,
            "value": value,
            "gas": 3_000_000,
            "maxFeePerGas": 500 * _GWEI,
            "maxPriorityFeePerGas": tip * _GWEI,
        }
        self._nonces[sender.address] += 1
        raw = sender.sign_transaction(transaction).raw_transaction.to_0x_hex()
        sent: str = self.chain.result("eth_sendRawTransaction", raw)
        self._sent[sent] = raw
        return sent

    # --- what people do ---

    def ask(self) -> None:
        """Somebody asks, in one of many ways."""
        dice = self._random
        caller = dice.choice(self._callers)
        model = 2 if dice.random() < 0.04 else 1
        first = _NEVER + 1 if dice.random() < 0.03 else dice.randrange(-500, 500)
        data = tensor.pack((first, dice.randrange(-500, 500)), 4)
        kind = dice.choices(list(self.consumers), [60, 20, 8, 6, 6])[0]
        consumer = self.consumers[kind]
        gas = _CALLBACK_GAS if consumer is not None else 0
        quote = self.oracle.functions.estimateFee(model, gas).call()
        value = int(quote * dice.uniform(1.3, 2.5))
        functions = self.oracle.functions
        if consumer is not None:
            call = consumer.functions.ask(model, data, gas, b"")
            if kind != "recording":
                self.tally[kind] += 1
        elif dice.random() < 0.04:
            deadline = int(self.now) + _SHORT
            call = functions.request(model, data, ZERO_ADDRESS, 0, b"", caller.address, deadline)
        else:
            call = functions.requestCallback(model, data, ZERO_ADDRESS, 0, b"")
        to = consumer.address if consumer is not None else self.oracle.address
        self._send(caller, to, _calldata(call), value)

    def _open_requests(self) -> list[Request]:
        """Open requests of the served model, as the chain has them."""
        head = int(self.chain.result("eth_blockNumber"), 16)
        events = self.view.events(max(0, head - 25), head)
        made = [e for e in events if isinstance(e, Request) and e.model_id == 1]
        return [
            e for e in made if self.view.commitment(e.key.request_id) == contracts.commitment_of(e)
        ]

    def rival(self) -> None:
        """Another node answers a request first."""
        found = self._open_requests()
        if not found:
            return
        request = self._random.choice(found)
        (row,) = tensor.rows(request.input, self.spec.input, self.spec.codec)
        outputs = [tensor.to_field(v) for v in _swapped(row)]
        tag = tensor.tag(
            CHAIN_ID,
            self.oracle.address,
            [request.key.request_id],
            self._rival.address,
            self.spec.tag,
        )
        proof = proof_of([*map(tensor.to_field, row), *tag, *outputs])
        data = self.view.fulfill_calldata(request, self._rival.address, outputs, proof)
        ours = self.store.request(request.key.request_id)
        beside = ours is not None and ours.state is RequestState.PENDING
        self.tally["rival_beside_ours" if beside else "rival_first"] += 1
        self._send(self._rival, self.oracle.address, data, tip=20)

    def top_up(self) -> None:
        """Somebody adds to a request's gas money."""
        found = self._open_requests()
        if not found:
            return
        request = self._random.choice(found)
        value = request.gas_money // 4 + 1
        call = self.oracle.functions.topUp(request.key.request_id, contracts.preimage(request))
        self.tally["topped_up"] += 1
        self._send(self._callers[0], self.oracle.address, _calldata(call), value)

    def refund(self) -> None:
        """Give the escrow of everything that is too late back."""
        head = int(self.chain.result("eth_blockNumber"), 16)
        for event in self.view.events(self.start_block, head):
            if isinstance(event, Request) and event.deadline < self.now:
                request = self._as_it_stands(event)
                if request is not None:
                    data = self.view.refund_calldata(request)
                    self._send(self._callers[1], self.oracle.address, data)

    def _as_it_stands(self, request: Request) -> Request | None:
        """A request with its top-ups; None if it has ended."""
        held = self.view.commitment(request.key.request_id)
        logs = self.oracle.events.RequestToppedUp().get_logs(
            from_block=0, argument_filters={"requestId": request.key.request_id}
        )
        versions = [request] + [replace(request, gas_money=log["args"]["gasMoney"]) for log in logs]
        return next((v for v in versions if contracts.commitment_of(v) == held), None)

    # --- what goes wrong ---

    def maybe_die(self) -> None:
        """Here the node may be killed."""
        if self._deaths_due and self._mortality.random() < 0.1:
            self._deaths_due -= 1
            self.tally["killed"] += 1
            raise Killed

    def _mischief(self) -> None:
        """Between the node's steps and the next block."""
        dice = self._random
        if dice.random() < 0.06:
            self.rival()
        if dice.random() < 0.03:
            self.top_up()
        if dice.random() < 0.06:
            self._meddle("transaction_dropped")
        if dice.random() < 0.03:
            self._meddle("transaction_replaced")
        if dice.random() < 0.02 and self.ticks > self._spike_until:
            self.tally["base_fee_spike"] += 1
            self._spike_until = self.ticks + dice.randint(3, 12)
        if dice.random() < 0.03:
            self._deaths_due = 1
        if dice.random() < 0.02:
            self._disk_full_until = self.ticks + dice.randint(1, 4)
        if dice.random() < 0.06:
            self._reorganise()

    def _meddle(self, kind: str) -> None:
        """Drop one of the node's transactions, or take its nonce."""
        content = self.chain.result("txpool_content")
        own = content["pending"].get(self._node_key.address) or content["pending"].get(
            self._node_key.address.lower(), {}
        )
        if not own:
            return
        nonce = self._random.choice(sorted(own, key=int))
        victim = own[nonce]
        self.tally[kind] += 1
        if kind == "transaction_dropped":
            self.chain.result("anvil_dropTransaction", victim["hash"])
            return
        transaction: Any = {
            "chainId": CHAIN_ID,
            "nonce": int(nonce),
            "to": self._node_key.address,
            "gas": 21_000,
            "maxFeePerGas": 3 * int(victim["maxFeePerGas"], 16),
            "maxPriorityFeePerGas": 3 * int(victim["maxPriorityFeePerGas"], 16),
        }
        signed = self._node_key.sign_transaction(transaction)
        raw = signed.raw_transaction.to_0x_hex()
        self._sent[self.chain.result("eth_sendRawTransaction", raw)] = raw

    def _reorganise(self) -> None:
        """Replace the last blocks by empty ones; what was in them is sent again later."""
        depth = self._depths.pop(0)
        self._depths.append(depth)
        head = int(self.chain.result("eth_blockNumber"), 16)
        if head - depth < self.start_block:
            return
        self.chain.result("anvil_reorg", depth, [])
        self.tally[f"reorg_{depth}"] += 1
        for sent, raw in list(self._sent.items())[-60:]:
            if self.chain.result("eth_getTransactionReceipt", sent) is None:
                self._resend.append((self.ticks + self._random.choice((0, 0, 1, 3)), raw))

    def _send_again(self) -> None:
        due = [raw for at, raw in self._resend if at <= self.ticks]
        self._resend = deque((at, raw) for at, raw in self._resend if at > self.ticks)
        for raw in due:
            # "Already imported" and "nonce too low" are as good.
            self.chain.call("eth_sendRawTransaction", [raw])

    # --- the node ---

    def _start(self) -> None:
        """A new process: everything but chain and disk is fresh."""
        self.lives += 1
        config = NodeConfig(
            chain_id=CHAIN_ID,
            rpc_urls=tuple(proxy.url for proxy in self.proxies),
            rpc_timeout=self.timeout,
            oracle=self.oracle.address,
            start_block=self.start_block,
            confirmations=2,
            log_chunk=64,
            bundles=(Path("bundle"),),
            store=self.folder / "node.db",
            work_dir=self.folder,
            key_file=Path("key"),
            workers=4,
            prove_timeout=10,
            stuck_seconds=6,
            min_balance=1,
            min_disk_bytes=0,
            min_memory_bytes=0,
        )
        rpc = Rpc(
            config.endpoints,
            CHAIN_ID,
            config.rpc_timeout,
            transport=lambda access, timeout: MortalTransport(HttpTransport(access, timeout), self),
            rate=config.rpc_requests_per_second,
            burst=config.rpc_burst,
            clock=self.clock,
            sleep=self._sleep,
        )
        parts = Parts(
            config,
            rpc,
            OracleContract(rpc, config.oracle),
            RegistryContract(rpc, self.registry.address),
            LocalSigner(self._node_key),
            (_served(self.spec),),
        )
        self.store = Store.open(
            config.store, CHAIN_ID, config.oracle, self.clock, common=self.clock
        )
        prover = FaultyProver(self, config.workers)
        self.node = Node(parts, self.store, prover, self.clock, make_logger(self.lines, json=True))
        self._paused = dict.fromkeys(self.node.services, 0.0)
        self._pause = dict.fromkeys(self.node.services, 0.25)
        self.node.recover()

    def clock(self) -> float:
        """Seconds since the epoch."""
        return self.now

    def close(self) -> None:
        """Close the node's store."""
        self.store.close()

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _step_services(self) -> None:
        """As `oracle.node.Supervised` does it, one service after another."""
        try:
            for _ in range(8):
                if not sum(self._step(name) for name in self.node.services):
                    return
        except Killed:
            self.store.close()
            self._start()

    def _step(self, name: str) -> bool:
        if self.now < self._paused[name]:
            return False
        try:
            worked = self.node.services[name].step()
        except OracleError as error:
            if isinstance(error, StoreError) and "full" in error.message:
                self.tally["disk_full"] += 1
            self._rest(name)
            return False
        except Exception:  # noqa: BLE001 - a defect of the node: the run fails and shows it
            self.crashes.append(f"{name}: {traceback.format_exc()}")
            self._rest(name)
            return False
        self._pause[name] = 0.25
        return worked

    def _rest(self, name: str) -> None:
        self._paused[name] = self.now + self._pause[name]
        self._pause[name] = min(2 * self._pause[name], _LONGEST_PAUSE)

    def _limit_disk(self) -> None:
        """Give the store's file no more room, or all that it wants."""
        connection = self.store._db._connection()
        if self.ticks < self._disk_full_until:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages}")
        else:
            connection.execute("PRAGMA max_page_count = 1073741823")

    # --- a run ---

    def tick(self) -> None:
        """One second."""
        self._limit_disk()
        self._step_services()
        if not self.is_calm:
            self._mischief()
        self._send_again()
        self.now += 1
        self._mine()
        self.ticks += 1

    def run(self, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
        """All requests, all faults, then peace; the report."""
        started = time.monotonic()
        while self.ticks % 10 or self._made() < self.wanted:
            for _ in range(self._random.choice((0, 0, 0, 1, 1, 2))):
                self.ask()
            self.tick()
            if self.ticks % 50 == 0:
                tell(f"{self.ticks} ticks: {self._states()}")
        for _ in range(30):
            self.tick()
        self._calm_down()
        tell(f"calm after {self.ticks} ticks: {self._states()}")
        for tick in range(_CALM):
            self.tick()
            if tick >= _LEAST_CALM and self.ticks % 10 == 0 and self._is_settled():
                break
        waiting = self._waiting()
        tell(f"settled after {self.ticks} ticks: {self._states()}")
        self.now += _LIFETIME + 60
        self._mine()
        self.refund()
        for _ in range(40):
            self.tick()
        report = self._report(waiting)
        report["seconds"] = round(time.monotonic() - started, 1)
        return report

    def _states(self) -> dict[str, int]:
        return {state.value: amount for state, amount in sorted(self.store.counts().items())}

    def _made(self) -> int:
        return len(self.oracle.events.RequestOpened().get_logs(from_block=0))

    def _calm_down(self) -> None:
        self.is_calm = True
        self._deaths_due = 0
        self._disk_full_until = 0
        self._spike_until = self.ticks
        for proxy in self.proxies:
            proxy.is_calm = True

    def _waiting(self) -> list[str]:
        """Requests that the node has neither ended nor refused, with their states."""
        done = {
            *(RequestState.FINAL, RequestState.SKIPPED, RequestState.FAILED),
            *(RequestState.EXPIRED, RequestState.LOST, RequestState.CANCELLED),
        }
        found = []
        for log in self.oracle.events.RequestOpened().get_logs(from_block=0):
            request_id = log["args"]["requestId"]
            row = self.store.request(request_id)
            if row is None or row.state not in done:
                state = "unknown" if row is None else row.state.value
                found.append(f"{request_hex(request_id)} {state}")
        return found

    def _is_settled(self) -> bool:
        return not self._waiting() and not self._resend

    def _report(self, waiting: list[str]) -> dict[str, Any]:
        events = self.oracle.events

        def count(event: Any) -> Counter[int]:
            return Counter(log["args"]["requestId"] for log in event.get_logs(from_block=0))

        made = count(events.RequestOpened())
        fulfilled, results = count(events.RequestFulfilled()), count(events.AICallbackResult())
        refunded = count(events.RequestRefunded())
        ends = {i: fulfilled[i] + refunded[i] for i in made}
        reasons: Counter[str] = Counter()
        unexplained = []
        for request_id in refunded:
            reason = self._reason(request_id)
            reasons[reason.split(":")[0] or "none"] += 1
            if not reason:
                unexplained.append(request_hex(request_id))
        doubled = [i for i in made if ends[i] > 1 or results[i] != fulfilled[i]]
        return {
            "seed": self.seed,
            "requests": len(made),
            "fulfilled": sum(1 for i in made if fulfilled[i]),
            "refunded": len(refunded),
            "lost": sum(1 for i in made if not ends[i]),
            "doubled": len(doubled),
            "fulfilled_by_a_rival": self._paid(self._rival.address)[0],
            "refund_reasons": dict(sorted(reasons.items())),
            "refunded_without_a_reason": unexplained,
            "refunded_though_answerable": [
                request_hex(i)
                for i in refunded
                if self._reason(i).startswith(_PASSING) and not self._was_short(i)
            ],
            "waiting_in_the_end": waiting,
            "misrecorded": self._misrecorded(),
            "money": self._money(),
            "node": {
                "starts": self.lives,
                "transactions": int(
                    self.chain.result("eth_getTransactionCount", self._node_key.address, "latest"),
                    16,
                ),
                "states": self._states(),
                "open_nonces": self._open_nonces(),
            },
            "crashes": self.crashes,
            "ticks": self.ticks,
            "faults": dict(sorted(self.tally.items())),
        }

    def _misrecorded(self) -> list[str]:
        """Requests of which the node's records say something else than the chain."""
        found = []
        for log in self.oracle.events.RequestFulfilled().get_logs(from_block=0):
            request_id, payee = log["args"]["requestId"], log["args"]["payee"]
            row = self.store.request(request_id)
            right = "final" if payee == self._node_key.address else "lost"
            if row is None or row.state.value != right:
                found.append(f"{request_hex(request_id)} is {row and row.state}, not {right}")
        return found

    def _reason(self, request_id: int) -> str:
        """Why the node did not answer a request, by its own records."""
        refusals = (RequestState.SKIPPED, RequestState.FAILED, RequestState.EXPIRED)
        steps = [s for s in self.store.history(request_id) if s.state in refusals]
        return steps[-1].reason if steps else ""

    def _was_short(self, request_id: int) -> bool:
        """Whether a request never left the time that a proof and the margin take.

        By its deadline, not by what the node says: a lie about the verifier comes before that.
        """
        row = self.store.request(request_id)
        return row is not None and row.request.deadline - row.seen_at <= _SHORT

    def _paid(self, payee: str) -> tuple[int, int]:
        """How many requests somebody was paid for, and how much."""
        logs = self.oracle.events.RequestFulfilled().get_logs(from_block=0)
        own = [log["args"] for log in logs if log["args"]["payee"] == payee]
        return len(own), sum(args["feePaid"] + args["gasPaid"] for args in own)

    def _money(self) -> dict[str, Any]:
        """Whether every payee's credit is what its answers earned, to the wei."""
        credit = self.oracle.functions.creditOf
        return {
            name: credit(ZERO_ADDRESS, account.address).call() - self._paid(account.address)[1]
            for name, account in (("node", self._node_key), ("rival", self._rival))
        }

    def _open_nonces(self) -> int:
        return len(self.store.intents(IntentState.PENDING))


@contextmanager
def opened(
    folder: Path,
    seed: int,
    requests: int,
    *,
    rates: tuple[float, ...] = (0.08, 0.12, 0.2),
    hangs: int = 6,
) -> Iterator[World]:
    """A world for one run."""
    tally: Counter[str] = Counter()
    with ExitStack() as stack:
        anvil = stack.enter_context(
            Anvil(folder / "anvil.log", "--timestamp", str(_BEGIN - 1000), "--order", "fees")
        )
        proxies = stack.enter_context(
            endpoints(anvil.url, rates, hangs=hangs, seed=seed, tally=tally)
        )
        # Without sockets that hang nothing may depend on how fast this machine is.
        timeout = 3.0 if hangs else 60.0
        world = World(folder, seed, anvil, tally, proxies, requests, timeout)
        stack.callback(world.chain.close)
        stack.callback(world.close)
        yield world


def problems(report: Mapping[str, Any]) -> list[str]:
    """What a report shows that must not be; empty for a good run."""
    found = [
        f"{name}: {report[name]}"
        for name in (
            "lost",
            "doubled",
            "crashes",
            "waiting_in_the_end",
            "misrecorded",
            "refunded_without_a_reason",
            "refunded_though_answerable",
        )
        if report[name]
    ]
    if report["requests"] != report["fulfilled"] + report["refunded"]:
        found.append("requests are not fulfilled or refunded")
    if any(report["money"].values()):
        found.append(f"credits are not what was earned: {report['money']}")
    if report["node"]["open_nonces"]:
        found.append(f"nonces are open: {report['node']['open_nonces']}")
    return found


def _swapped(inputs: tuple[int, ...]) -> tuple[int, ...]:
    """The model: the two inputs of each row the other way round."""
    return tuple(value for i in range(0, len(inputs), 2) for value in inputs[i : i + 2][::-1])


def _spec(code_hash: bytes) -> ModelSpec:
    values = TensorSpec(length=2, width=4, scale=8, minimum=-1000, maximum=1000)
    return ModelSpec(
        onnx_hash=b"o" * 32,
        settings_hash=b"s" * 32,
        vk_hash=b"v" * 32,
        srs_hash=b"r" * 32,
        input=values,
        output=values,
        verifier_code_hash=code_hash,
        verify_gas=100_000,
        batches=(
            BatchVerifier(
                size=4,
                settings_hash=b"t" * 32,
                vk_hash=b"w" * 32,
                srs_hash=b"r" * 32,
                verifier_code_hash=code_hash,
                verify_gas=120_000,
            ),
        ),
    )


def _served(spec: ModelSpec) -> ServedModel:
    here = Path("/nowhere")
    files = CircuitFiles(here, here, here, here, here, spec.srs_hash)
    return ServedModel(
        bundle_id="b" * 64,
        name="swap",
        spec=spec,
        circuits=(ServedCircuit(1, files, 1.0, 1 << 30), ServedCircuit(4, files, 2.0, 1 << 31)),
    )


def _calldata(call: Any) -> bytes:
    return bytes.fromhex(call._encode_transaction_data()[2:])
