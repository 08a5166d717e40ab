"""A ledger of a million requests: ``make bench-store``.

Fills a new store (``bench_store.sql``), then measures what an operator waits for: a node's start on
it until it is ready, each service's first step, and the questions that ``oracle node status``
asks. Writes ``build/bench/store.json`` and prints it. Proofs and transactions are short, for the sake
of the disk. ``--url`` measures a PostgreSQL database, whose store must be new.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eth_account import Account
from pydantic import SecretStr

from oracle.chain.contracts import OracleContract, RegistryContract
from oracle.chain.signer import LocalSigner
from oracle.config import NodeConfig, build_dir
from oracle.log import make_logger
from oracle.node import Node, Parts
from oracle.store.database import Location, named_statements, open_database
from oracle.store.ledger import Store
from oracle.testing import ORACLE, REGISTRY, FakeChain, FakeProver

CHAIN = 31337
SIGNER = LocalSigner(Account.from_key("0x" + "11" * 32))
#: Seconds since the epoch; the requests were made in the month before.
NOW = 1_800_000_000.0
MONTH = 30 * 24 * 3600.0
#: How many are on their way.
OPEN = 300
#: Bytes of a proof, an input, a transaction.
BYTES = 64
#: Answers to a question, of which the median and the slowest are told.
REPEATS = 20
#: Steps of every request in the history.
STATES = ("seen", "accepted", "queued", "running", "proved", "pending", "mined", "final")
START_TARGET, STATUS_TARGET = 3.0, 0.05


def clock() -> float:
    """The time at which the ledger was left."""
    return NOW


def fill(location: Location, count: int) -> None:
    """Write a ledger of ``count`` requests into a new store."""
    database = open_database(location)
    store = Store(database, CHAIN, ORACLE, clock)
    database.define(named_statements(Path(__file__).with_suffix(".sql").read_text()))
    if store.is_shared:
        database.define({"blob": "CREATE DOMAIN blob AS bytea", "analyze": "ANALYZE"})
        database.run("blob")
    values = {
        "count": count,
        "open": OPEN,
        "payee": SIGNER.address,
        "bytes": bytes(BYTES),
        "now": NOW,
        "month": MONTH,
    }
    steps = ("jobs", "requests", "job_requests", "intents", "intent_requests", "transactions")
    fills = [(f"fill_{table}", values) for table in steps]
    fills += [("fill_history", {"state": state}) for state in STATES]
    for name, given in fills:
        database.run(name, **given)
        if store.is_shared:
            # As the server does by itself after a while.
            database.run("analyze")
    store.start_cursor(count, 2_000)
    store.set_head(count, int(NOW), 10**9)
    store.close()


def start(location: Location) -> tuple[float, dict[str, float]]:
    """Seconds until a node on the store is ready; and those of each service's first step."""
    chain = FakeChain(CHAIN, clock=clock)
    rpc = chain.rpc()
    config = NodeConfig(
        chain_id=CHAIN,
        rpc_urls=("http://fake",),
        oracle=ORACLE,
        bundles=(Path("bundle"),),
        store=location,
        work_dir=Path("jobs"),
        key_file=Path("key"),
    )
    oracle, registry = OracleContract(rpc, ORACLE), RegistryContract(rpc, REGISTRY)
    parts = Parts(config, rpc, oracle, registry, SIGNER, ())
    began = time.perf_counter()
    store = Store.open(location, CHAIN, ORACLE, clock)
    prover = FakeProver(lambda inputs: inputs)
    node = Node(parts, store, prover, clock, make_logger(io.StringIO(), json=True))
    node.recover()
    ready = time.perf_counter() - began
    steps = {}
    for name, service in node.services.items():
        began = time.perf_counter()
        service.step()
        steps[name] = round(time.perf_counter() - began, 4)
    store.close()
    return ready, steps


def questions(store: Store) -> dict[str, Callable[[], object]]:
    """What ``oracle node status`` asks."""
    return {
        "cursor": store.cursor,
        "counts": store.counts,
        "recent": lambda: store.recent(10),
        "open_batches": lambda: store.open_batches(10),
        "members": store.members,
    }


def measure(location: Location, count: int) -> dict[str, Any]:
    """Fill a new store and measure it."""
    began = time.perf_counter()
    fill(location, count)
    filled = time.perf_counter() - began
    seconds, steps = start(location)
    reader = Store.open(location, CHAIN, ORACLE, clock, read_only=True)
    times = {name: _times(ask) for name, ask in questions(reader).items()}
    reader.close()
    again, _ = start(location)
    slowest = sum(max(each) for each in times.values())
    return {
        "store": "sqlite" if isinstance(location, Path) else "postgres",
        "requests": count,
        "fill_seconds": round(filled, 1),
        # The first start decides anew on what was skipped; the second finds that done.
        "start_seconds": round(seconds, 3),
        "start_again_seconds": round(again, 3),
        "first_step_seconds": steps,
        "status_seconds": round(sum(map(statistics.median, times.values())), 5),
        "status_slowest_seconds": round(slowest, 5),
        "questions": {name: round(statistics.median(each), 6) for name, each in times.items()},
        "met": seconds < START_TARGET and slowest < STATUS_TARGET,
    }


def _times(ask: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        ask()
        times.append(time.perf_counter() - began)
    return times


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--url", help="of a PostgreSQL database, in place of a SQLite file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=_folder()) as folder:
        location: Location = SecretStr(options.url) if options.url else Path(folder) / "node.db"
        report = measure(location, options.count)
    text = json.dumps(report, indent=2)
    (_folder() / "store.json").write_text(text + "\n")
    print(text)


def _folder() -> Path:
    folder = build_dir() / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
