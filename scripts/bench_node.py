"""The daemon's times: ``make bench-node``. Writes ``build/bench/node.json`` and ``node.svg``.

Everything is measured on a node in a process of its own, started as an operator starts it, that
serves the demo model.

    latency        anvil, real contracts, real proofs, one request after the other: from the moment
                   the request is mined until its answer is; the node's share is what witness, proof
                   and local check did not take.
    throughput     requests that were made before the node starts. Busy: a prover's process runs;
                   ``proving_share`` counts witness, proof and check alone.
    catch_up       logs of requests that were answered long ago, from an endpoint that answers at
                   once: from the first block until the cursor is at the head.
    full_store     a store with a million requests: until the node is ready, its status, and the
                   latency of a request then.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from oracle import demo, tensor
from oracle.chain.rpc import HttpTransport
from oracle.circuits.bundle import Bundle
from oracle.circuits.plot import svg_of
from oracle.config import build_dir, load_node_config
from oracle.devnet import CHAIN_ID, Anvil, Deployed, NodeProcess, deploy
from oracle.policy import p95
from oracle.store.ledger import Store
from oracle.store.states import RequestState
from oracle.testing_http import over_http
from scripts.bench_report import machine, write
from scripts.node_worlds import LOGS_PER_REQUEST, OldLogs, fill

Json = dict[str, Any]
#: What each figure must be: at most, or at least.
BUDGETS: dict[str, tuple[str, float]] = {
    "latency_p50": ("<=", 1.5),
    "node_share_p50": ("<=", 0.3),
    "prover_busy": (">=", 0.9),
    "catch_up_logs_per_second": (">=", 2_000),
    "rss_mb": ("<=", 200),
    "start_with_1m_seconds": ("<=", 3),
    "status_with_1m_seconds": ("<=", 0.05),
}
_PAUSE = 0.005
_LONGEST_WAIT = 900.0


@dataclass(frozen=True)
class Bench:
    """A devnet with the contracts."""

    folder: Path
    anvil: Anvil
    deployed: Deployed
    bundle: Bundle
    config: Path

    @contextmanager
    def node(self) -> Iterator[NodeProcess]:
        """A running node; ended without a goodbye."""
        node = NodeProcess(self.config, self.folder / "node.log")
        try:
            yield node
        finally:
            node.close()

    def ask(self) -> demo.Asked:
        """Make a request; returns once it is mined."""
        data = tensor.encode((5.1, 3.5, 1.4, 0.2), self.bundle.spec.input)
        return demo.ask(self.deployed, data)

    def store(self) -> Store:
        """The node's store, to look at."""
        config = load_node_config(self.config)
        return Store.open(config.store, CHAIN_ID, config.oracle, time.time, read_only=True)


@contextmanager
def bench(name: str, bundle: Bundle) -> Iterator[Bench]:
    """A fresh devnet."""
    with tempfile.TemporaryDirectory(prefix=f"oracle-bench-{name}-") as folder:
        path = Path(folder)
        with Anvil(path / "anvil.log") as anvil:
            deployed = deploy(anvil.w3, bundle, "PredictionConsumer")
            config = demo.write_node_config(path, anvil, deployed, bundle)
            yield Bench(path, anvil, deployed, bundle, config)


def latency(bundle: Bundle, requests: int) -> Json:
    """Requests one after the other."""
    seconds, shares = [], []
    with bench("latency", bundle) as here, here.node() as node:
        node.wait_for_event("ready", 60)
        # The first one reads the model and the verifier's code, which never change.
        demo.wait_for_answer(here.deployed, here.ask())
        for _ in range(requests):
            asked = here.ask()
            demo.wait_for_answer(here.deployed, asked)
            seconds.append(time.monotonic() - asked.sent_at)
            wait_until(partial(_is_proved, node, asked.request_id), node)
            shares.append(seconds[-1] - demo.proving_seconds(node, asked.request_id))
        memory = rss_mb(node)
    return {
        "latency_p50": statistics.median(seconds),
        "latency_p95": p95(seconds, 0),
        "node_share_p50": statistics.median(shares),
        "node_share_p95": p95(shares, 0),
        "latencies": seconds,
        "node_shares": shares,
        "rss_mb": memory,
    }


def _is_proved(node: NodeProcess, request_id: int) -> bool:
    wanted = f"{request_id:#066x}"
    return any(e["event"] == "proved" and e["request"] == wanted for e in node.log_events())


def throughput(bundle: Bundle, requests: int) -> Json:
    """Requests that wait when the node starts."""
    with bench("throughput", bundle) as here:
        for _ in range(requests):
            here.ask()
        with here.node() as node:
            node.wait_for_event("ready", 60)
            wait_until(lambda: _count(node, "request fulfilled") >= requests, node)
            events, memory = node.log_events(), rss_mb(node)
    began = {e["job"]: _time(e) for e in events if e["event"] == "proving"}
    ended = {e["job"]: e for e in events if e["event"] == "proved"}
    span = max(map(_time, ended.values())) - min(began.values())
    return {
        "prover_busy": sum(_time(e) - began[job] for job, e in ended.items()) / span,
        "proving_share": sum(e["proving_seconds"] for e in ended.values()) / span,
        "queued": requests,
        "requests_per_second": requests / span,
        "throughput_seconds": span,
        "rss_mb": memory,
    }


def _count(node: NodeProcess, event: str) -> int:
    return sum(line["event"] == event for line in node.log_events())


def _time(event: Json) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def catch_up(bundle: Bundle, logs: int) -> Json:
    """Logs from long ago."""
    with bench("catch-up", bundle) as here:
        past = int(time.time()) - 86_400
        old = OldLogs(HttpTransport(here.anvil.url, 10), here.deployed.oracle.address, logs, past)
        with over_http(old) as url:
            text = here.config.read_text().replace(here.anvil.url, url)
            here.config.write_text(text)
            with here.node() as node:
                node.wait_for_event("ready", 60)
                started, store = time.monotonic(), here.store()
                progress = [(0.0, 0)]

                def is_done() -> bool:
                    cursor = store.cursor()
                    at = cursor.block if cursor else 0
                    progress.append((time.monotonic() - started, at * LOGS_PER_REQUEST))
                    return at >= old.height

                wait_until(is_done, node, pause=0.05)
                seconds = time.monotonic() - started
                counted = store.counts()
                store.close()
                memory = rss_mb(node)
    if counted != {RequestState.LOST: old.height}:
        raise SystemExit(f"the old requests are not what they were: {counted}")
    return {
        "catch_up_logs_per_second": old.height * LOGS_PER_REQUEST / seconds,
        "catch_up_logs": old.height * LOGS_PER_REQUEST,
        "catch_up_seconds": seconds,
        "catch_up_progress": progress[:: max(1, len(progress) // 100)],
        "rss_mb": memory,
    }


def full_store(bundle: Bundle, rows: int) -> Json:
    """A start with many requests in the store."""
    with bench("full-store", bundle) as here:
        config = load_node_config(here.config)
        block = here.anvil.w3.eth.block_number
        fill(
            Path(str(config.store)),
            CHAIN_ID,
            config.oracle,
            rows=rows,
            block=block,
            bundle=bundle.bundle_id,
        )
        started = time.monotonic()
        with here.node() as node:
            node.wait_for_event("ready", 120)
            ready = time.monotonic() - started
            asked = here.ask()
            demo.wait_for_answer(here.deployed, asked)
            answered = time.monotonic() - asked.sent_at
            store = here.store()
            queries: dict[str, Callable[[], object]] = {
                "counts": store.counts,
                "recent": lambda: store.recent(10),
                "open_batches": lambda: store.open_batches(10),
                "backlog": store.backlog,
            }
            times = {name: _least_seconds(query) for name, query in queries.items()}
            store.close()
            memory = rss_mb(node)
            paused = [e for e in node.log_events() if e["event"].startswith("service ")]
    return {
        "start_with_1m_seconds": ready,
        "status_with_1m_seconds": max(times.values()),
        "status_query_seconds": times,
        "latency_with_1m_seconds": answered,
        "services_paused_with_1m": len(paused),
        "rows": rows,
        "rss_mb": memory,
    }


def _least_seconds(query: Callable[[], object], times: int = 5) -> float:
    def once() -> float:
        started = time.perf_counter()
        query()
        return time.perf_counter() - started

    return min(once() for _ in range(times))


def wait_until(done: Callable[[], bool], node: NodeProcess, pause: float = _PAUSE) -> None:
    """Wait, but not for a node that has stopped."""
    deadline = time.monotonic() + _LONGEST_WAIT
    while not done():
        if time.monotonic() > deadline or not Path(f"/proc/{node.pid}/exe").exists():
            raise SystemExit(f"the node did not get there: {node.log_events()[-3:]}")
        time.sleep(pause)


def rss_mb(node: NodeProcess) -> float:
    """The most memory that a node had at any time (MiB)."""
    status = Path(f"/proc/{node.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def draw(results: Json) -> str:
    """Latencies, the catch-up over time, and every figure against its budget."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    if "latencies" in results:
        pairs = sorted(zip(results["latencies"], results["node_shares"], strict=True))
        proving = [total - share for total, share in pairs]
        places = range(len(pairs))
        left.bar(places, proving, color="#2b6cb0", label="proving")
        left.bar(places, [s for _, s in pairs], bottom=proving, color="#b7791f", label="node")
        left.legend(frameon=False)
    left.set_title("Request mined to answer mined, sorted (s)", fontsize=10)
    if "catch_up_progress" in results:
        middle.plot(*zip(*results["catch_up_progress"], strict=True), color="#2b6cb0")
        middle.set_xlabel("seconds", fontsize=9)
    middle.set_title("Old logs read", fontsize=10)
    known = [name for name in BUDGETS if name in results]
    # More than one is over the budget, whichever way that lies.
    used = [
        results[name] / limit if sign == "<=" else limit / results[name]
        for name, (sign, limit) in ((name, BUDGETS[name]) for name in known)
    ]
    drawn = right.barh(known, used, color=["#2f855a" if u <= 1 else "#c53030" for u in used])
    right.bar_label(drawn, [f"{results[name]:.3g}" for name in known], padding=3, fontsize=8)
    right.axvline(1, color="black", linestyle="--", linewidth=0.8)
    right.set_title("Share of the budget", fontsize=10)
    right.margins(x=0.2)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return svg_of(figure)


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=30, help="for latency")
    parser.add_argument("--queued", type=int, default=200, help="for throughput")
    parser.add_argument("--logs", type=int, default=100_000, help="to catch up with")
    parser.add_argument("--rows", type=int, default=1_000_000, help="in the full store")
    parser.add_argument("--only", help="comma-separated parts; the others are kept as they were")
    arguments = parser.parse_args()
    parts: dict[str, Callable[[Bundle], Json]] = {
        "latency": lambda bundle: latency(bundle, arguments.requests),
        "throughput": lambda bundle: throughput(bundle, arguments.queued),
        "catch_up": lambda bundle: catch_up(bundle, arguments.logs),
        "full_store": lambda bundle: full_store(bundle, arguments.rows),
    }
    chosen = arguments.only.split(",") if arguments.only else list(parts)
    path = build_dir() / "bench" / "node.json"
    results: Json = json.loads(path.read_text()) if arguments.only and path.exists() else {}
    memory: Json = results.get("rss_mb_by_part", {})
    bundle = demo.iris_bundle(lambda _: None)
    for name in chosen:
        measured = parts[name](bundle)
        memory[name] = measured.pop("rss_mb")
        results |= measured
        shown = {key: value for key, value in measured.items() if not isinstance(value, list)}
        print(name, json.dumps(shown | {"rss_mb": memory[name]}), flush=True)
    results |= {"rss_mb_by_part": memory, "rss_mb": max(memory.values())}
    missed = [
        name
        for name, (sign, limit) in BUDGETS.items()
        if name in results
        and not (results[name] <= limit if sign == "<=" else results[name] >= limit)
    ]
    write(path, results | {"budgets_missed": missed} | machine())
    path.with_suffix(".svg").write_text(draw(results))
    print(f"over the budget: {', '.join(missed) or 'nothing'}")


if __name__ == "__main__":
    main()
