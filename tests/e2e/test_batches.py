"""Several requests under one real proof, and one request of several rows, on real contracts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from web3.logs import DISCARD

from oracle import demo, tensor
from oracle.chain.contracts import OracleContract
from oracle.chain.rpc import Rpc
from oracle.circuits.build import reference
from oracle.devnet import CHAIN_ID, transact
from oracle.prover.base import memory_cap
from oracle.prover.local import LocalProver
from oracle.types import Proof, ProofJob, Request
from tests.patience import PATIENCE

from .conftest import Place

ZERO = "0x" + "00" * 20
ROWS = ((5.1, 3.5, 1.4, 0.2), (6.3, 3.3, 6.0, 2.5), (5.9, 2.8, 4.3, 1.3))


def rpc(place: Place, method: str, *params: Any) -> Any:
    return place.anvil.w3.provider.make_request(method, list(params))  # type: ignore[arg-type]


def wait(done: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def payees(place: Place, asked: demo.Asked) -> list[str]:
    logs = place.deployed.oracle.events.RequestFulfilled().get_logs(
        from_block=0, argument_filters={"requestId": asked.request_id}
    )
    return [log["args"]["payee"] for log in logs]


def rivals_answer(place: Place, asked: demo.Asked, folder: Path) -> bytes:
    """Calldata with which an account of the devnet answers a request."""
    oracle = OracleContract(Rpc([place.anvil.url], CHAIN_ID), place.deployed.oracle.address)
    (request,) = [
        event
        for event in oracle.events(asked.block_number, asked.block_number)
        if isinstance(event, Request)
    ]
    spec, circuit = place.bundle.spec, place.bundle.circuit
    payee = place.anvil.w3.eth.accounts[5]
    prover = LocalProver(folder)
    tag = tensor.tag(CHAIN_ID, oracle.address, [asked.request_id], payee, spec.tag)
    inputs = tensor.read(request.input, spec.input, spec.codec)
    prover.submit(ProofJob("rival", circuit, inputs, tag, 60, memory_cap(circuit)))
    outcomes: list[Any] = []
    wait(lambda: bool(outcomes.extend(prover.poll()) or outcomes))
    prover.close()
    proof = outcomes[0].result
    assert isinstance(proof, Proof)
    outputs = [tensor.to_field(value) for value in proof.outputs]
    return oracle.fulfill_calldata(request, payee, outputs, proof.proof)


def test_requests_that_wait_together__one_transaction__a_rival_takes_one_before_it_is_mined(
    batch_place: Place,
) -> None:
    place = batch_place
    asked = [place.ask(*row) for row in ROWS]
    answer = rivals_answer(place, asked[1], place.folder / "rival")
    rpc(place, "evm_setAutomine", False)
    node = place.start_node()
    account = node.wait_for_event("ready")["account"]
    joined = node.wait_for_event("requests joined")
    assert joined["requests"].split() == [f"{each.request_id:#066x}" for each in asked]
    node.wait_for_event("transaction signed", 60)
    w3 = place.anvil.w3
    wait(lambda: w3.eth.get_transaction_count(account, "pending") == 1)
    # Dearer than the node's, so that it is mined in front of it.
    rival = w3.eth.accounts[5]
    w3.eth.send_transaction(
        {
            "from": rival,
            "to": place.deployed.oracle.address,
            "data": answer,
            "gas": 2_000_000,
            "maxFeePerGas": w3.to_wei(200, "gwei"),
            "maxPriorityFeePerGas": w3.to_wei(100, "gwei"),
        }
    )
    rpc(place, "evm_mine")
    rpc(place, "evm_setAutomine", True)
    wait(lambda: sum(e["event"] == "request final" for e in node.log_events()) == 2)
    assert [payees(place, each) for each in asked] == [[account], [rival], [account]]
    assert w3.eth.get_transaction_count(account) == 1
    (receipt,) = {
        log["transactionHash"]
        for log in place.deployed.oracle.events.RequestSkipped().get_logs(from_block=0)
    }
    batch = w3.eth.get_transaction_receipt(receipt)
    skipped = place.deployed.oracle.events.RequestSkipped().process_receipt(batch, DISCARD)
    assert [log["args"]["requestId"] for log in skipped] == [asked[1].request_id]
    vain = [e for e in node.log_events() if e["event"] == "transaction mined in vain"]
    assert [(e["request"], e["state"]) for e in vain] == [(f"{asked[1].request_id:#066x}", "lost")]
    # Every answer is the model's own, row by row.
    labels = [
        place.deployed.consumer.functions.prediction(each.request_id).call()[1] for each in asked
    ]
    assert labels == [0, 2, 1]
    assert node.stop() == 0


def test_request_of_several_rows__is_answered_with_the_models_outputs(
    batch_place: Place,
) -> None:
    place = batch_place
    node = place.start_node()
    node.wait_for_event("ready")
    functions, spec = place.deployed.oracle.functions, place.bundle.spec
    data = b"".join(tensor.encode(row, spec.input) for row in ROWS)
    model = place.deployed.model_id
    receipt = transact(
        functions.requestBatchInference(len(ROWS), model, data, ZERO, 0, b"", 0, 0),
        place.deployed.caller,
        functions.estimateFeeBatch(model, 0, len(ROWS)).call(),
    )
    (opened,) = place.deployed.oracle.events.RequestOpened().process_receipt(receipt, DISCARD)
    wait(lambda: functions.isFinalized(opened["args"]["requestId"]).call())
    (result,) = place.deployed.oracle.events.AICallbackResult().get_logs(from_block=0)
    rows = tensor.rows(result["args"]["output"], spec.output, spec.codec)
    found = np.array(rows) / 2**spec.output.scale
    assert np.abs(found - reference(place.bundle, np.array(ROWS))).max() < 0.1
    wait(lambda: any(e["event"] == "request final" for e in node.log_events()))


def test_node__killed_while_a_batch_is_proved_sent_and_mined__answers_each_once(
    batch_place: Place,
) -> None:
    place = batch_place
    asked = [place.ask(*row) for row in ROWS]
    rpc(place, "evm_setAutomine", False)
    for step in ("proving", "proved", "transaction signed"):
        node = place.start_node()
        account = node.wait_for_event("ready")["account"]
        node.wait_for_event(step, 60)
        node.kill()
        if any(each["event"] == "transaction signed" for each in node.log_events()):
            # The kill meant for the proof may come after the signature, which comes once.
            break
    w3 = place.anvil.w3
    rpc(place, "evm_setAutomine", True)
    last = place.start_node()
    last.wait_for_event("ready")
    rpc(place, "evm_mine")
    wait(lambda: sum(e["event"] == "request final" for e in last.log_events()) == len(ROWS))
    assert [place.fulfilments(each) for each in asked] == [1] * len(ROWS)
    assert w3.eth.get_transaction_count(account) == 1
    assert last.stop() == 0
