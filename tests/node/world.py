"""A node over an in-memory chain and a real database, stepped by hand."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_utils.crypto import keccak

from oracle import tensor
from oracle.access import Access
from oracle.chain.contracts import OracleContract, RegistryContract
from oracle.chain.rpc import Rpc, Transport
from oracle.chain.signer import LocalSigner
from oracle.config import NodeConfig
from oracle.log import make_logger
from oracle.node import Node, Parts
from oracle.policy import ServedCircuit, ServedModel
from oracle.store.ledger import Store
from oracle.store.records import RequestRow
from oracle.testing import ORACLE, REGISTRY, FakeChain, FakeProver, FaultyRpc
from oracle.types import BatchVerifier, CircuitFiles, ModelSpec, TensorSpec

KEY = "0x" + "11" * 32
VERIFIER_CODE = b"verifier"
NOW = 1_700_000_000.0


def spec(**changes: Any) -> ModelSpec:
    tensor_spec = TensorSpec(length=2, width=4, scale=8, minimum=-1000, maximum=1000)
    values: dict[str, Any] = {
        "onnx_hash": b"o" * 32,
        "settings_hash": b"s" * 32,
        "vk_hash": b"v" * 32,
        "srs_hash": b"r" * 32,
        "input": tensor_spec,
        "output": tensor_spec,
        "verifier_code_hash": keccak(VERIFIER_CODE),
        "verify_gas": 500_000,
    }
    return ModelSpec(**(values | changes))


def batch(size: int, **changes: Any) -> BatchVerifier:
    values: dict[str, Any] = {
        "size": size,
        "settings_hash": b"s%031d" % size,
        "vk_hash": b"v%031d" % size,
        "srs_hash": b"r" * 32,
        "verifier_code_hash": keccak(VERIFIER_CODE),
        "verify_gas": 600_000,
    }
    return BatchVerifier(**(values | changes))


def served(
    model: ModelSpec, *, prove_seconds: float = 1.0, batch_seconds: float = 2.0, **changes: Any
) -> ServedModel:
    here = Path("/nowhere")
    files = CircuitFiles(here, here, here, here, here, b"r" * 32)
    values: dict[str, Any] = {
        "bundle_id": "b" * 64,
        "name": "swap",
        "spec": model,
        "circuits": (
            ServedCircuit(1, files, prove_seconds, 1 << 30),
            *(ServedCircuit(each.size, files, batch_seconds, 1 << 31) for each in model.batches),
        ),
    }
    return ServedModel(**(values | changes))


def swap(inputs: tuple[int, ...]) -> tuple[int, ...]:
    """The model: the two inputs of each row the other way round."""
    return tuple(value for i in range(0, len(inputs), 2) for value in inputs[i : i + 2][::-1])


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    served: tuple[ServedModel, ...] = (served(spec()),)
    clock: Clock = field(default_factory=Clock)
    key: str = KEY
    #: A world whose chain and clock this one has too.
    beside: World | None = None
    #: Makes the connection to an endpoint; by default all lead to `endpoint`.
    transport: Callable[[Access, float], Transport] | None = None

    def __post_init__(self) -> None:
        if self.beside is None:
            self.chain = FakeChain(clock=self.clock)
            self.model_id = self.chain.register(spec(), verifier_code=VERIFIER_CODE)
        else:
            self.chain, self.clock = self.beside.chain, self.beside.clock
            self.model_id = self.beside.model_id
        #: By which leases run.
        self.common: Clock = self.clock if self.beside is None else self.beside.common
        self.endpoint = FaultyRpc(self.chain)
        self.signer = LocalSigner(Account.from_key(self.key))
        self.lines = io.StringIO()
        self.start()

    def start(self) -> None:
        """A new process: everything but chain, clock and database file is fresh."""
        config = NodeConfig(
            **{
                "chain_id": self.chain.chain_id,
                "rpc_urls": ("http://fake",),
                "oracle": ORACLE,
                "confirmations": 0,
                "bundles": (Path("bundle"),),
                "store": self.folder / "node.db",
                "work_dir": self.folder / "jobs",
                "key_file": Path("key"),
                "priority_fee": 10**8,
                **self.options,
            }
        )
        connect = self.transport or (lambda _url, _timeout: self.endpoint)
        # Endpoints of its own rest by the world's clock.
        timed: dict[str, Any] = {"clock": self.clock} if self.transport else {}
        rpc = Rpc(config.endpoints, config.chain_id, transport=connect, **timed)
        self.oracle = OracleContract(rpc, ORACLE)
        parts = Parts(
            config, rpc, self.oracle, RegistryContract(rpc, REGISTRY), self.signer, self.served
        )
        self.prover = FakeProver(swap, slots=config.workers)
        self.store = Store.open(
            config.store, config.chain_id, ORACLE, self.clock, common=self.common
        )
        log = make_logger(self.lines, json=True)
        self.node = Node(parts, self.store, self.prover, self.clock, log)
        self.node.recover()

    def die(self) -> None:
        """kill -9: nothing is told, open transactions are gone, the file lock with them."""
        self.store.close()

    def restart(self) -> None:
        self.die()
        self.start()

    def ask(self, *values: int, **options: Any) -> int:
        """A request; of several rows, if there are several pairs of values."""
        data = tensor.pack(values or (1, 2), 4)
        return self.chain.request(options.pop("model_id", self.model_id), data, **options)

    def settle(self, rounds: int = 50) -> None:
        """Step every service until none has anything to do."""
        for _ in range(rounds):
            if not sum(service.step() for service in self.node.services.values()):
                return
        raise AssertionError(f"still busy after {rounds} rounds: {self.lines.getvalue()[-2000:]}")

    def until(self, done: Callable[[], bool], rounds: int = 50) -> None:
        for _ in range(rounds):
            for service in self.node.services.values():
                service.step()
                if done():
                    return
        raise AssertionError(f"not done after {rounds} rounds: {self.lines.getvalue()[-2000:]}")

    def row(self, request_id: int) -> RequestRow:
        row = self.store.request(request_id)
        assert row is not None, "the store does not know the request"
        return row

    def state(self, request_id: int) -> str:
        return str(self.row(request_id).state)

    def trail(self, request_id: int) -> list[str]:
        return [str(step.state) for step in self.store.history(request_id)]

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines.getvalue().splitlines()]
