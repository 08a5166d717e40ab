"""The node's figures as Prometheus metrics, gathered when somebody asks for them.

What must outlive a restart comes from the store. Every value that a label may have is there from
the start, at 0: of a series that begins at 1 an alert sees no increase.

Names end in their unit; counters end in ``_total``, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from oracle import __version__
from oracle.chain.observed import Traffic
from oracle.config import NodeConfig
from oracle.errors import OracleError, ProverError
from oracle.health import ChainProbe, Clock, Health
from oracle.machine import available_memory, free_disk
from oracle.policy import Reason
from oracle.store.ledger import Store
from oracle.store.records import Cursor
from oracle.store.states import RequestState
from oracle.store.totals import ANSWER_BOUNDS, OWN_BOUNDS, PROOF_BOUNDS, histogram

PREFIX = "oracle_node_"
_RESULTS = ("fulfilled", "reverted", "cancelled", "displaced")
_Totals = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, eq=False)
class NodeCollector(Collector):
    """Gathers a node's metrics.

    Args:
        store: the ledger.
        probe: the chain.
        health: the node's own opinion.
        traffic: what went over the endpoints.
        account: who sends.
        clock: seconds since the epoch.
    """

    store: Store
    probe: ChainProbe
    health: Health
    traffic: Traffic
    account: str
    clock: Clock

    @property
    def config(self) -> NodeConfig:
        """What the figures are compared with, as it is now."""
        return self.health.config

    def collect(self) -> Iterator[Metric]:
        """All metrics; those of the store or the chain are left out while it cannot be read."""
        yield from self._process()
        yield from self._machine()
        for part in (self._chain, lambda: self.health.aside.ask(lambda: list(self._ledger()))):
            try:
                # A list: what fails half-way gives nothing.
                yield from list(part())
            except OracleError:
                # oracle_node_ready says which it was, and why is in /readyz.
                continue

    def _process(self) -> Iterator[Metric]:
        config = self.config
        yield InfoMetricFamily(
            PREFIX + "build",
            "What runs, and for which contract.",
            {
                "version": __version__,
                "chain_id": str(config.chain_id),
                "oracle": config.oracle,
                "account": self.account,
            },
        )
        yield _gauge("dry_run", "1 while nothing is sent.", config.dry_run)
        yield _gauges(
            "ready",
            "1 while /readyz finds nothing wrong with it.",
            "check",
            {name: float(text is None) for name, text in self.health.ready().items()},
        )
        yield _gauges(
            "service_alive",
            "1 while the service steps.",
            "service",
            {name: float(text is None) for name, text in self.health.alive().items()},
        )
        failures = CounterMetricFamily(
            PREFIX + "service_failures",
            "Steps of a service that ended with an error.",
            labels=("service", "code"),
        )
        for watched in self.health.watched:
            for code, amount in {"CRASH": 0, **watched.pulse.failures()}.items():
                failures.add_metric((watched.name, code), amount)
        yield failures
        yield _counters("rpc_requests", "Calls to an endpoint.", "endpoint", self.traffic.calls())
        yield _counters(
            "rpc_wait_seconds",
            "Seconds spent waiting for an endpoint.",
            "endpoint",
            self.traffic.seconds(),
        )
        errors = CounterMetricFamily(
            PREFIX + "rpc_errors", "Calls that an endpoint failed.", labels=("endpoint", "kind")
        )
        seen = dict.fromkeys(
            ((name, kind) for name in self.traffic.calls() for kind in _RPC_KINDS), 0
        )
        for labels, amount in {**seen, **self.traffic.errors()}.items():
            errors.add_metric(labels, amount)
        yield errors

    def _machine(self) -> Iterator[Metric]:
        config = self.config
        free = {name: float(free_disk(folder)) for name, folder in config.folders.items()}
        yield _gauges("disk_free_bytes", "Room on the folder's disk.", "folder", free)
        yield _gauge(
            "disk_reserve_bytes", "Room below which nothing is taken.", config.min_disk_bytes
        )
        yield _gauge("memory_available_bytes", "Memory that is left.", available_memory())
        yield _gauge(
            "memory_reserve_bytes", "Memory below which nothing is taken.", config.min_memory_bytes
        )
        yield _gauge("prover_workers", "Proofs that may be made at once.", config.workers)
        yield _gauge(
            "balance_reserve_wei", "Balance below which nothing is taken.", config.min_balance
        )

    def _chain(self) -> Iterator[Metric]:
        look = self.probe.look()
        yield _gauge("balance_wei", "What the account holds.", look.balance)
        gaps, cursor = self.health.aside.ask(
            lambda: (self.store.missing_nonces(self.account, look.nonce), self.store.cursor())
        )
        yield _gauge(
            "nonce_gaps", "Nonces without a transaction before the last one that was sent.", gaps
        )
        if cursor is not None:
            behind = max(0, look.head - self.config.confirmations - cursor.block)
            yield _gauge("cursor_lag_blocks", "Confirmed blocks that are not read yet.", behind)

    def _ledger(self) -> Iterator[Metric]:
        now, store = self.clock(), self.store
        yield from self._cursor(store.cursor(), now)
        found = store.counts()
        counts = {state.value: float(found.get(state, 0)) for state in RequestState}
        yield _gauges("requests", "Requests by where they stand now.", "state", counts)
        work = store.workload()
        yield _gauge("queue_length", "Proofs that wait for a worker.", work.queued)
        yield _gauge("prover_busy_workers", "Proofs that are being made.", work.running)
        yield _gauge(
            "oldest_request_age_seconds",
            "How long the oldest unanswered request is known.",
            0 if work.oldest_request is None else now - work.oldest_request,
        )
        yield _gauge(
            "oldest_transaction_age_seconds",
            "How long the oldest transaction waits to be mined.",
            0 if work.oldest_transaction is None else now - work.oldest_transaction,
        )
        yield from self._counted(store.totals())

    def _cursor(self, cursor: Cursor | None, now: float) -> Iterator[Metric]:
        if cursor is None:
            return
        yield _gauge("cursor_block", "Last block that was read.", cursor.block)
        yield _gauge("head_block", "Newest block that was seen.", cursor.head)
        yield _gauge(
            "clock_drift_seconds",
            "By how much this machine's clock is ahead of the chain's.",
            self.probe.drift.seconds,
        )
        if cursor.head_timestamp:
            yield _gauge(
                "head_age_seconds",
                "Age of the newest block by this machine's clock.",
                now - cursor.head_timestamp,
            )
        if cursor.block_timestamp:
            yield _gauge(
                "cursor_lag_seconds",
                "Time between the last block that was read and the newest one.",
                max(0, cursor.head_timestamp - cursor.block_timestamp),
            )

    def _counted(self, totals: _Totals) -> Iterator[Metric]:
        steps = _from_zero(RequestState, totals, "request_steps")
        yield _counters("request_steps", "Requests that came to a state.", "state", steps)
        reasons = _from_zero(("accepted", *Reason), totals, "decisions")
        yield _counters("decisions", "Decisions, by reason.", "reason", reasons)
        proofs = CounterMetricFamily(
            PREFIX + "proofs", "Proofs, by how they ended.", labels=("result", "code")
        )
        for key, amount in _from_zero(_NO_PROOFS, totals, "proofs").items():
            result, _, code = key.partition(":")
            proofs.add_metric((result, code), amount)
        yield proofs
        results = _from_zero(_RESULTS, totals, "transactions")
        yield _counters("transactions", "Transactions, by how they ended.", "result", results)
        earned = _from_zero(("fee", "gas"), totals, "wei_earned")
        yield _counters("wei_earned", "Credited by the contract.", "kind", earned)
        yield _counter("wei_spent", "Paid for gas.", _one(totals, "wei_spent"))
        yield _counter("gas_used", "Gas of the node's transactions.", _one(totals, "gas_used"))
        for name, bounds, text in _HISTOGRAMS:
            found = histogram(totals, name, bounds)
            family = HistogramMetricFamily(PREFIX + name, text)
            family.add_metric((), buckets=list(found.buckets), sum_value=found.sum)
            yield family


_RPC_KINDS = ("RPC_UNREACHABLE", "RPC_THROTTLED", "RPC_UNCERTAIN", "RPC_REJECTED", "RPC_LIMIT")
_HISTOGRAMS = (
    ("proof_seconds", PROOF_BOUNDS, "Witness, proof and local check."),
    ("answer_seconds", ANSWER_BOUNDS, "From a request's first sight to its mined answer."),
    ("own_seconds", OWN_BOUNDS, "The same without the proof: the node's and the chain's share."),
)


def _codes(root: type[OracleError]) -> Iterator[str]:
    yield root.code
    for child in root.__subclasses__():
        yield from _codes(child)


_NO_PROOFS = (
    "proved:",
    "cancelled:",
    *(f"{result}:{code}" for result in ("failed", "retried") for code in _codes(ProverError)),
)


class Metrics:
    """The registry of one node; nothing global."""

    def __init__(self, collector: NodeCollector) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(collector)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=(label,))
    return _filled(family, values.items())


def _counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=(label,))
    return _filled(family, values.items())


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, values: Iterable[tuple[str, float]]
) -> Metric:
    for label, value in values:
        family.add_metric((label,), value)
    return family


def _from_zero(labels: Iterable[str], totals: _Totals, name: str) -> dict[str, float]:
    """What was counted, by label; 0 for those of ``labels`` that were not.

    str() of a StrEnum is its value: no alert would match a label that is its repr.
    """
    return {**dict.fromkeys(map(str, labels), 0.0), **totals.get(name, {})}


def _one(totals: _Totals, name: str) -> float:
    return totals.get(name, {}).get("", 0.0)
