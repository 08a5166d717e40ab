"""What the adapter's own work takes, on a real node, where every transaction begins cold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
from web3.exceptions import ContractCustomError

from oracle import tensor
from oracle.config import project_root
from tests.contracts.anvil import PACKED, Deployed, Devnet
from tests.contracts.world import FEE, RESULT, ZERO, packed

GWEI = 10**9
#: What a `Secretary` promises.
GAS = 200_000
MODEL = 50


@dataclass
class Scales:
    """An adapter before an oracle that delivers with as much gas as it is told."""

    stub: Any
    adapter: Any
    secretary: Any
    receiver: Any
    devnet: Devnet

    def needs(self, output: bytes, context: bytes) -> int:
        """The least gas of its own with which the adapter delivers to another contract that uses all
        of its gas."""
        owner = self.devnet.accounts[0]
        to = (self.adapter.address, MODEL, packed(), self.receiver.address, context)
        request_id = self.secretary.functions.ask(*to).call({"from": owner})
        self.devnet.send(self.secretary.functions.ask(*to), owner, gas=16_000_000)
        # More than any delivery brings, so that none counts as a retry.
        data = bytes(20) + (2**63).to_bytes(8, "big") + context
        short, enough = 0, 3_000_000
        while enough - short > 8:
            gas = (enough + short) // 2
            call = (self.adapter.address, GAS + GAS // 63 + 1 + gas, request_id, output, data)
            if self.stub.functions.deliver(*call).call({"gas": 30_000_000}):
                enough = gas
            else:
                short = gas
        return enough


@pytest.fixture(scope="module")
def scales(deployed: Deployed) -> Scales:
    devnet = deployed.devnet
    stub = devnet.deploy("StubOracle", deployed.registry.address)
    adapter = adapter_of(deployed, stub.address)
    secretary, receiver = devnet.deploy("Secretary"), devnet.deploy("CostlyReceiver")
    accept = receiver.functions.accept(adapter.address, secretary.address)
    devnet.send(accept, devnet.accounts[0])
    return Scales(stub, adapter, secretary, receiver, devnet)


def adapter_of(deployed: Deployed, oracle: str) -> Any:
    devnet = deployed.devnet
    adapter = devnet.deploy("OraAdapter", oracle, devnet.accounts[0])
    devnet.send(adapter.functions.setModel(MODEL, deployed.model_id), devnet.accounts[0])
    return adapter


def test_delivery_gas__is_measured_with_some_room(scales: Scales) -> None:
    """The dearest delivery: to another contract, with everything cold."""
    least = scales.adapter.functions.MIN_DELIVERY_GAS().call()
    needed = scales.needs(b"", b"")
    assert 0.75 * least < needed < 0.9 * least


@pytest.mark.parametrize(
    ("output", "context"), [(20_000, 0), (0, 8_000), (20_000, 8_000), (100_000, 0)]
)
def test_delivery_gas__long_bytes__are_covered(scales: Scales, output: int, context: int) -> None:
    needed = scales.needs(b"\1" * output, b"\1" * context)
    each = scales.adapter.functions.MIN_BYTE_GAS().call()
    least = scales.adapter.functions.MIN_DELIVERY_GAS().call()
    assert needed < 0.9 * (least + each * (output + context))


def test_estimate__sent_along__is_taken_and_answered(deployed: Deployed) -> None:
    """With a base fee, which the memory chain has not; less than the half of it is refused."""
    devnet = deployed.devnet
    adapter = adapter_of(deployed, deployed.oracle.address)
    prompt = devnet.deploy("RecordingConsumer", adapter.address)
    devnet.base_fee(20 * GWEI)
    devnet.rpc("anvil_mine")
    quote = adapter.functions.estimateFee(MODEL, 150_000).call()
    ask = prompt.functions.ask(MODEL, packed(), 150_000, b"")
    devnet.base_fee(20 * GWEI)
    with pytest.raises(ContractCustomError):
        devnet.send(ask, devnet.accounts[1], (quote - FEE) // 2 + FEE - 1)
    devnet.base_fee(20 * GWEI)
    receipt = devnet.send(ask, devnet.accounts[1], quote, gas=900_000)
    assert receipt["status"] == 1
    assert adapter.functions.gasPrice().call() > 0
    done = deployed.fulfil(_of_the_oracle(deployed, receipt))
    assert done["status"] == 1
    assert prompt.functions.output().call() == tensor.pack(RESULT, 3)


def _of_the_oracle(deployed: Deployed, receipt: Any) -> Any:
    """The receipt without what the adapter announces of it."""
    logs = [log for log in receipt["logs"] if log["address"] == deployed.oracle.address]
    return {**receipt, "logs": logs}


PAGE = (project_root() / "docs" / "ora.md").read_text()


def test_gas__beside_the_oracles_own__is_what_the_page_says(deployed: Deployed) -> None:
    """Steady state; the answer wanted in the events alone."""
    adapter = adapter_of(deployed, deployed.oracle.address)
    direct = costs(deployed, deployed.oracle, deployed.model_id)
    adapted = costs(deployed, adapter, MODEL)
    figures = dict(re.findall(r"^\| ([^|]+) \| ([\d,]+) \|$", PAGE, re.MULTILINE))
    said = {what: int(figure.replace(",", "")) for what, figure in figures.items()}
    measured = {what: adapted[what] - direct[what] for what in direct}
    assert said.keys() == measured.keys()
    for what, figure in measured.items():
        assert abs(said[what] - figure) <= 0.02 * figure, (what, figure)


def costs(deployed: Deployed, oracle: Any, model: int) -> dict[str, int]:
    """Gas of asking for four numbers, of the answer, and of asking with 40 bytes of callback data."""
    devnet = deployed.devnet
    found = {}
    # The third time nothing is written for the first time but what belongs to the request.
    for name, context in (
        *3 * [("a request", b"")],
        ("a request with 40 bytes of callback data", b"\1" * 40),
    ):
        call = oracle.functions.requestCallback(model, PACKED, ZERO, 0, context)
        asked = devnet.send(call, devnet.accounts[1], 10**18, gas=900_000)
        done = deployed.fulfil(_of_the_oracle(deployed, asked))
        found[name] = asked["gasUsed"]
        if not context:
            found["its answer"] = done["gasUsed"]
    return found
