"""The daemon's composition root: builds the services, supervises them, drains them.

Each service runs in its own thread and is nothing but a `step`. A step that did something rings
the doorbell, so the next service need not wait for its poll. A step that raises is logged with its
code and tried again after a pause: one service in trouble does not stop the others.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from oracle import __version__
from oracle.batching import Limits
from oracle.chain.contracts import OracleContract, RegistryContract, code_hash
from oracle.chain.heads import HeadListener
from oracle.chain.rpc import Rpc, redacted
from oracle.chain.signer import LocalSigner, Signer
from oracle.circuits.bundle import Bundle
from oracle.config import NodeConfig
from oracle.errors import (
    AccountUnfunded,
    ConfigError,
    ContractMismatch,
    ModelUnsupported,
    OracleError,
    ProverCrashed,
    ProverMemory,
    ProverTimeout,
    StoreError,
)
from oracle.policy import ServedCircuit, ServedModel, common_sizes, same_circuit
from oracle.prover.base import Prover, memory_cap
from oracle.prover.local import LocalProver
from oracle.services.janitor import Janitor
from oracle.services.keeper import BEATS, Keeper
from oracle.services.runner import Runner
from oracle.services.scheduler import Scheduler
from oracle.services.submitter import Submitter
from oracle.services.watcher import Watcher
from oracle.store.ledger import Store

#: Seconds between two looks at running proofs.
_PROOF_POLL = 0.02
#: Seconds to wait after a step that failed: the first time, and at most.
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 30.0
#: Seconds that a service gets to finish its step at shutdown.
_DRAIN_SECONDS = 30.0
#: Ends of a proof that a start takes back: whatever this machine lacked, it may have it now.
_LOCAL_FAULTS = frozenset(error.code for error in (ProverCrashed, ProverMemory, ProverTimeout))


class Service(Protocol):
    """Something that works in idempotent steps."""

    def step(self) -> bool:
        """Do what is due; True when something was done."""
        ...


class Doorbell:
    """Wakes everybody who waits. A ring between two waits is not lost."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rings = 0

    @property
    def rings(self) -> int:
        """How often it rang."""
        return self._rings

    def ring(self) -> None:
        """Wake everybody."""
        with self._condition:
            self._rings += 1
            self._condition.notify_all()

    def wait(self, heard: int, timeout: float) -> None:
        """Wait until it rang more than ``heard`` times, or ``timeout`` seconds."""
        with self._condition:
            self._condition.wait_for(lambda: self._rings > heard, timeout)


class Supervised(threading.Thread):
    """A service in a thread: steps until told to stop, whatever a step raises.

    Args:
        name: the service's name in the log.
        service: what to run.
        doorbell: rung after a step that did something.
        stop: set to end the thread after its step.
        interval: seconds between steps that did nothing; asked before each wait.
        log: for a person.
    """

    def __init__(
        self,
        name: str,
        service: Service,
        *,
        doorbell: Doorbell,
        stop: threading.Event,
        interval: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._service = service
        self._doorbell = doorbell
        self._stop_event = stop
        self._interval = interval
        self._log = log

    def run(self) -> None:
        """Step until stopped."""
        pause = _FIRST_PAUSE
        while not self._stop_event.is_set():
            heard = self._doorbell.rings
            try:
                if self._service.step():
                    self._doorbell.ring()
                else:
                    self._doorbell.wait(heard, self._interval())
                pause = _FIRST_PAUSE
            except OracleError as error:
                self._log.warning(
                    "service paused",
                    service=self.name,
                    code=error.code,
                    detail=error.message,
                    seconds=pause,
                )
                pause = self._rest(pause)
            except Exception:  # noqa: BLE001 - the supervisor's purpose: a crash is logged, not lost
                self._log.exception(
                    "service crashed", service=self.name, code="CRASH", seconds=pause
                )
                pause = self._rest(pause)

    def _rest(self, pause: float) -> float:
        self._stop_event.wait(pause)
        return min(2 * pause, _LONGEST_PAUSE)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the services are built from."""

    config: NodeConfig
    rpc: Rpc
    oracle: OracleContract
    registry: RegistryContract
    signer: Signer
    served: tuple[ServedModel, ...]

    @property
    def payee(self) -> str:
        """Who the proofs name."""
        return self.config.payee or self.signer.address


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked before a start."""

    subject: str
    #: What was found, for a person.
    detail: str
    error: OracleError | None = None


def check(config: NodeConfig) -> list[Finding]:
    """Everything that must be right before a node starts; stops at what makes the rest pointless.

    Nothing is written and nothing is sent.
    """
    return _examine(config)[0]


@contextmanager
def build(
    config: NodeConfig, log: FilteringBoundLogger, clock: Callable[[], float] = time.time
) -> Iterator[Node]:
    """A checked node, ready to run; closed at the end.

    Raises:
        OracleError: the first thing that `check` finds wrong.
    """
    findings, parts = _examine(config)
    if parts is None:
        raise next(finding.error for finding in findings if finding.error is not None)
    with ExitStack() as stack:
        store = Store.open(config.store, config.chain_id, config.oracle, clock)
        stack.callback(store.close)
        prover = _prover(config)
        stack.callback(prover.close)
        yield Node(parts, store, prover, clock, log)


def _examine(config: NodeConfig) -> tuple[list[Finding], Parts | None]:
    """What was found, and what a node is built from; None if the last finding is an error.

    Keys are decrypted and bundles are hashed once for both.
    """
    rpc = _rpc(config)
    oracle = OracleContract(rpc, config.oracle)
    findings: list[Finding] = []
    subject = "rpc"
    try:
        rpc.require_one_chain()
        head = rpc.head().number
        findings.append(Finding(subject, f"{redacted(config.rpc_urls[0])}, block {head}"))
        subject = "oracle"
        registry = RegistryContract(rpc, oracle.registry())
        findings.append(Finding(subject, f"{config.oracle}, registry {registry.address}"))
        subject = "account"
        signer = _signer(config)
        findings.append(Finding(subject, _check_balance(rpc, signer.address, config.min_balance)))
        subject = "models"
        served = _served(config)
        found = [_find_model(rpc, registry, model) for model in served]
        findings.append(Finding(subject, "; ".join(found)))
    except OracleError as error:
        return [*findings, Finding(subject, error.message, error)], None
    return findings, Parts(config, rpc, oracle, registry, signer, served)


class Node:
    """The services over one store.

    Args:
        parts: configuration and chain.
        store: the ledger; the caller closes it.
        prover: the caller closes it.
        clock: seconds since the epoch.
        log: for a person.
    """

    def __init__(
        self,
        parts: Parts,
        store: Store,
        prover: Prover,
        clock: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        config = parts.config
        self._parts = parts
        self._store = store
        self._log = log
        self._doorbell = Doorbell()
        self._stop = threading.Event()
        self.keeper = Keeper(
            store,
            account=parts.signer.address,
            payee=parts.payee,
            workers=config.workers,
            lease_seconds=config.lease_seconds,
            clock=clock,
            log=log,
        )
        self.watcher = Watcher(
            store,
            parts.rpc,
            parts.oracle,
            start_block=config.start_block,
            confirmations=config.confirmations,
            chunk=config.log_chunk,
            log=log,
        )
        self.scheduler = Scheduler(
            store,
            parts.rpc,
            parts.registry,
            parts.served,
            account=parts.signer.address,
            payee=parts.payee,
            workers=config.workers,
            confirmations=config.confirmations,
            margin_seconds=config.deadline_margin,
            limits=Limits(config.batch_wait_seconds, config.batch_max_requests),
            min_balance=config.min_balance,
            min_income=config.min_income,
            subsidy=config.subsidy_per_request,
            clock=clock,
            log=log,
        )
        self.runner = Runner(
            store,
            prover,
            parts.served,
            payee=parts.payee,
            workers=config.workers,
            timeout=config.prove_timeout,
            clock=clock,
            log=log,
        )
        self.submitter = Submitter(
            store,
            parts.rpc,
            parts.oracle,
            parts.registry,
            parts.signer,
            payee=parts.payee,
            confirmations=config.confirmations,
            priority_fee=config.priority_fee,
            subsidy=config.subsidy_per_request,
            stuck_seconds=config.stuck_seconds,
            clock=clock,
            log=log,
        )
        self.janitor = Janitor(
            store,
            confirmations=config.confirmations,
            retention_seconds=config.retention_seconds,
            clock=clock,
            log=log,
        )

    @property
    def services(self) -> dict[str, Service]:
        """The services by name, in the order in which a request meets them; then the housekeepers."""
        return {
            "watcher": self.watcher,
            "scheduler": self.scheduler,
            "runner": self.runner,
            "submitter": self.submitter,
            "janitor": self.janitor,
            "keeper": self.keeper,
        }

    def recover(self) -> None:
        """Put right what the last run left: run before the first step."""
        self.keeper.join()
        requeued, freed = self._store.recover()
        reconsidered = self._store.reconsider(_LOCAL_FAULTS)
        if requeued or freed or reconsidered:
            self._log.info(
                "recovered", requeued_jobs=requeued, looked_at_again=freed + reconsidered
            )

    def run(self) -> None:
        """Serve until `stop`; returns when every service has finished its step."""
        self.recover()
        intervals = {
            "keeper": self._keeper_interval,
            "runner": self._runner_interval,
            "scheduler": self._scheduler_interval,
        }
        threads = [
            Supervised(
                name,
                service,
                doorbell=self._doorbell,
                stop=self._stop,
                interval=intervals.get(name, self._interval),
                log=self._log,
            )
            for name, service in self.services.items()
        ]
        for thread in threads:
            thread.start()
        config = self._parts.config
        heads = None
        if config.ws_url is not None:
            heads = HeadListener(config.ws_url, self._doorbell.ring, self._log)
            heads.start()
        self._log.info(
            "ready",
            version=__version__,
            chain=config.chain_id,
            oracle=config.oracle,
            account=self._parts.signer.address,
            payee=self._parts.payee,
            models=", ".join(model.name for model in self._parts.served),
        )
        self._stop.wait()
        # Here and not in `stop`: a signal handler must not wait for the doorbell's lock.
        self._doorbell.ring()
        self._log.info("stopping")
        if heads is not None:
            heads.stop()
        deadline = time.monotonic() + _DRAIN_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._leave()
        self._log.info("stopped", unfinished=[t.name for t in threads if t.is_alive()] or None)

    def stop(self) -> None:
        """Finish the running steps and return from `run`. Safe in a signal handler."""
        self._stop.set()

    def _leave(self) -> None:
        """Free what this node holds for the others, if there can be any."""
        if not self._store.is_shared:
            return
        try:
            self._store.leave()
        except StoreError as error:
            # Then they take over when its lease ends.
            self._log.warning("not signed off", code=error.code, detail=error.message)

    def _interval(self) -> float:
        return self._parts.config.poll_seconds

    def _scheduler_interval(self) -> float:
        config = self._parts.config
        # Requests that wait for others are due between two looks at the chain.
        return min(config.poll_seconds, config.batch_wait_seconds or config.poll_seconds)

    def _keeper_interval(self) -> float:
        config = self._parts.config
        return min(config.poll_seconds, config.lease_seconds / BEATS)

    def _runner_interval(self) -> float:
        return _PROOF_POLL if self.runner.busy else self._interval()


def run_until_signal(node: Node) -> None:
    """Run a node until SIGTERM or SIGINT; a second signal ends the process at once."""
    signals = 0

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            os._exit(128 + number)
        node.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    node.run()


def _check_balance(rpc: Rpc, address: str, min_balance: int) -> str:
    balance = rpc.balance(address)
    # No minimum still needs gas: an empty account can send nothing.
    if balance < max(min_balance, 1):
        raise AccountUnfunded(
            f"account {address} holds {balance} wei, {min_balance} are needed",
            remedy=f"Send at least {max(min_balance, 1) - balance} wei to it",
        )
    return f"{address} holds {balance} wei"


def _rpc(config: NodeConfig) -> Rpc:
    return Rpc(
        config.rpc_urls,
        config.chain_id,
        config.rpc_timeout,
        rate=config.rpc_requests_per_second,
        burst=config.rpc_burst,
        cross_check=config.log_cross_check,
    )


def _prover(config: NodeConfig) -> Prover:
    if config.ray_address is None:
        return LocalProver(
            config.work_dir,
            workers=config.workers,
            threads=config.threads,
            memory_bytes=config.memory_bytes,
        )
    from oracle.prover.ray import RayProver

    return RayProver(
        config.work_dir,
        address=config.ray_address,
        workers=config.workers,
        cpus=config.ray_cpus,
        gpus=config.ray_gpus,
    )


def _signer(config: NodeConfig) -> Signer:
    if config.key_file is not None:
        return LocalSigner.from_key_file(config.key_file)
    if config.keystore is not None and config.password_file is not None:
        return LocalSigner.from_keystore(config.keystore, config.password_file)
    raise ConfigError("set either key_file or keystore")


def _served(config: NodeConfig) -> tuple[ServedModel, ...]:
    return tuple(_serve(path, config) for path in config.bundles)


def _serve(path: Path, config: NodeConfig) -> ServedModel:
    bundle = Bundle.load(path, config.srs_dir)
    bundle.require_safe(config.chain_id)
    return ServedModel(
        bundle_id=bundle.bundle_id,
        name=bundle.name,
        spec=bundle.spec,
        circuits=tuple(
            ServedCircuit(
                size=sized.size,
                circuit=sized.circuit,
                prove_seconds=sized.measures.prove_seconds,
                memory_bytes=memory_cap(sized.circuit),
            )
            for sized in bundle.circuits
        ),
    )


def _find_model(rpc: Rpc, registry: RegistryContract, served: ServedModel) -> str:
    """The registry's id of a served model, whose verifier is what it should be.

    Anybody may register: a model with these hashes and another verifier proves nothing about ours.
    """
    differs = None
    for model_id in range(1, registry.count() + 1):
        try:
            model = registry.model(model_id)
        except ModelUnsupported:
            continue
        if model is None or not same_circuit(model.spec, served.spec):
            continue
        actual = code_hash(rpc, model.verifier)
        if actual == served.spec.verifier_code_hash:
            sizes = ", ".join(map(str, common_sizes(model.spec, served.spec)))
            # A bundle with such an SRS is served on a local chain only.
            mark = "; unsafe SRS" if registry.srs_unsafe(model_id) else ""
            return f"{served.name} is model {model_id} (rows in a proof: {sizes}{mark})"
        differs = ContractMismatch(
            f"the verifier of model {model_id} has code hash {actual.hex()}, "
            f"the bundle {served.name} says {served.spec.verifier_code_hash.hex()}",
            remedy="Use the bundle that the model was registered with",
        )
    raise differs or ContractMismatch(
        f"the bundle {served.name} is not registered at {registry.address}",
        remedy="Register it, or correct bundles",
    )
