"""Base fees and gas, on a real node.

Gas figures go to ``build/bench/contracts.json`` and are held under bounds that a regression breaks.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from eth_utils import keccak
from web3.exceptions import ContractCustomError
from web3.logs import DISCARD

from oracle.chain.artifacts import contract
from oracle.config import build_dir
from tests.contracts.anvil import Deployed, anvil, register
from tests.contracts.world import INPUT, OUTPUT, TAG, VERIFY_GAS, ZERO, packed

GWEI = 10**9
#: About the length of a one-column proof.
PROOF_BYTES = 3_000
#: Of `IInferenceLens.Reason`.
UNDERFUNDED, WAITING = 6, 7


def test_estimate_fee__then_request_at_once__succeeds(deployed: Deployed) -> None:
    deployed.devnet.base_fee(20 * GWEI)
    caller = deployed.devnet.deploy("QuotingCaller")
    call = caller.functions.ask(deployed.oracle.address, deployed.model_id, packed())
    money = 10**18
    deployed.devnet.rpc("anvil_setBalance", caller.address, hex(money))
    deployed.devnet.base_fee(20 * GWEI)
    receipt = deployed.devnet.send(call, deployed.devnet.accounts[1], gas=500_000)
    assert receipt["status"] == 1
    assert deployed.devnet.w3.eth.get_balance(caller.address) < money


def test_estimate_fee__base_fee_doubles_before_mining__still_covers(deployed: Deployed) -> None:
    deployed.devnet.base_fee(10 * GWEI)
    deployed.devnet.rpc("anvil_mine")
    quote = deployed.quote()
    deployed.devnet.base_fee(20 * GWEI - 1)
    assert deployed.request(quote)["status"] == 1


def test_estimate_fee__after_a_spike__follows_the_base_fee_down(deployed: Deployed) -> None:
    """The remembered base fee is that of the last request, however long ago."""
    devnet = deployed.devnet
    devnet.base_fee(500 * GWEI)
    assert deployed.request(10**18)["status"] == 1
    assert deployed.oracle.functions.lastBaseFee().call() == 500 * GWEI
    devnet.base_fee(GWEI)
    devnet.rpc("anvil_mine")
    assert GWEI * VERIFY_GAS < deployed.quote() < 5 * GWEI * VERIFY_GAS


def test_callback__delegated_account__gets_its_gas_or_nothing(tmp_path: Path) -> None:
    """To load the code that an account delegates to (EIP-7702) costs the caller gas of its own."""
    promised = 300_000
    with anvil(tmp_path / "anvil.log", hardfork="prague") as devnet:
        meter, harness = devnet.deploy("GasMeter"), devnet.deploy("LibraryHarness")
        account = devnet.accounts[5]
        devnet.rpc("anvil_setCode", account, "0xef0100" + meter.address.removeprefix("0x"))
        delegate = devnet.w3.eth.contract(address=account, abi=meter.abi)
        call = harness.functions.callNoReturn(account, promised, b"")
        devnet.send(call, devnet.accounts[0], gas=600_000)
        entered = delegate.functions.seen().call()
        outcomes = set()
        for gas in range(325_000, 340_000, 500):
            devnet.rpc("anvil_setStorageAt", account, "0x0", "0x" + "00" * 32)
            receipt = devnet.send(call, devnet.accounts[0], gas=gas)
            outcomes.add((receipt["status"], delegate.functions.seen().call()))
    assert promised - 200 < entered < promised
    assert outcomes == {(0, 0), (1, entered)}


def test_request__below_the_present_base_fee__is_underpaid(deployed: Deployed) -> None:
    deployed.devnet.base_fee(10 * GWEI)
    deployed.devnet.rpc("anvil_mine")
    half = deployed.quote() // 4
    with pytest.raises(ContractCustomError):
        deployed.oracle.functions.requestCallback(deployed.model_id, packed(), ZERO, 0, b"").call(
            {"value": half, "gasPrice": 20 * GWEI, "from": deployed.devnet.accounts[1]}
        )
    deployed.devnet.base_fee(10 * GWEI)
    assert deployed.request(half)["status"] == 0


def test_estimate_fee__client_that_reports_no_base_fee__uses_the_remembered_one(
    deployed: Deployed,
) -> None:
    deployed.devnet.base_fee(50 * GWEI)
    assert deployed.request(10**18)["status"] == 1
    deployed.devnet.base_fee(0)
    deployed.devnet.rpc("anvil_mine")
    assert deployed.quote() >= 2 * 50 * GWEI * VERIFY_GAS
    deployed.devnet.base_fee(1 * GWEI)
    assert deployed.request(10**18)["status"] == 1
    assert deployed.oracle.functions.lastBaseFee().call() == 1 * GWEI


def test_remembered_base_fee__small_drift__is_not_written(deployed: Deployed) -> None:
    deployed.devnet.base_fee(8 * GWEI)
    deployed.request(10**18)
    for base_fee, remembered in ((9 * GWEI, 8 * GWEI), (9 * GWEI + 1, 9 * GWEI + 1)):
        deployed.devnet.base_fee(base_fee)
        deployed.request(10**18)
        assert deployed.oracle.functions.lastBaseFee().call() == remembered


def test_diagnose__base_fee_above_the_gas_money__says_what_to_top_up(deployed: Deployed) -> None:
    devnet = deployed.devnet
    lens = devnet.deploy("InferenceLens", deployed.oracle.address)
    devnet.base_fee(GWEI)
    asked = deployed.request(10**17)
    request_id, preimage, data, _ = deployed.opened(asked)
    gas_money, gas_units = preimage[7], preimage[8]
    highest = gas_money // gas_units

    def diagnosis(base_fee: int) -> list[int]:
        """Reason, gas money short and top-up in a block with this base fee."""
        devnet.base_fee(base_fee)
        devnet.rpc("anvil_mine")
        return list(lens.functions.diagnose(request_id, preimage, data).call()[:3])

    assert diagnosis(highest) == [WAITING, 0, 0]
    short = (highest + 1) * gas_units - gas_money
    assert diagnosis(highest + 1) == [UNDERFUNDED, short, gas_money // 8]
    short = 2 * highest * gas_units - gas_money
    assert diagnosis(2 * highest) == [UNDERFUNDED, short, short]
    call = deployed.oracle.functions.topUp(request_id, preimage)
    assert devnet.send(call, devnet.accounts[3], short, gas=200_000)["status"] == 1
    preimage = (*preimage[:7], gas_money + short, *preimage[8:])
    assert diagnosis(2 * highest) == [WAITING, 0, 0]


def test_diagnose__client_that_reports_no_base_fee__uses_the_remembered_one(
    deployed: Deployed,
) -> None:
    devnet = deployed.devnet
    lens = devnet.deploy("InferenceLens", deployed.oracle.address)
    devnet.base_fee(GWEI)
    request_id, preimage, data, _ = deployed.opened(deployed.request(10**16))
    devnet.base_fee(100 * GWEI)
    deployed.request(10**18)
    devnet.base_fee(0)
    devnet.rpc("anvil_mine")
    reason, short, *_ = lens.functions.diagnose(request_id, preimage, data).call()
    assert (reason, short) == (UNDERFUNDED, 100 * GWEI * preimage[8] - preimage[7])


def test_gas__steady_state__stays_under_its_bounds(deployed: Deployed) -> None:
    devnet = deployed.devnet
    accepting = devnet.deploy("FixedAnswerVerifier", (1).to_bytes(32, "big"))
    model_id = register(devnet, deployed.registry, accepting.address)
    plain = Deployed(devnet, deployed.registry, deployed.oracle, model_id)
    proof = keccak(b"proof") * (PROOF_BYTES // 32)

    def rounds() -> tuple[int, int, int]:
        devnet.base_fee(GWEI)
        asked = plain.request(10**18)
        devnet.base_fee(GWEI)
        done = plain.fulfil(asked, proof)
        assert done["status"] == 1
        (paid,) = plain.oracle.events.RequestFulfilled().process_receipt(done, DISCARD)
        gas_payment = paid["args"]["gasPaid"]
        return asked["gasUsed"], done["gasUsed"], gas_payment // done["effectiveGasPrice"]

    rounds()
    request_gas, fulfil_gas, paid_gas = rounds()
    instances = [0] * (INPUT.length + TAG.limbs + OUTPUT.length)
    bare = devnet.w3.eth.contract(address=accepting.address, abi=contract("HashVerifier").abi)
    verify_gas = devnet.send(
        bare.functions.verifyProof(proof, instances), devnet.accounts[2], gas=500_000
    )["gasUsed"]
    wide = register(devnet, deployed.registry, accepting.address, length=784)
    image = replace(plain, model_id=wide).request(10**18, bytes([0, 255]) * 784, gas=2_000_000)
    assert image["status"] == 1
    figures = {
        "request_4_numbers": request_gas,
        "request_784_numbers": image["gasUsed"],
        "fulfil_no_callback": fulfil_gas,
        "bare_verifier_transaction": verify_gas,
        "fulfil_overhead": fulfil_gas - verify_gas,
        "paid_over_used": paid_gas - fulfil_gas,
    }
    bench = build_dir() / "bench" / "contracts.json"
    bench.parent.mkdir(parents=True, exist_ok=True)
    bench.write_text(json.dumps(figures, indent=2) + "\n")
    print(figures)
    assert request_gas <= 75_000
    assert image["gasUsed"] <= 250_000
    assert figures["fulfil_overhead"] <= 70_000
    assert 0 <= figures["paid_over_used"] <= 0.04 * fulfil_gas
