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

from oracle import fees, tensor
from oracle.chain import contracts
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

from .world import batch, served, spec, swap

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
        """A request; of several rows, if there are several pairs of values."""
        functions, rows = self.oracle.functions, len(values) // 2
        fee = functions.estimateFeeBatch(self.model_id, 0, rows).call()
        data = tensor.pack(values, 4)
        if rows == 1:
            call = functions.requestCallback(self.model_id, data, ZERO, 0, b"")
        else:
            call = functions.requestBatchInference(rows, self.model_id, data, ZERO, 0, b"", 0, 0)
        receipt = transact(call, self.anvil.w3.eth.accounts[2], fee)
        (event,) = self.oracle.events.AICallbackRequest().process_receipt(receipt, errors=_ignore())
        return int(event["args"]["requestId"])

    def rpc(self, method: str, *params: Any) -> Any:
        return self.anvil.w3.provider.make_request(method, list(params))  # type: ignore[arg-type]

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
        code = keccak(bytes(w3.eth.get_code(verifier.address)))
        model = replace(
            spec(), verifier_code_hash=code, batches=(batch(4, verifier_code_hash=code),)
        )
        owner = w3.eth.accounts[1]
        terms = registration(
            model, verifiers=[verifier.address] * 2, fee=10**12, receiver=owner, receiver_bps=1000
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
        node.recover()
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


def test_request_of_several_rows__real_contracts__is_answered_row_by_row(devnet: Devnet) -> None:
    request_id = devnet.ask(3, -4, 5, 6, 7, 8)
    devnet.settle()
    assert devnet.state(request_id) == "final"
    (result,) = devnet.oracle.events.AICallbackResult().get_logs(from_block=0)
    assert result["args"]["output"] == tensor.pack((-4, 3, 6, 5, 8, 7), 4)
    (job,) = devnet.prover.submitted
    assert job.inputs == (3, -4, 5, 6, 7, 8, 3, -4)


def preimage(devnet: Devnet, request_id: int) -> Any:
    row = devnet.store.request(request_id)
    assert row is not None
    return contracts.preimage(row.request)


def test_batch__real_contracts__one_transaction_answers_all_and_its_gas_is_paid(
    devnet: Devnet,
) -> None:
    ids = [devnet.ask(i, -i) for i in range(3)]
    before = devnet.anvil.w3.eth.get_balance(devnet.account)  # type: ignore[arg-type]
    devnet.settle()
    assert [devnet.state(i) for i in ids] == ["final"] * 3
    assert devnet.anvil.w3.eth.get_transaction_count(devnet.account) == 1  # type: ignore[arg-type]
    events = [devnet.fulfilments(i)[0]["args"] for i in ids]
    spent = before - devnet.anvil.w3.eth.get_balance(devnet.account)  # type: ignore[arg-type]
    earned = sum(event["feePaid"] + event["gasPaid"] for event in events)
    assert earned == devnet.oracle.functions.creditOf(ZERO, devnet.account).call()
    assert sum(event["gasPaid"] for event in events) == pytest.approx(spent, rel=0.1)
    results = devnet.oracle.events.AICallbackResult().get_logs(from_block=0)
    assert [result["args"]["output"] for result in results] == [
        tensor.pack((-i, i), 4) for i in range(3)
    ]


def test_batch__real_contracts__one_topped_up_before_mining_is_answered_alone(
    devnet: Devnet,
) -> None:
    ids = [devnet.ask(i, -i) for i in range(3)]
    devnet.rpc("evm_setAutomine", False)
    devnet.settle()
    assert [devnet.state(i) for i in ids] == ["pending"] * 3
    # Dearer than the batch, so that it is mined in front of it.
    call = devnet.oracle.functions.topUp(ids[1], preimage(devnet, ids[1]))
    terms = {"maxPriorityFeePerGas": 10**10, "maxFeePerGas": 10**11, "value": 10**17}
    call.transact({"from": devnet.anvil.w3.eth.accounts[3], **terms})
    devnet.rpc("evm_mine")
    (skipped,) = devnet.oracle.events.RequestSkipped().get_logs(from_block=0)
    assert (skipped["args"]["requestId"], skipped["args"]["reason"]) == (ids[1], 1)
    devnet.rpc("evm_setAutomine", True)
    devnet.settle()
    assert [devnet.state(i) for i in ids] == ["final"] * 3
    assert [len(devnet.fulfilments(i)) for i in ids] == [1] * 3


def test_batch_of_many__real_contracts__gas_is_under_the_terms(devnet: Devnet) -> None:
    ids = [devnet.ask(i, -i) for i in range(4)]
    devnet.settle()
    requests = [row.request for i in ids if (row := devnet.store.request(i))]
    (event,) = devnet.fulfilments(ids[0])
    receipt = devnet.anvil.w3.eth.get_transaction_receipt(event["transactionHash"])
    model = devnet.node.submitter._model(1)
    units = fees.BatchTerms.of(model.spec, 4).units(requests)
    # The double's verifier takes next to nothing of the gas that it is registered with.
    assert receipt["gasUsed"] < units - 600_000 + 50_000


def test_constants__are_the_contracts(devnet: Devnet) -> None:
    functions = devnet.oracle.functions
    assert functions.BASE_GAS().call() == fees.BASE_GAS
    assert functions.ELEMENT_GAS().call() == fees.ELEMENT_GAS
    assert functions.TEXT_ELEMENT_GAS().call() == fees.TEXT_ELEMENT_GAS
    assert functions.MAX_GAS_UNITS().call() == fees.TRANSACTION_GAS


def test_commitment__is_what_the_contract_holds(devnet: Devnet) -> None:
    devnet.node.watcher.step()
    request_id = devnet.ask(1, 2)
    devnet.node.watcher.step()
    row = devnet.store.request(request_id)
    assert row is not None
    held = devnet.oracle.functions.commitments(request_id).call()
    assert held == contracts.commitment_of(row.request)
    assert held == devnet.node.submitter._oracle.commitment(request_id)


def test_bloom__of_a_real_block__vouches_for_its_logs_and_for_little_else(devnet: Devnet) -> None:
    request_id = devnet.ask(1, 2)
    block = devnet.node.submitter._rpc.head()
    oracle = bytes.fromhex(devnet.oracle.address[2:])
    assert block.logs_bloom
    assert block.may_hold(oracle, request_id.to_bytes(32, "big"))
    assert sum(block.may_hold(i.to_bytes(32, "big")) for i in range(1000)) < 5


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
    request_id = devnet.ask(1, 2)
    devnet.rpc("evm_setAutomine", False)
    devnet.settle()
    assert devnet.state(request_id) == "pending"
    devnet.rpc("anvil_dropAllTransactions")
    now: Callable[[], float] = lambda: time.time() + 61  # noqa: E731
    monkeypatch.setattr(devnet.node.submitter, "_clock", now)
    devnet.settle()
    devnet.rpc("evm_mine")
    devnet.settle()
    assert devnet.state(request_id) == "final"
    assert devnet.anvil.w3.eth.get_transaction_count(devnet.account) == 1  # type: ignore[arg-type]
