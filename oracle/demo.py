"""The main job, once, with real parts only: model, circuit, chain, node, proof, callback, thieves."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
from eth_utils.address import to_checksum_address
from web3.logs import DISCARD
from web3.types import EventData, RPCEndpoint

from oracle import attacks, tensor
from oracle.chain.toolchain import NO_CHECKOUT, SOLC_CONTRACTS
from oracle.circuits.build import build_cached, reference
from oracle.circuits.bundle import Bundle
from oracle.circuits.srs import SrsSource
from oracle.config import build_dir, project_root
from oracle.devnet import CHAIN_ID, Anvil, Deployed, NodeProcess, deploy, fund_new_key, transact
from oracle.errors import RequestTimeout, ToolchainError

#: The model that ships with the project: iris flowers, four measurements in, three scores out.
IRIS = Path("scripts/models/iris.onnx")
IRIS_SAMPLES = Path("scripts/models/iris_samples.npy")
#: The first flower of the data set, a setosa: what the documents ask.
FLOWER = (5.1, 3.5, 1.4, 0.2)
IRIS_LABELS = ("setosa", "versicolor", "virginica")
MAX_ERROR = 0.1

_NODE_ETHER = 10 * 10**18
_ANSWER_TIMEOUT = 120.0


class Report(Protocol):
    """Where the demo says what it is doing."""

    def step(self, title: str) -> AbstractContextManager[Callable[[str], None]]:
        """Announce a step; the callable adds detail while it runs."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was mined."""

    request_id: int
    block_number: int
    gas_used: int
    #: Monotonic seconds just before it was sent; anvil mines at once.
    sent_at: float


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What happened. Gas in gas units, times in seconds, outputs in the model's own units."""

    model: str
    input: tuple[float, ...]
    prediction_reference: tuple[float, ...]
    output_onchain: tuple[float, ...]
    label_reference: int
    label_onchain: int
    max_abs_error: float
    request_gas: int
    fulfil_gas: int
    verify_gas: int
    callback_gas: int
    prove_seconds: float
    latency_seconds: float
    node_overhead_seconds: float
    total_seconds: float
    tamper: dict[str, bool]
    versions: dict[str, str]

    @property
    def ok(self) -> bool:
        """The stored answer is the model's, and every theft failed."""
        return self.label_onchain == self.label_reference and all(self.tamper.values())


def run(report: Report, folder: Path) -> DemoResult:
    """Run the demo.

    Args:
        report: told about progress.
        folder: empty; receives logs, configuration and the node's database.

    Raises:
        OracleError: a step failed; the first that did.
    """
    started = time.monotonic()
    with report.step("Build circuit, keys and verifier contract") as detail:
        bundle = iris_bundle(detail)
        detail(
            f"2^{bundle.measures.logrows} rows, key {bundle.measures.proving_key_bytes:,} bytes, "
            f"verifier {bundle.measures.verifier_code_bytes:,} bytes"
        )
    features = samples()[np.random.default_rng(seed=7).integers(len(samples()))]
    expected = np.asarray(reference(bundle, features[None, :])[0], dtype=np.float64)
    with Anvil(folder / "anvil.log") as anvil:
        with report.step("Deploy registry, oracle, verifier and a caller contract") as detail:
            deployed = deploy(anvil.w3, bundle, "PredictionConsumer")
            detail(f"oracle at {deployed.oracle.address}")
        node = NodeProcess(write_node_config(folder, anvil, deployed, bundle), folder / "node.log")
        try:
            with report.step("Start the node in a process of its own") as detail:
                detail(f"account {node.wait_for_event('ready')['account']}")
            return _ask_and_attack(report, deployed, bundle, node, features, expected, started)
        finally:
            node.close()


def iris_bundle(detail: Callable[[str], None]) -> Bundle:
    """The demo's bundle, built with an unsafe devnet SRS, or the one built before."""
    return build_cached(
        _in_checkout(IRIS),
        samples(),
        name="iris",
        max_error=MAX_ERROR,
        srs=SrsSource(build_dir() / "srs", unsafe=True),
        progress=detail,
    )


def samples() -> npt.NDArray[np.float64]:
    """The data set's inputs, float [n, 4], in centimetres."""
    return np.asarray(np.load(_in_checkout(IRIS_SAMPLES)), dtype=np.float64)


def _in_checkout(name: Path) -> Path:
    path = project_root() / name
    if not path.exists():
        raise ToolchainError(f"the demo's model is not here: no {path}", remedy=NO_CHECKOUT)
    return path


def _ask_and_attack(
    report: Report,
    deployed: Deployed,
    bundle: Bundle,
    node: NodeProcess,
    features: npt.NDArray[np.float64],
    expected: npt.NDArray[np.float64],
    started: float,
) -> DemoResult:
    data = tensor.encode(features.tolist(), bundle.spec.input, ranges=bundle.spec.input_ranges)
    with report.step("Ask from the caller contract; wait for the proved answer") as detail:
        asked = ask(deployed, data)
        answer = wait_for_answer(deployed, asked)
        latency = time.monotonic() - asked.sent_at
        detail(f"{latency:.2f} s from the request's block to the callback")
    with report.step("Read what the caller contract holds") as detail:
        stored = deployed.consumer.functions.prediction(asked.request_id).call()
        exists, label, scores = stored
        if not exists:
            raise RequestTimeout("the answer came but the caller contract holds none")
        detail(f"label {label} ({IRIS_LABELS[label]})")
    with report.step("Try to steal, forge and replay") as detail:
        honest = attacks.observe(deployed.oracle, answer["transactionHash"])
        other = ask(deployed, data)
        tamper = attacks.attempt_all(
            honest, deployed.publisher, other.request_id, other.block_number
        )
        detail(f"{sum(tamper.values())} of {len(tamper)} attempts rejected")
        wait_for_answer(deployed, other)
    proving = proving_seconds(node, asked.request_id)
    calls = call_gas(deployed, answer["transactionHash"])
    output = tuple(tensor.dequantize(score, bundle.spec.output.scale) for score in scores)
    return DemoResult(
        model=bundle.name,
        input=tuple(features.tolist()),
        prediction_reference=tuple(expected.tolist()),
        output_onchain=output,
        label_reference=int(np.argmax(expected)),
        label_onchain=label,
        max_abs_error=float(np.max(np.abs(np.array(output) - expected))),
        request_gas=asked.gas_used,
        fulfil_gas=deployed.w3.eth.get_transaction_receipt(answer["transactionHash"])["gasUsed"],
        verify_gas=calls[deployed.verifier.address],
        callback_gas=calls[deployed.consumer.address],
        prove_seconds=proving,
        latency_seconds=latency,
        node_overhead_seconds=latency - proving,
        total_seconds=time.monotonic() - started,
        tamper=tamper,
        versions={
            **bundle.versions,
            "web3": version("web3"),
            "solc_contracts": SOLC_CONTRACTS,
        },
    )


def write_node_config(
    folder: Path, anvil: Anvil, deployed: Deployed, bundle: Bundle, log_format: str = "json"
) -> Path:
    """An operator's configuration for this devnet, with a fresh funded key."""
    key = folder / "node.key"
    fund_new_key(anvil.w3, key, _NODE_ETHER)
    config = folder / "node.toml"
    config.write_text(
        f"""chain_id = {CHAIN_ID}
rpc_urls = ["{anvil.url}"]
oracle = "{deployed.oracle.address}"
start_block = 0
confirmations = 0
poll_seconds = 0.05
bundles = ["{bundle.path.resolve()}"]
store = "{folder / "node.db"}"
work_dir = "{folder / "jobs"}"
key_file = "{key}"
log_format = "{log_format}"
"""
    )
    return config


def ask(deployed: Deployed, data: bytes) -> Asked:
    """Send a request through the caller contract and wait until it is mined."""
    consumer = deployed.consumer
    fee = consumer.functions.fee().call()
    sent_at = time.monotonic()
    receipt = transact(consumer.functions.predict(data), deployed.caller, fee)
    (event,) = deployed.oracle.events.RequestOpened().process_receipt(receipt, errors=DISCARD)
    return Asked(event["args"]["requestId"], receipt["blockNumber"], receipt["gasUsed"], sent_at)


def wait_for_answer(deployed: Deployed, asked: Asked) -> EventData:
    """The request's ``RequestFulfilled`` event.

    Raises:
        RequestTimeout: none came within two minutes.
    """
    event = deployed.oracle.events.RequestFulfilled()
    deadline = time.monotonic() + _ANSWER_TIMEOUT
    while time.monotonic() < deadline:
        found = event.get_logs(
            from_block=asked.block_number, argument_filters={"requestId": asked.request_id}
        )
        if found:
            return cast("EventData", found[0])
        time.sleep(0.01)
    raise RequestTimeout(
        f"request {asked.request_id:#x} was not answered within {_ANSWER_TIMEOUT:.0f} s",
        remedy="Read the node's log",
    )


def proving_seconds(node: NodeProcess, request_id: int) -> float:
    """Seconds that the prover's child took for a request: witness, proof and local check."""
    for line in node.log_events():
        if line["event"] == "proved" and line["request"] == f"{request_id:#066x}":
            return float(line["proving_seconds"])
    raise RequestTimeout(f"the node's log has no proof for request {request_id:#066x}")


def call_gas(deployed: Deployed, transaction_hash: bytes) -> dict[str, int]:
    """Gas of the calls that the oracle made in a transaction, by callee."""
    trace = deployed.w3.manager.request_blocking(
        RPCEndpoint("debug_traceTransaction"),
        ["0x" + bytes(transaction_hash).hex(), {"tracer": "callTracer"}],
    )
    return {to_checksum_address(call["to"]): int(call["gasUsed"], 16) for call in trace["calls"]}
