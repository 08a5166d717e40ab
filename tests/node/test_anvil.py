"""The services against the real contracts on anvil; only the circuit is a double."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak
from web3.contract import Contract

from oracle import tensor
from oracle.chain.artifacts import contract
from oracle.chain.contracts import OracleContract, RegistryContract
from oracle.chain.registration import registration
from oracle.chain.rpc import Rpc
from oracle.chain.signer import LocalSigner
from oracle.config import NodeConfig
from oracle.devnet import CHAIN_ID, Anvil, fund_new_key, transact
from oracle.log import make_logger
from oracle.node import Node, Parts
from oracle.store.ledger import Store
from oracle.testing import FakeProver

from .world import served, spec, swap

ZERO = "0x" + "00" * 20


@dataclass
class Devnet:
    anvil: Anvil
    oracle: Contract
    model_id: int
    node: Node
    store: Store
    prover: FakeProver
    account: str

    def ask(self, *values: int) -> int:
        fee = self.oracle.functions.estimateFee(self.model_id, 0).call()
        caller = self.anvil.w3.eth.accounts[2]
        call = self.oracle.functions.requestCallback(
            self.model_id, tensor.pack(values, 4), ZERO, 0, b""
        )
        receipt = transact(call, caller, fee)
        (event,) = self.oracle.events.AICallbackRequest().process_receipt(receipt, errors=_ignore())
        return int(event["args"]["requestId"])

    def settle(self) -> None:
        for _ in range(40):
            if not sum(service.step() for service in self.node.services.values()):
                return
        raise AssertionError("still busy")

    def state(self, request_id: int) -> str:
        row = self.store.request(request_id)
        return str(row.state) if row else "unknown"

    def fulfilments(self, request_id: int) -> list[Any]:
        return list(
            self.oracle.events.RequestFulfilled().get_logs(
                from_block=0, argument_filters={"requestId": request_id}
            )
        )


def _ignore() -> Any:
    from web3.logs import DISCARD

    return DISCARD


def deploy(anvil: Anvil, name: str, *arguments: Any) -> Contract:
    w3, built = anvil.w3, contract(name)
    factory = w3.eth.contract(abi=built.abi, bytecode=built.bytecode)
    sent = factory.constructor(*arguments).transact({"from": w3.eth.accounts[0]})
    address = w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)["contractAddress"]
    assert address is not None
    return w3.eth.contract(address=address, abi=built.abi)


@pytest.fixture
def devnet(tmp_path: Path) -> Iterator[Devnet]:
    with Anvil(tmp_path / "anvil.log") as anvil:
        w3 = anvil.w3
        registry = deploy(anvil, "ModelRegistry")
        oracle = deploy(anvil, "InferenceOracle", registry.address, w3.eth.accounts[0])
        verifier = deploy(anvil, "HashVerifier")
        model = replace(spec(), verifier_code_hash=keccak(bytes(w3.eth.get_code(verifier.address))))
        owner = w3.eth.accounts[1]
        terms = registration(
            model, verifiers=[verifier.address], fee=10**12, receiver=owner, receiver_bps=1000
        )
        transact(registry.functions.register(terms), owner)
        key = tmp_path / "node.key"
        account = fund_new_key(w3, key, 10**18)
        config = NodeConfig(
            chain_id=CHAIN_ID,
            rpc_urls=(anvil.url,),
            oracle=oracle.address,
            confirmations=0,
            bundles=(Path("bundle"),),
            store=tmp_path / "node.db",
            work_dir=tmp_path,
            key_file=key,
        )
        rpc = Rpc(config.rpc_urls, CHAIN_ID)
        parts = Parts(
            config,
            rpc,
            OracleContract(rpc, config.oracle),
            RegistryContract(rpc, registry.address),
            LocalSigner.from_key_file(key),
            (served(model),),
        )
        store = Store.open(config.store, CHAIN_ID, config.oracle, time.time)
        prover = FakeProver(swap)
        node = Node(parts, store, prover, time.time, make_logger(io.StringIO()))
        try:
            yield Devnet(anvil, oracle, 1, node, store, prover, account)
        finally:
            store.close()


def test_request__real_contracts__is_fulfilled_and_credited_to_the_payee(devnet: Devnet) -> None:
    request_id = devnet.ask(3, -4)
    devnet.settle()
    assert devnet.state(request_id) == "final"
    (event,) = devnet.fulfilments(request_id)
    assert event["args"]["payee"] == devnet.account
    paid = event["args"]["feePaid"] + event["args"]["gasPaid"]
    assert devnet.oracle.functions.creditOf(ZERO, devnet.account).call() == paid
    (result,) = devnet.oracle.events.AICallbackResult().get_logs(from_block=0)
    assert result["args"]["output"] == tensor.pack((-4, 3), 4)


def test_reorg__fulfilment_dropped__is_delivered_again_from_the_same_proof(
    devnet: Devnet,
) -> None:
    request_id = devnet.ask(1, 2)
    devnet.settle()
    assert len(devnet.fulfilments(request_id)) == 1
    devnet.anvil.w3.provider.make_request("anvil_reorg", [1, []])  # type: ignore[arg-type]
    assert devnet.fulfilments(request_id) == []
    devnet.settle()
    assert devnet.state(request_id) == "final"
    assert len(devnet.fulfilments(request_id)) == 1
    assert len(devnet.prover.submitted) == 1


def test_transaction_dropped_from_the_pool__is_replaced_and_mined(
    devnet: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rpc(method: str, *params: Any) -> Any:
        return devnet.anvil.w3.provider.make_request(method, list(params))  # type: ignore[arg-type]

    request_id = devnet.ask(1, 2)
    rpc("evm_setAutomine", False)
    devnet.settle()
    assert devnet.state(request_id) == "pending"
    rpc("anvil_dropAllTransactions")
    now: Callable[[], float] = lambda: time.time() + 61  # noqa: E731
    monkeypatch.setattr(devnet.node.submitter, "_clock", now)
    devnet.settle()
    rpc("evm_mine")
    devnet.settle()
    assert devnet.state(request_id) == "final"
    assert devnet.anvil.w3.eth.get_transaction_count(devnet.account) == 1  # type: ignore[arg-type]
