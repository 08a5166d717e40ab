"""Nobody's money stays behind: a node withdraws its pay, a requester its refund."""

from __future__ import annotations

import subprocess

from oracle import demo
from oracle.devnet import CHAIN_ID, fund_new_key

from .conftest import Place
from .test_bad_input import oracle, refusal

ETH = "0x" + "00" * 20


def account_command(place: Place, key: str, *words: object) -> subprocess.CompletedProcess[str]:
    return oracle(
        *words,
        *("--rpc", place.anvil.url, "--chain-id", CHAIN_ID),
        *("--oracle", place.deployed.oracle.address, "--key-file", place.folder / key),
    )


def test_withdraw__after_an_answer__sends_the_nodes_pay_once(place: Place) -> None:
    node = place.start_node()
    account = node.wait_for_event("ready")["account"]
    demo.wait_for_answer(place.deployed, place.ask(5.1, 3.5, 1.4, 0.2))
    earned = place.deployed.oracle.functions.creditOf(ETH, account).call()
    assert earned > 0
    recipient = "0x" + "77" * 20

    done = account_command(place, "node.key", "withdraw", "--to", recipient)
    assert done.returncode == 0, done.stderr
    assert place.anvil.w3.eth.get_balance(recipient) == earned
    again = account_command(place, "node.key", "withdraw", "--to", recipient)
    assert refusal(again).startswith("USAGE: ")
    assert place.anvil.w3.eth.get_balance(recipient) == earned


def test_refund__unanswered_request__only_after_its_deadline(place: Place) -> None:
    asked = place.ask(5.1, 3.5, 1.4, 0.2)
    fund_new_key(place.anvil.w3, place.folder / "anyone.key", 10**18)
    request_id = f"{asked.request_id:#066x}"
    early = account_command(place, "anyone.key", "refund", request_id)
    assert refusal(early).startswith("TRANSACTION_REVERTED: ")
    assert "can be answered until" in early.stderr

    place.anvil.w3.provider.make_request("evm_increaseTime", [86_401])
    place.anvil.w3.provider.make_request("evm_mine", [])
    done = account_command(place, "anyone.key", "refund", request_id)
    assert done.returncode == 0, done.stderr
    requester = place.deployed.caller
    assert place.deployed.oracle.functions.creditOf(ETH, requester).call() > 0
