"""The process that is killed: ``python -m tests.crash.node`` forks a node for each line it reads.

A line is a JSON object (`Life`); the answer is the exit status as the kernel gave it. In a node
every commit that changed something and every broadcast has a point before it and one after it.
Each is written to the trace; at one of them the node kills itself with SIGKILL, so nothing of the
process runs any more: no `finally`, no buffered write, no closing of the database.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eth_account import Account

import oracle.errors

# Or each fork would load the driver anew.
import oracle.store.postgres
from oracle import tensor
from oracle.chain.contracts import OracleContract, RegistryContract
from oracle.chain.rpc import Rpc
from oracle.chain.signer import Fees, LocalSigner, Unsigned
from oracle.config import NodeConfig
from oracle.errors import OracleError
from oracle.log import make_logger
from oracle.node import Node, Parts, Service
from oracle.services.keeper import BEATS
from oracle.store.ledger import Store
from oracle.store.states import IntentState, RequestState
from oracle.testing import ORACLE, REGISTRY, FakeChain, FakeProver
from oracle.types import Proof, ProofJob
from tests.crash.line import Line
from tests.crash.outside import MODEL
from tests.node.world import KEY, NOW, VERIFIER_CODE, served, swap

#: Steps after which every service has nothing to do, at the latest.
_MOST_STEPS = 1000
_CHAIN_ID = 31337
#: Seconds of silence after which the nodes of a shared store give one of them up.
LEASE = 30.0
#: Exit code of a node that the script wants to be started again.
RESTART = 75

_ERRORS: dict[str, type[OracleError]] = {
    kind.code: kind
    for kind in vars(oracle.errors).values()
    if isinstance(kind, type) and issubclass(kind, OracleError)
}


@dataclass(frozen=True)
class Life:
    """One process of the node."""

    #: As in the node's configuration.
    store: str
    #: Where the world outside listens.
    socket: str
    trace: str
    #: Its account.
    key: str
    options: dict[str, Any] = field(default_factory=dict)
    #: Number of the point at which it is killed; 0 for none.
    kill_at: int = 0
    #: It has its place in the store, and does nothing until another node is gone.
    stands_by: bool = False


class Points:
    """Numbers the points of a process, writes them down and kills at one."""

    def __init__(self, trace: Path, kill_at: int) -> None:
        self._file = trace.open("w")
        self._kill_at = kill_at
        self._number = 0

    def pass_by(self, at: str, steps: list[list[str]]) -> None:
        self._number += 1
        self.write({"number": self._number, "at": at, "steps": steps})
        if self._number == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


class WatchedDatabase:
    """A database whose commits are points; of any kind that has these verbs."""

    def __init__(self, inner: Any, look: Callable[[], dict[str, str]], points: Points) -> None:
        self._inner = inner
        self._look = look
        self._points = points
        self._before: dict[str, str] = {}
        self._open = False
        self._wrote = False
        #: Moves of this transaction: what moved, and the step.
        self.moves: list[tuple[str, list[str]]] = []

    def start(self) -> None:
        """Everything that changes from now on is a step."""
        self._before = self._look()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._open:
            yield
            return
        self._open, self._wrote = True, False
        self.moves.clear()
        try:
            with self._inner.transaction():
                yield
                now = self._look()
                steps = self._steps(now)
                if self._wrote:
                    self._points.pass_by("before commit", steps)
        finally:
            self._open = False
        self._before = now
        if self._wrote:
            self._points.pass_by("after commit", steps)

    def _steps(self, now: dict[str, str]) -> list[list[str]]:
        steps = [step for _, step in self.moves]
        moved = {what for what, _ in self.moves}
        for what, state in now.items():
            before = self._before.get(what, "")
            if before != state and what not in moved:
                steps.append([what.split()[0], before, state])
        return sorted(steps)

    def run(self, name: str, /, **values: Any) -> int:
        with self.transaction():
            changed = int(self._inner.run(name, **values))
            self._wrote |= changed > 0
            return changed

    def insert(self, name: str, /, **values: Any) -> int:
        with self.transaction():
            self._wrote = True
            return int(self._inner.insert(name, **values))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


#: What every request, job and nonce is in.
_LOOK = """
SELECT 'request' AS kind, request_id AS id, state FROM requests
UNION ALL SELECT 'job', job_id, state FROM jobs
UNION ALL SELECT 'intent', CAST(intent_id AS TEXT), state FROM intents
"""


def watch(store: Store, points: Points) -> None:
    """Make points of a store's commits."""

    store._db.define({"look": _LOOK})

    def look() -> dict[str, str]:
        rows = store._db.rows("look")
        return {f"{row['kind']} {row['id']}": row["state"] for row in rows}

    database = WatchedDatabase(store._db, look, points)
    move, move_intent = store.move, store.move_intent

    def moved(
        request_id: int, source: RequestState, target: RequestState, reason: str = ""
    ) -> bool:
        done = move(request_id, source, target, reason)
        if done:
            database.moves.append((f"request {hex(request_id)}", ["request", source, target]))
        return done

    def moved_intent(intent: Any, target: IntentState, mined_block: int | None = None) -> bool:
        done = move_intent(intent, target, mined_block)
        if done:
            step = ["intent", intent.state, target]
            database.moves.append((f"intent {intent.intent_id}", step))
        return done

    store._db = database  # type: ignore[assignment]
    store.move, store.move_intent = moved, moved_intent  # type: ignore[method-assign]
    database.start()


class WatchedLine(Line):
    """An endpoint before and after whose broadcasts lies a point."""

    def __init__(self, socket: str, points: Points) -> None:
        super().__init__(socket)
        self._points = points

    def send(self, method: str, params: list[Any]) -> Any:
        if method != "eth_sendRawTransaction":
            return super().send(method, params)
        self._points.pass_by("before send", [])
        try:
            return super().send(method, params)
        finally:
            self._points.pass_by("after send", [])


class ScriptedProver(FakeProver):
    """Answers, holds or fails as long as the script says so."""

    mode = "answer"

    def poll(self) -> Any:
        self.held = self.mode == "hold"
        return super().poll()

    def _result(self, job: ProofJob) -> Proof | OracleError:
        if self.mode in _ERRORS:
            return _ERRORS[self.mode]()
        return super()._result(job)


def live(life: Life) -> int:
    """Run a node until the script is over; its exit code."""
    points = Points(Path(life.trace), life.kill_at)
    state: dict[str, Any] = {}

    def clock() -> float:
        return float(state["now"])

    line = WatchedLine(life.socket, points)
    rpc = Rpc(["http://outside"], _CHAIN_ID, transport=lambda _url, _timeout: line)
    state.update(line.send("outside_state", []))
    config = NodeConfig(
        **{
            "chain_id": _CHAIN_ID,
            "rpc_urls": ("http://outside",),
            "oracle": ORACLE,
            "confirmations": 0,
            "bundles": (Path("bundle"),),
            "store": life.store,
            "lease_seconds": LEASE,
            "work_dir": Path("unused"),
            "key_file": Path("unused"),
            "priority_fee": 10**8,
            "min_balance": 1,
            "min_disk_bytes": 0,
            "min_memory_bytes": 0,
            "batch_max_requests": 1,
            **life.options,
        }
    )
    parts = Parts(
        config,
        rpc,
        OracleContract(rpc, ORACLE),
        RegistryContract(rpc, REGISTRY),
        LocalSigner(Account.from_key(life.key)),
        (served(MODEL),) if state["serves"] else (),
    )
    store = Store.open(config.store, _CHAIN_ID, ORACLE, clock, common=clock)
    watch(store, points)
    prover = ScriptedProver(swap, slots=config.workers)
    lines = io.StringIO()
    node = Node(parts, store, prover, clock, make_logger(lines, json=True))
    node.recover()
    services = itertools.cycle(node.services.values())

    def work() -> None:
        prover.mode = state["prover"]
        if not _settle(services, len(node.services), store, state):
            raise AssertionError(f"still busy: {lines.getvalue()[-3000:]}")

    def pass_time(method: str, *params: Any) -> None:
        state.update(line.send(method, list(params)))
        # It said that it lives while the time passed; once is as good.
        node.keeper.step()

    if life.stands_by:
        state.update(line.send("outside_wait", []))
        for _ in range(BEATS + 1):
            work()
            pass_time("outside_pass", LEASE / BEATS)
    while True:
        work()
        if not state["more"]:
            break
        pass_time("outside_next")
        if state.pop("restart"):
            node._leave()
            return RESTART
    rows = [row for each in RequestState for row in store.requests(each, 1000)]
    intents = [intent for each in IntentState for intent in store.intents(each)]
    points.write(
        {
            "requests": {hex(row.request_id): str(row.state) for row in rows},
            "reasons": {hex(row.request_id): row.reason for row in rows},
            "nonces": [
                (i.account, i.nonce) for i in intents if i.state is not IntentState.DISPLACED
            ],
            "open": [i.nonce for i in intents if i.state is IntentState.PENDING],
        }
    )
    return 0


def _settle(services: Iterator[Service], number: int, store: Store, state: dict[str, Any]) -> bool:
    """Step one service after the other until it is the script's turn; False if it never is."""
    idle, read = 0, store.cursor()
    for service in itertools.islice(services, _MOST_STEPS):
        try:
            worked = service.step()
        except OracleError:
            # The supervisor would log it and try again.
            worked = False
        # A block without a request is no work for the watcher, but its time is for others.
        last, read = read, store.cursor()
        idle = 0 if worked or read != last else idle + 1
        if idle == number or _is_due(store, state["when"]):
            return True
    return False


def _is_due(store: Store, when: list[str] | None) -> bool:
    if when is None:
        return False
    row = store.request(int(when[0], 16))
    return row is not None and row.state == when[1]


def _warm_up() -> None:
    """Load what each fork would load anew: the signer's library, ABIs, what their types mean."""
    signer = LocalSigner(Account.from_key(KEY))
    signer.sign(Unsigned(_CHAIN_ID, 0, ORACLE, b"", 21_000, Fees(1, 1)))
    chain = FakeChain(clock=lambda: NOW)
    rpc = Rpc(["http://outside"], _CHAIN_ID, transport=lambda _url, _timeout: chain)
    model_id = chain.register(MODEL, verifier_code=VERIFIER_CODE)
    RegistryContract(rpc, REGISTRY).model(model_id)
    request_id = chain.request(model_id, tensor.pack((1, 2), 4))
    oracle = OracleContract(rpc, ORACLE)
    (request,) = oracle.events(0, chain.height)
    oracle.status(request_id)
    oracle.fulfill_calldata(request, signer.address, [1, 2], b"proof")


def main() -> None:
    """Fork a node for each line."""
    _warm_up()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = live(Life(**json.loads(line)))
            except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
                traceback.print_exc()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


def as_line(life: Life) -> str:
    """A life as `main` reads it."""
    return json.dumps(asdict(life))


if __name__ == "__main__":
    main()
