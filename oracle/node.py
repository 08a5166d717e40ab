"""The daemon's composition root: builds the services, supervises them, drains them.

Each service runs in its own thread and is nothing but a `step`. A step that did something rings
the doorbell, so the next service need not wait for its poll. A step that raises is logged with its
code and tried again after a pause: one service in trouble does not stop the others.
"""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from structlog.typing import FilteringBoundLogger

from oracle import __version__, checks
from oracle.access import Access
from oracle.aside import Aside
from oracle.batching import Limits
from oracle.chain import fork
from oracle.chain.arrivals import Arrivals
from oracle.chain.contracts import OracleContract, RegistryContract, code_hash
from oracle.chain.heads import HeadListener
from oracle.chain.observed import ObservedTransport, Traffic
from oracle.chain.remote import RemoteSigner
from oracle.chain.rpc import HttpTransport, Rpc, Transport, redacted
from oracle.chain.signer import LocalSigner, Signer
from oracle.checks import PAGES, Finding
from oracle.circuits.bundle import Bundle
from oracle.config import NodeConfig
from oracle.drift import Drift
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
from oracle.health import ChainProbe, Health, Pulse, Watched
from oracle.log import secretless
from oracle.metrics import Metrics, NodeCollector
from oracle.page import LivePage, ModelCard, card
from oracle.policy import (
    Means,
    ServedCircuit,
    ServedModel,
    Terms,
    common_sizes,
    is_ours,
    same_circuit,
)
from oracle.prover.base import Prover, memory_cap
from oracle.prover.configured import prover_for
from oracle.reload import ENDPOINTS, changes, merged
from oracle.services.http import HttpService, Page, Response
from oracle.services.janitor import Janitor
from oracle.services.keeper import BEATS, Keeper
from oracle.services.rehearsal import Rehearsal
from oracle.services.runner import Runner
from oracle.services.scheduler import Scheduler
from oracle.services.submitter import Submitter
from oracle.services.watcher import DUTY, Watcher
from oracle.store.ledger import Store
from oracle.systemd import notify
from oracle.types import RegisteredModel, Trust

#: Seconds between two looks at running proofs.
_PROOF_POLL = 0.02
#: Seconds to wait after a step that failed: the first time, and at most.
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 30.0
#: Seconds that a service gets to finish its step at shutdown.
_STEP_SECONDS = 30.0
#: Seconds between two looks at what is still to be done at shutdown.
_DRAIN_POLL = 0.05
#: Seconds between two signs of life to systemd.
_WATCHDOG_SECONDS = 10.0
#: Seconds between two looks for what a WebSocket tells of, at least.
_TOLD_SECONDS = 2.0
#: Seconds that a page gets to be read from the store.
_PAGE_SECONDS = 5.0
_DRY_RUN = "requests are decided and proved, and nothing is sent"
#: Services that bring new work; the others finish it.
_TAKERS = frozenset({"watcher", "scheduler", "janitor"})
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
        pulse: told that it lives.
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
        pulse: Pulse | None = None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.pulse = pulse or Pulse(math.inf)
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
            self.pulse.working()
            try:
                worked = self._service.step()
                self.pulse.went_well()
                if worked:
                    self._doorbell.ring()
                else:
                    self.pulse.idle_steps += 1
                    interval = self._interval()
                    self.pulse.resting(interval)
                    self._doorbell.wait(heard, interval)
                pause = _FIRST_PAUSE
            except OracleError as error:
                self.pulse.failed(error.code, error.message)
                self._log.warning(
                    "service paused",
                    service=self.name,
                    code=error.code,
                    detail=error.message,
                    seconds=pause,
                )
                pause = self._rest(pause)
            except Exception:  # noqa: BLE001 - the supervisor's purpose: a crash is logged, not lost
                self.pulse.failed("CRASH", "a fault in the program; the log has the details")
                self._log.exception(
                    "service crashed", service=self.name, code="CRASH", seconds=pause
                )
                pause = self._rest(pause)

    def _rest(self, pause: float) -> float:
        self.pulse.resting(pause)
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
    #: What went over the endpoints of ``rpc``.
    traffic: Traffic = field(default_factory=Traffic)
    #: What the page says of the models in ``served``.
    cards: tuple[ModelCard, ...] = ()

    @property
    def payee(self) -> str:
        """Who the proofs name."""
        return self.config.payee or self.signer.address


def check(config: NodeConfig, *, trial_proof: bool = True) -> list[Finding]:
    """Everything that must be right before a node starts, each looked at whatever the others say.

    What needs the chain is left out while no endpoint can be used. Nothing is written or sent.

    Args:
        config: the node's.
        trial_proof: also prove each model once.
    """
    findings = checks.endpoints(config)
    reachable = any(finding.error is None for finding in findings if finding.subject == "rpc")
    rpc = _rpc(config, Traffic()) if reachable else None
    findings += [
        *_check_contracts(config, rpc),
        checks.attempt("account", lambda: _check_account(config, rpc)),
        checks.attempt("store", lambda: checks.store(config)),
        checks.attempt("disk", lambda: checks.disk(config)),
        *checks.pages(config),
    ]
    served: list[ServedModel] = []
    for path in config.bundles:
        findings += _check_bundle(path, config, rpc, served, trial_proof=trial_proof)
    return [*findings, checks.attempt("memory", lambda: checks.memory(config, served))]


def _check_contracts(config: NodeConfig, rpc: Rpc | None) -> list[Finding]:
    if rpc is None:
        return []
    chain = checks.attempt("chain", lambda: fork.require(rpc))
    oracle = checks.attempt("oracle", lambda: _check_oracle(config, rpc))
    if oracle.error is not None:
        return [chain, oracle]
    registry = OracleContract(rpc, config.oracle).registry()
    return [
        chain,
        oracle,
        checks.attempt("registry", lambda: checks.functions(rpc, registry, "ModelRegistry")),
    ]


def _check_oracle(config: NodeConfig, rpc: Rpc) -> str:
    # First whether it is one at all: what it lacks says less about a wrong address.
    OracleContract(rpc, config.oracle).registry()
    return checks.functions(rpc, config.oracle, "InferenceOracle")


def _check_account(config: NodeConfig, rpc: Rpc | None) -> str:
    address = _signer(config).address
    return address if rpc is None else _check_balance(rpc, address, config)


def _check_bundle(
    path: Path,
    config: NodeConfig,
    rpc: Rpc | None,
    served: list[ServedModel],
    *,
    trial_proof: bool,
) -> list[Finding]:
    """A bundle's files, its registration, and a proof; ``served`` grows by it."""

    def look() -> str:
        model = _serve(_bundle(path, config), config.prove_timeout)
        served.append(model)
        if rpc is None:
            return f"{model.name} at {path}"
        registry = RegistryContract(rpc, OracleContract(rpc, config.oracle).registry())
        registered = _registered(rpc, registry, model)
        verifiers.append(registered.verifier)
        return _describe(registry, model, registered)

    verifiers: list[str] = []
    before = len(served)
    found = [checks.attempt("model", look)]
    for model in served[before:] if trial_proof else ():
        verifier = verifiers[0] if verifiers else ""
        found.append(checks.attempt("proof", partial(checks.trial, model, config, rpc, verifier)))
    return found


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
        prover = prover_for(config, config.work_dir, config.workers)
        stack.callback(prover.close)
        yield Node(parts, store, prover, clock, log)


def _examine(config: NodeConfig) -> tuple[list[Finding], Parts | None]:
    """What was found, and what a node is built from; None if the last finding is an error.

    Keys are decrypted and bundles are hashed once for both.
    """
    traffic = Traffic()
    rpc = _rpc(config, traffic)
    oracle = OracleContract(rpc, config.oracle)
    findings: list[Finding] = []
    subject = "rpc"
    try:
        rpc.require_one_chain()
        head = rpc.head().number
        findings.append(Finding(subject, f"{redacted(config.endpoints[0].url)}, block {head}"))
        subject = "chain"
        findings.append(Finding(subject, fork.require(rpc)))
        subject = "oracle"
        registry = RegistryContract(rpc, oracle.registry())
        findings.append(Finding(subject, f"{config.oracle}, registry {registry.address}"))
        subject = "account"
        signer = _signer(config)
        findings.append(Finding(subject, _check_balance(rpc, signer.address, config)))
        subject = "models"
        served, cards, found = [], [], []
        for path in config.bundles:
            bundle = _bundle(path, config)
            model = _serve(bundle, config.prove_timeout)
            registered = _registered(rpc, registry, model)
            served.append(model)
            cards.append(card(bundle, registered))
            found.append(_describe(registry, model, registered))
        findings.append(Finding(subject, "; ".join(found)))
    except OracleError as error:
        return [*findings, Finding(subject, error.message, error)], None
    parts = Parts(config, rpc, oracle, registry, signer, tuple(served), traffic, tuple(cards))
    return findings, parts


class Node:
    """The services over one store.

    Args:
        parts: configuration and chain.
        store: the ledger; the caller closes it.
        prover: the caller closes it.
        clock: seconds since the epoch.
        log: for a person.
        monotonic: seconds by which blocks arrive.
    """

    def __init__(
        self,
        parts: Parts,
        store: Store,
        prover: Prover,
        clock: Callable[[], float],
        log: FilteringBoundLogger,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        config = parts.config
        self._parts = parts
        self._store = store
        self._log = log
        self._clock = clock
        self._doorbell = Doorbell()
        self._arrivals = Arrivals(min(config.poll_seconds, _TOLD_SECONDS), monotonic)
        self._stop = threading.Event()
        drift = Drift(clock)
        # Set with it, and when the configuration is to be read anew.
        self._wake = threading.Event()
        self._hung_up = False
        self._accesses = config.endpoints
        # Why the configuration was not taken when it was last read anew.
        self._not_taken: tuple[str, str] | None = None
        # Why no pages are served that were to be.
        self._not_served: tuple[str, str] | None = None
        self._drained = threading.Event()
        self.keeper = Keeper(
            store,
            account=parts.signer.address,
            payee=parts.payee,
            workers=config.workers,
            lease_seconds=config.lease_seconds,
            clock=clock,
            log=log,
            troubles=self.troubles,
        )
        self.watcher = Watcher(
            store,
            parts.rpc,
            parts.oracle,
            start_block=config.start_block,
            confirmations=config.confirmations,
            chunk=config.log_chunk,
            log=log,
            drift=drift,
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
            terms=_terms(config),
            folders=tuple(config.folders.values()),
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
        self.submitter = self._sender()
        self.janitor = Janitor(
            store,
            confirmations=config.confirmations,
            retention_seconds=config.retention_seconds,
            clock=clock,
            log=log,
        )
        self._threads = {name: self._supervised(name) for name in self.services}
        self._probe = ChainProbe(parts.rpc, parts.signer.address, drift, clock)
        self.health = Health(
            config,
            store,
            self._probe,
            tuple(Watched(t.name, t.pulse, t.is_alive) for t in self._threads.values()),
            self._stop.is_set,
        )

    def _sender(self) -> Submitter | Rehearsal:
        """What becomes of the proofs: on a dry run there is nothing here that could send."""
        parts, config = self._parts, self._parts.config
        if config.dry_run:
            return Rehearsal(
                self._store,
                parts.oracle,
                account=parts.signer.address,
                payee=parts.payee,
                log=self._log,
            )
        return Submitter(
            self._store,
            parts.rpc,
            parts.oracle,
            parts.registry,
            parts.signer,
            payee=parts.payee,
            confirmations=config.confirmations,
            priority_fee=config.priority_fee,
            subsidy=config.subsidy_per_request,
            stuck_seconds=config.stuck_seconds,
            clock=self._clock,
            log=self._log,
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

    def troubles(self) -> Iterator[tuple[str, str, str]]:
        """What stands in the way now: service or endpoint, code, and words without secrets."""
        if self._not_taken is not None:
            yield "configuration", *self._not_taken
        if self._not_served is not None:
            yield PAGES, *self._not_served
        if self._parts.config.dry_run:
            yield "dry run", "DRY_RUN", _DRY_RUN
        for watched in self.health.watched:
            if (trouble := watched.pulse.trouble) is not None:
                code, detail = trouble
                yield watched.name, code, secretless(detail)
            elif watched.running() and watched.pulse.overdue > 0:
                yield watched.name, "HUNG", watched.trouble() or ""
        for number, endpoint in enumerate(self._parts.rpc.health(), start=1):
            if endpoint.trouble:
                subject = f"endpoint {number} ({endpoint.name})"
                yield subject, endpoint.code, secretless(endpoint.trouble)

    def recover(self) -> None:
        """Put right what the last run left: run before the first step."""
        self.keeper.join()
        requeued, freed = self._store.recover()
        reconsidered = self._store.reconsider(_LOCAL_FAULTS)
        if requeued or freed or reconsidered:
            self._log.info(
                "recovered", requeued_jobs=requeued, looked_at_again=freed + reconsidered
            )

    def run(self, load: Callable[[], NodeConfig] | None = None) -> None:
        """Serve until `stop`; returns when what was begun is finished or kept.

        Two phases: nothing new is taken, proofs that run are finished and what is proved is sent
        for as long as ``drain_seconds`` allows; then every service finishes its step. What was not
        finished is in the store, and the next start goes on with it.

        Args:
            load: reads the configuration anew, after `hang_up`.
        """
        self.recover()
        with self._serving(), self._listening():
            for thread in self._threads.values():
                thread.start()
            self._say_ready()
            self._wait_for_stop(load)
            self._log.info("stopping")
            self._drain(time.monotonic() + self._parts.config.drain_seconds)
            self._drained.set()
            self._doorbell.ring()
            deadline = time.monotonic() + _STEP_SECONDS
            for thread in self._threads.values():
                thread.join(max(0.0, deadline - time.monotonic()))
        self._leave()
        unfinished = [name for name, thread in self._threads.items() if thread.is_alive()]
        self._log.info("stopped", unfinished=unfinished or None)

    def _say_ready(self) -> None:
        config = self._parts.config
        self._log.info(
            "ready",
            version=__version__,
            chain=config.chain_id,
            oracle=config.oracle,
            account=self._parts.signer.address,
            payee=self._parts.payee,
            models=", ".join(model.name for model in self._parts.served),
        )
        if config.dry_run:
            self._log.warning("dry run", code="DRY_RUN", detail=_DRY_RUN)

    def _wait_for_stop(self, load: Callable[[], NodeConfig] | None) -> None:
        """Wait, and tell systemd that all is well for as long as it is."""
        self._notify("READY=1")
        while not self._stop.is_set():
            self._wake.wait(_WATCHDOG_SECONDS)
            self._wake.clear()
            if self._stop.is_set():
                break
            if self._hung_up and load is not None:
                self._hung_up = False
                self.reload(load)
            if not any(self.health.alive().values()):
                self._notify("WATCHDOG=1")
        self._notify("STOPPING=1")

    def reload(self, load: Callable[[], NodeConfig]) -> None:
        """Take up the terms and the endpoints of the configuration as it is now.

        One that cannot be taken changes nothing, and what needs a start is named.
        """
        old = self._parts.config
        try:
            new = load()
            taken, left = changes(old, new)
            config = merged(old, new)
            accesses = config.endpoints
            if accesses != self._accesses or ENDPOINTS & set(taken):
                rpc = _rpc(config, self._parts.traffic)
                rpc.require_one_chain()
                self._parts.rpc.take_endpoints(rpc)
                self._accesses = accesses
        except OracleError as error:
            self._not_taken = error.code, f"the old one is kept: {secretless(error.message)}"
            self.keeper.tell_anew()
            self._doorbell.ring()
            self._log.error(
                "configuration not taken, the old one is kept", code=error.code, detail=error.line()
            )
            return
        self._not_taken = None
        self._take(config)
        if left:
            self._log.warning("these fields need a restart", fields=", ".join(left))
        self._log.info("configuration taken", fields=", ".join(taken) or None)
        self._doorbell.ring()

    def _take(self, config: NodeConfig) -> None:
        self._parts = dataclasses.replace(self._parts, config=config)
        self.scheduler.take_terms(_terms(config))
        if isinstance(self.submitter, Submitter):
            self.submitter.take_prices(config.priority_fee, config.subsidy_per_request)
        self.health.config = config

    def _notify(self, state: str) -> None:
        try:
            notify(state)
        except OSError as error:
            self._log.warning("systemd was not told", state=state, detail=str(error))

    def _drain(self, deadline: float) -> None:
        self.runner.stop_taking()
        try:
            self._hand_over(deadline)
            self._finish_work(deadline)
        except StoreError as error:
            self._log.warning("work not finished", code=error.code, detail=error.message)

    def _hand_over(self, deadline: float) -> None:
        """Let another node read the chain meanwhile, if there can be one."""
        if not self._store.is_shared:
            return
        self._doorbell.ring()
        self._threads["watcher"].join(max(0.0, deadline - time.monotonic()))
        self._store.drop_duty(DUTY)

    def _finish_work(self, deadline: float) -> None:
        """Wait until no proof runs and the submitter has found nothing more to send."""
        pulse = self._threads["submitter"].pulse
        while self.runner.busy and time.monotonic() < deadline:
            self._turn()
        # Two: the first may have begun before the last proof was there.
        enough, failures = pulse.idle_steps + 2, pulse.failures()
        while (
            pulse.idle_steps < enough
            and pulse.failures() == failures
            and time.monotonic() < deadline
        ):
            self._turn()
        left = len(self._store.running_here())
        if left:
            self._log.warning("proofs given up, to be made again at the next start", proofs=left)

    def _turn(self) -> None:
        # Here and not in `stop`: a signal handler must not wait for the doorbell's lock.
        self._doorbell.ring()
        time.sleep(_DRAIN_POLL)

    @contextmanager
    def _serving(self) -> Iterator[None]:
        """Answer on the port that was configured, if one was.

        A port that cannot be had is logged: what looks at the node must not stop it.
        """
        config = self._parts.config
        with ExitStack() as stack:
            if config.http_port:
                try:
                    service = HttpService(
                        config.http_host,
                        config.http_port,
                        self.pages(),
                        self._log,
                        names=config.http_names,
                    )
                except ConfigError as error:
                    self._not_served = error.code, f"none are served: {error.message}"
                    self._log.error("no pages are served", code=error.code, detail=error.line())
                else:
                    stack.enter_context(service)
            yield

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Wake up at each block that a WebSocket tells of, if one was configured."""
        url = self._parts.config.ws_url
        if url is None:
            yield
            return
        heads = HeadListener(url, self._doorbell.ring, self._arrivals, self._log)
        heads.start()
        try:
            yield
        finally:
            heads.stop()

    def pages(self) -> dict[str, Page]:
        """What is served, by path."""
        parts = self._parts
        collector = NodeCollector(
            self._store,
            self._probe,
            self.health,
            parts.traffic,
            parts.signer.address,
            self._clock,
        )
        metrics = Metrics(collector)
        page = LivePage(
            parts.config, self._store, self.health, parts.cards, parts.signer.address, self._clock
        )
        # In a thread of their own, or a store that hangs would have all that serve.
        aside = Aside(_PAGE_SECONDS)

        def bounded(shown: Page) -> Page:
            return lambda query: aside.ask(lambda: shown(query))

        return {
            **{
                path: bounded(shown) if path.startswith("/api/") else shown
                for path, shown in page.pages().items()
            },
            "/livez": lambda _: _verdict(self.health.alive()),
            "/readyz": lambda _: _verdict(self.health.ready(), self.health.warnings()),
            "/metrics": lambda _: Response(metrics.text(), content_type=CONTENT_TYPE),
        }

    def _supervised(self, name: str) -> Supervised:
        intervals = {
            "keeper": self._keeper_interval,
            "runner": self._runner_interval,
            "scheduler": self._scheduler_interval,
            "watcher": self._watcher_interval,
        }
        return Supervised(
            name,
            self.services[name],
            doorbell=self._doorbell,
            stop=self._stop if name in _TAKERS else self._drained,
            interval=intervals.get(name, self._interval),
            log=self._log,
            pulse=Pulse(self._parts.config.stall_seconds),
        )

    def stop(self) -> None:
        """Take nothing new, finish and return from `run`. Safe in a signal handler."""
        self._stop.set()
        self._wake.set()

    def hang_up(self) -> None:
        """Have the configuration read anew. Safe in a signal handler."""
        self._hung_up = True
        self._wake.set()

    def _leave(self) -> None:
        """Free what this node holds for the others, if there can be any."""
        try:
            if self._store.is_shared:
                self._store.leave()
            else:
                # Nothing stands in the way of a node that has stopped.
                self._store.set_troubles(())
        except StoreError as error:
            # Then they take over when its lease ends.
            self._log.warning("not signed off", code=error.code, detail=error.message)

    def _interval(self) -> float:
        return self._parts.config.poll_seconds

    def _watcher_interval(self) -> float:
        if self.watcher.head < self._arrivals.told:
            # The endpoint does not have the block yet that the socket told of, or was not asked.
            return min(self._interval(), _TOLD_SECONDS)
        return max(self._interval(), self._arrivals.seconds_left())

    def _scheduler_interval(self) -> float:
        config = self._parts.config
        # Requests that wait for others are due between two looks at the chain.
        return min(config.poll_seconds, config.batch_wait_seconds or config.poll_seconds)

    def _keeper_interval(self) -> float:
        config = self._parts.config
        return min(config.poll_seconds, config.lease_seconds / BEATS)

    def _runner_interval(self) -> float:
        return _PROOF_POLL if self.runner.busy else self._interval()


def run_until_signal(node: Node, load: Callable[[], NodeConfig] | None = None) -> None:
    """Run a node until SIGTERM or SIGINT; a second signal ends the process at once.

    Args:
        node: the node.
        load: reads the configuration anew, at SIGHUP.
    """
    signals = 0

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            os._exit(128 + number)
        node.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    signal.signal(signal.SIGHUP, lambda *_: node.hang_up())
    node.run(load)


def _check_balance(rpc: Rpc, address: str, config: NodeConfig) -> str:
    balance, min_balance = rpc.balance(address), config.min_balance
    if config.dry_run:
        return f"{address} holds {balance} wei; a dry run needs none"
    # No minimum still needs gas: an empty account can send nothing.
    if balance < max(min_balance, 1):
        raise AccountUnfunded(
            f"account {address} holds {balance} wei, {min_balance} are needed",
            remedy=f"Send at least {max(min_balance, 1) - balance} wei to it",
        )
    return f"{address} holds {balance} wei"


def _rpc(config: NodeConfig, traffic: Traffic) -> Rpc:
    def transport(access: Access, timeout: float) -> Transport:
        return ObservedTransport(HttpTransport(access, timeout), redacted(access.url), traffic)

    return Rpc(
        config.endpoints,
        config.chain_id,
        config.rpc_timeout,
        transport,
        rate=config.rpc_requests_per_second,
        burst=config.rpc_burst,
        cross_check=config.log_cross_check,
    )


def _verdict(troubles: dict[str, str | None], warnings: Mapping[str, str] = {}) -> Response:
    """200 when nothing is wrong, else 503; with what is wrong in either case."""
    wrong = {name: text for name, text in troubles.items() if text}
    report = {
        "ok": not wrong,
        "wrong": wrong,
        "warnings": dict(warnings),
        "checked": sorted(troubles),
    }
    return Response.of_json(report, 503 if wrong else 200)


def _signer(config: NodeConfig) -> Signer:
    if config.key_file is not None:
        return LocalSigner.from_key_file(config.key_file)
    if config.keystore is not None and config.password_file is not None:
        return LocalSigner.from_keystore(config.keystore, config.password_file)
    if config.signer_url is not None and config.signer_account is not None:
        remote = RemoteSigner(config.signer_url, config.signer_account, config.signer_timeout)
        remote.connect()
        return remote
    raise ConfigError("set either key_file or keystore or signer_url")


def _terms(config: NodeConfig) -> Terms:
    return Terms(
        min_income=config.min_income,
        subsidy=config.subsidy_per_request,
        reserve=Means(
            0 if config.dry_run else config.min_balance,
            config.min_disk_bytes,
            config.min_memory_bytes,
        ),
        max_open_per_account=config.max_open_per_account,
        only_accounts=frozenset(config.only_accounts),
        refused_accounts=frozenset(config.refused_accounts),
    )


def _bundle(path: Path, config: NodeConfig) -> Bundle:
    bundle = Bundle.load(path, config.srs_dir)
    bundle.require_safe(config.chain_id)
    return bundle


def _serve(bundle: Bundle, prove_timeout: float) -> ServedModel:
    return ServedModel(
        bundle_id=bundle.bundle_id,
        name=bundle.name,
        spec=bundle.spec,
        circuits=tuple(
            ServedCircuit(
                size=sized.size,
                circuit=sized.circuit,
                # The publisher's word, no hash covers it; a proof that takes longer is stopped.
                prove_seconds=min(sized.measures.prove_seconds, prove_timeout),
                memory_bytes=memory_cap(sized.circuit),
            )
            for sized in bundle.circuits
        ),
    )


def _describe(registry: RegistryContract, served: ServedModel, model: RegisteredModel) -> str:
    sizes = ", ".join(map(str, common_sizes(model.spec, served.spec)))
    # A bundle with such an SRS is served on a local chain only.
    unsafe = registry.trust(model.model_id).kind is Trust.ONE_PARTY
    mark = "; unsafe SRS" if unsafe else ""
    return f"{served.name} is model {model.model_id} (rows in a proof: {sizes}{mark})"


def _registered(rpc: Rpc, registry: RegistryContract, served: ServedModel) -> RegisteredModel:
    """The registry's row of a served model, whose verifier is what it should be.

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
        if not is_ours(model):
            differs = ContractMismatch(
                f"model {model_id} is registered with another proof system or kind of input than the "
                f"bundle {served.name} has",
                remedy="Use the bundle that the model was registered with",
            )
            continue
        if model.spec.input_ranges != served.spec.input_ranges:
            differs = ContractMismatch(
                f"model {model_id} holds its inputs to other ranges than the bundle {served.name}",
                remedy="Use the bundle that the model was registered with",
            )
            continue
        actual = code_hash(rpc, model.verifier)
        if actual == served.spec.verifier_code_hash:
            return model
        differs = ContractMismatch(
            f"the verifier of model {model_id} has code hash {actual.hex()}, "
            f"the bundle {served.name} says {served.spec.verifier_code_hash.hex()}",
            remedy="Use the bundle that the model was registered with",
        )
    raise differs or ContractMismatch(
        f"the bundle {served.name} is not registered at {registry.address}",
        remedy="Register it, or correct bundles",
    )
