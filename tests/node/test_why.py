"""`oracle.why` against the real contracts on anvil: what it says of requests that are stuck."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from web3.logs import DISCARD

from oracle import tensor
from oracle.chain import deployments
from oracle.chain.artifacts import contract
from oracle.chain.contracts import OracleContract, Status
from oracle.chain.deployments import Deployment
from oracle.chain.rpc import Rpc
from oracle.cli import why as why_command
from oracle.cli.why import app as why_app
from oracle.devnet import CHAIN_ID, transact
from oracle.errors import ContractMismatch, ProverCrashed, ProverInput, RequestUnknown
from oracle.log import request_hex
from oracle.store import operator
from oracle.store.running import is_in_use
from oracle.types import ZERO_ADDRESS
from oracle.why import Cause, NodeView, Report, explain, values

from .test_anvil import Devnet, deploy, devnet

__all__ = ["devnet"]  # pytest finds the fixture by its name here


@dataclass
class Bench:
    """A devnet whose requests are looked into."""

    net: Devnet
    is_running: bool = True

    @property
    def rpc(self) -> Rpc:
        return Rpc([self.net.anvil.url], CHAIN_ID)

    @property
    def oracle(self) -> OracleContract:
        return OracleContract(self.rpc, self.net.oracle.address)

    @property
    def view(self) -> NodeView:
        config = self.net.node._parts.config
        return NodeView(
            self.net.store,
            self.is_running,
            self.net.account,
            config.min_balance,
            config.confirmations,
        )

    def why(self, request_id: int) -> Report:
        """With the node's side."""
        return explain(self.rpc, self.oracle, request_id, node=self.view)

    def why_by_chain(self, request_id: int) -> Report:
        """As somebody sees it who runs no node."""
        return explain(self.rpc, self.oracle, request_id)

    def pass_time(self, seconds: int) -> None:
        self.net.rpc("evm_increaseTime", seconds)
        self.net.rpc("evm_mine")

    def base_fee(self, wei: int) -> None:
        self.net.rpc("anvil_setNextBlockBaseFeePerGas", hex(wei))
        self.net.rpc("evm_mine")

    def balance(self, wei: int) -> None:
        self.net.rpc("anvil_setBalance", self.net.account, hex(wei))

    def ask_from(self, consumer: str, gas: int) -> tuple[int, Any]:
        """A request of a test consumer's; its id and the consumer."""
        net = self.net
        contract = deploy(net.anvil, consumer, net.oracle.address)
        fee = net.oracle.functions.estimateFee(net.model_id, gas).call()
        call = contract.functions.ask(net.model_id, tensor.pack((1, 2), 4), gas, b"context")
        receipt = transact(call, net.anvil.w3.eth.accounts[2], fee)
        (event,) = net.oracle.events.AICallbackRequest().process_receipt(receipt, errors=DISCARD)
        return int(event["args"]["requestId"]), contract

    def step(self, *names: str) -> None:
        for name in names:
            self.net.node.services[name].step()


@pytest.fixture
def bench(devnet: Devnet) -> Bench:
    return Bench(devnet)


def test_answered__every_step_is_told_with_time_and_transaction(bench: Bench) -> None:
    request_id = bench.net.ask(3, -4)
    bench.net.settle()
    report = bench.why(request_id)
    assert (report.cause, report.status, report.is_done) == (Cause.ANSWERED, Status.FULFILLED, True)
    told = [(step.source, step.what) for step in report.steps]
    assert [what for source, what in told if source == "node"] == [
        *("seen", "accepted", "queued", "running", "proved", "pending", "mined", "final")
    ]
    assert [what for source, what in told if source == "chain"] == ["asked", "answered"]
    order = [step.what for step in report.steps]
    assert order.index("asked") < order.index("seen")
    assert order.index("pending") < order.index("answered")
    asked, answered = (step for step in report.steps if step.source == "chain")
    (event,) = bench.net.fulfilments(request_id)
    assert answered.transaction == event["transactionHash"].to_0x_hex()
    assert (asked.block, answered.block) == (event["blockNumber"] - 1, event["blockNumber"])
    assert all(abs(step.at - time.time()) < 3600 for step in report.steps)


def test_no_node__nothing_else_is_wrong__says_that_nobody_answers(bench: Bench) -> None:
    report = bench.why_by_chain(bench.net.ask(1, 2))
    assert (report.cause, report.status) == (Cause.NO_NODE, Status.OPEN)
    assert report.seconds_left is not None
    assert 86_000 < report.seconds_left <= 86_400


def test_node_stopped__says_so_and_how_to_start_it(bench: Bench) -> None:
    request_id = bench.net.ask(1, 2)
    bench.is_running = False
    assert bench.why(request_id).cause is Cause.NODE_STOPPED
    bench.step("watcher")
    report = bench.why(request_id)
    assert report.cause is Cause.NODE_STOPPED
    assert "seen" in report.explanation
    assert report.commands == ("oracle node run --config node.toml",)


def test_why__node_stopped__the_command_starts_the_node_that_was_named(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever its configuration is; a shell takes the path as it is."""
    request_id, settings = bench.net.ask(1, 2), bench.net.node._parts.config
    folder = tmp_path / "x y"
    folder.mkdir()
    (folder / "node.toml").write_text(
        f'chain_id = {CHAIN_ID}\nrpc_urls = ["{bench.net.anvil.url}"]\n'
        f'oracle = "{bench.oracle.address}"\nbundles = ["bundle"]\nstore = "{settings.store}"\n'
        f'work_dir = "jobs"\nkey_file = "key"\n'
    )
    monkeypatch.setattr(why_command, "is_running", lambda *_: False)
    monkeypatch.setattr(why_command, "_account_of", lambda _: bench.net.account)
    words = [request_hex(request_id), "--config", str(folder / "node.toml"), "--json"]
    said = json.loads(CliRunner().invoke(why_app, words).stdout)
    assert said["cause"] == "node_stopped"
    (command,) = said["commands"]
    assert shlex.split(command) == ["oracle", "node", "run", "--config", str(folder / "node.toml")]


def test_why__as_json__its_commands_have_what_the_text_has(bench: Bench) -> None:
    name = request_hex(bench.net.ask(1, 2))
    place = ("--rpc", bench.net.anvil.url, "--oracle", bench.oracle.address)
    said = json.loads(CliRunner().invoke(why_app, [name, *place, "--json"]).stdout)
    options = f" --rpc {bench.net.anvil.url} --oracle {bench.oracle.address}"
    assert said["commands"] == [
        "oracle node run --config CONFIG",
        f"oracle why {name} --config CONFIG",
        f"oracle refund {name}{options} --key-file KEY",
    ]
    text = CliRunner().invoke(why_app, [name, *place]).stdout
    assert all(f"  {command}\n" in text for command in said["commands"])


@pytest.mark.parametrize("of_another", [False, True])
def test_why__devnet_that_is_recorded__its_own_node_is_started(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_another: bool
) -> None:
    """Another one runs on the default port; a configuration is named only where there is one."""
    monkeypatch.setenv("ORACLE_DEPLOYMENTS", str(tmp_path / "deployments"))
    url, folder = bench.net.anvil.url, tmp_path / "x y"
    first = bench.rpc.block(0)
    assert first is not None
    oracle = ZERO_ADDRESS if of_another else bench.oracle.address
    deployments.save_devnet(
        Deployment(
            *(CHAIN_ID, oracle, ZERO_ADDRESS, 0, (), {}),
            genesis="0x" + first.hash.hex(),
            folder=str(folder),
        ),
        url,
    )
    name = request_hex(bench.net.ask(1, 2))
    words = [name, "--rpc", url, "--chain-id", str(CHAIN_ID), "--oracle", bench.oracle.address]
    said = json.loads(CliRunner().invoke(why_app, [*words, "--json"]).stdout)
    port = url.rpartition(":")[2]
    up = ["oracle", "devnet", "up", "--node", "--folder", str(folder), "--port", port]
    why = ["oracle", "why", name, "--config", str(folder / "node.toml")]
    if of_another:
        up, why = ["oracle", "node", "run", "--config", "CONFIG"], [*why[:-1], "CONFIG"]
    started, asked, refunded = map(shlex.split, said["commands"])
    assert (started, asked) == (up, why)
    assert refunded == ["oracle", "refund", *words, "--key-file", "KEY"]


@pytest.mark.parametrize("base_fee", [3 * 10**9, 16 * 10**8])
def test_underfunded__base_fee_has_risen__top_up_named_is_enough(
    bench: Bench, base_fee: int
) -> None:
    """Above what the money pays, and below that but too near for nodes to take it."""
    request_id = bench.net.ask(1, 2)
    bench.base_fee(base_fee)
    report = bench.why_by_chain(request_id)
    pays = report.request.gas_money // report.request.gas_units if report.request else 0
    assert 10**9 < pays < base_fee * 3 // 2
    assert report.cause is Cause.UNDERFUNDED
    (command,) = report.commands
    wei = int(command.split("--wei ")[1])
    rpc = bench.rpc
    sender = bench.net.anvil.w3.eth.accounts[3]
    assert report.request is not None
    data = bench.oracle.top_up_calldata(report.request)
    call = {"from": sender, "to": bench.net.oracle.address, "data": "0x" + data.hex()}
    bench.net.anvil.w3.eth.send_transaction({**call, "value": wei})  # type: ignore[typeddict-item]
    # The top-up's own block has let the base fee fall a little.
    bench.base_fee(base_fee)
    after = explain(rpc, bench.oracle, request_id)
    assert after.cause is Cause.NO_NODE
    assert [step.what for step in after.steps] == ["asked", "topped up"]


def test_underfunded__node_skipped_it__is_told_as_the_chain_would(bench: Bench) -> None:
    request_id = bench.net.ask(1, 2)
    bench.base_fee(16 * 10**8)
    bench.net.settle()
    assert bench.net.state(request_id) == "skipped"
    assert bench.why(request_id).cause is Cause.UNDERFUNDED
    bench.base_fee(10**8)
    report = bench.why(request_id)
    assert report.cause is Cause.NODE_BEHIND
    assert "pays enough now" in report.explanation


def test_callback_out_of_gas__gas_named_is_enough_for_a_retry(bench: Bench) -> None:
    request_id, consumer = bench.ask_from("RecordingConsumer", 30_000)
    bench.net.settle()
    report = bench.why(request_id)
    assert (report.cause, report.is_done) == (Cause.CALLBACK_OUT_OF_GAS, False)
    assert "30,000" in report.explanation
    (command,) = report.commands
    gas = int(command.split("--gas ")[1])
    assert 60_000 < gas < 400_000
    (result,) = bench.net.oracle.events.AICallbackResult().get_logs(from_block=0)
    assert report.request is not None
    data = bench.oracle.retry_calldata(report.request, result["args"]["output"], gas)
    sent = bench.net.anvil.w3.eth.send_transaction(
        {
            "from": bench.net.anvil.w3.eth.accounts[3],
            "to": bench.net.oracle.address,
            "data": "0x" + data.hex(),  # type: ignore[typeddict-item]
        }
    )
    bench.net.anvil.w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)
    assert consumer.functions.calls().call() == 1
    assert bench.why(request_id).cause is Cause.ANSWERED


def test_callback_reverts__whatever_its_gas__is_not_taken_for_too_little_gas(bench: Bench) -> None:
    request_id, _ = bench.ask_from("RevertingConsumer", 30_000)
    bench.net.settle()
    report = bench.why(request_id)
    assert report.cause is Cause.CALLBACK_REVERTS
    assert "unknown error" in report.explanation  # the consumer's own, not the oracle's


def test_callback_repaired_since__can_be_made_again_as_it_was(bench: Bench) -> None:
    request_id, consumer = bench.ask_from("RepairableConsumer", 200_000)
    bench.net.settle()
    assert bench.why(request_id).cause is Cause.CALLBACK_REVERTS
    transact(consumer.functions.repair(), bench.net.anvil.w3.eth.accounts[3])
    assert bench.why(request_id).cause is Cause.CALLBACK_RETRIABLE


def test_callback_contract_gone__says_so_before_and_after_the_answer(bench: Bench) -> None:
    request_id, consumer = bench.ask_from("RecordingConsumer", 30_000)
    bench.net.rpc("anvil_setCode", consumer.address, "0x")
    before = bench.why_by_chain(request_id)
    assert before.cause is Cause.NO_NODE
    assert any("no contract" in note for note in before.notes)
    bench.net.settle()
    assert bench.why(request_id).cause is Cause.CALLBACK_MISSING


def test_model_closed__says_when_and_names_the_successor(bench: Bench) -> None:
    request_id = bench.net.ask(1, 2)
    registry = bench.net.anvil.w3.eth.contract(
        address=bench.oracle.registry(),  # type: ignore[call-overload]
        abi=contract("ModelRegistry").abi,
    )
    transact(registry.functions.close(1), bench.net.anvil.w3.eth.accounts[1])
    report = bench.why_by_chain(request_id)
    assert report.cause is Cause.MODEL_CLOSED
    assert "another model" in report.remedy
    closed = report.steps[-1]
    assert (closed.what, closed.block) == ("model closed", bench.net.anvil.w3.eth.block_number)
    # A node that serves the model answers all the same.
    bench.net.settle()
    assert bench.why(request_id).cause is Cause.ANSWERED


def test_deadline_passed__says_that_the_money_can_be_had_back(bench: Bench) -> None:
    request_id = bench.net.ask(1, 2)
    bench.pass_time(86_401)
    for report in (bench.why_by_chain(request_id), bench.why(request_id)):
        assert report.cause is Cause.DEADLINE_PASSED
        assert report.commands == (f"oracle refund {request_id:#066x}",)
    data = bench.oracle.refund_calldata(report.request)  # type: ignore[arg-type]
    bench.net.anvil.w3.eth.send_transaction(
        {
            "from": bench.net.anvil.w3.eth.accounts[3],
            "to": bench.net.oracle.address,
            "data": "0x" + data.hex(),  # type: ignore[typeddict-item]
        }
    )
    report = bench.why_by_chain(request_id)
    assert (report.cause, report.status) == (Cause.REFUNDED, Status.REFUNDED)
    assert [step.what for step in report.steps] == ["asked", "refunded"]


def test_node_out_of_balance__before_it_takes_the_request__names_account_and_amount(
    bench: Bench,
) -> None:
    request_id = bench.net.ask(1, 2)
    bench.balance(10**15)
    bench.net.settle()
    report = bench.why(request_id)
    assert report.cause is Cause.NODE_UNFUNDED
    assert bench.net.account in report.explanation
    assert "0.009 ETH" in report.remedy


def test_node_out_of_balance__when_it_sends__is_the_cause_too(bench: Bench) -> None:
    request_id = bench.net.ask(1, 2)
    bench.step("watcher", "scheduler", "runner", "runner")
    assert bench.net.state(request_id) == "proved"
    assert bench.why(request_id).cause is Cause.DELIVERING
    bench.balance(10**9)
    assert bench.why(request_id).cause is Cause.NODE_UNFUNDED
    bench.step("submitter")
    assert bench.net.state(request_id) == "pending"
    assert bench.why(request_id).cause is Cause.NODE_UNFUNDED


def test_proof_failing__while_it_is_tried_again_and_when_given_up(bench: Bench) -> None:
    bench.net.prover.errors.append(ProverInput("not provable"))
    other = bench.net.ask(3, 4)
    bench.net.settle()
    report = bench.why(other)
    assert (bench.net.state(other), report.cause) == ("failed", Cause.PROOF_FAILING)
    assert "a defect of the bundle" in report.remedy
    bench.net.prover.errors.append(ProverCrashed("killed by signal 9"))
    request_id = bench.net.ask(1, 2)
    bench.net.settle()
    report = bench.why(request_id)
    assert (bench.net.state(request_id), report.cause) == ("queued", Cause.PROOF_FAILING)
    assert "signal 9" in report.explanation


def test_cancelled_by_the_operator__is_told_with_the_way_back(bench: Bench) -> None:
    request_id = bench.net.ask(1, 2)
    bench.step("watcher")
    operator.cancel(bench.net.store, [hex(request_id)])
    report = bench.why(request_id)
    assert (report.cause, report.status) == (Cause.NODE_REFUSES, Status.OPEN)
    assert "operator cancelled" in report.explanation
    assert f"oracle node requeue {request_id:#066x} --config node.toml" in report.commands
    operator.requeue(bench.net.store, [hex(request_id)])
    bench.net.settle()
    assert bench.why(request_id).cause is Cause.ANSWERED


def test_reorged_away__its_block_left_the_chain__is_told_from_the_nodes_ledger(
    bench: Bench,
) -> None:
    bench.net.rpc("evm_mine")
    request_id = bench.net.ask(1, 2)
    bench.step("watcher")
    bench.net.rpc("anvil_reorg", 1, [])
    bench.net.rpc("evm_mine")
    by_chain = bench.why_by_chain(request_id)
    assert (by_chain.cause, by_chain.status) == (Cause.UNKNOWN, Status.UNKNOWN)
    assert "reorganisation" in by_chain.explanation
    for _ in range(2):  # before and after the node has noticed
        report = bench.why(request_id)
        assert report.cause is Cause.REORGANISED
        bench.net.settle()
    assert [step.what for step in report.steps] == ["seen", "orphaned"]


def test_answer_reorged_away__the_node_delivers_again(bench: Bench) -> None:
    request_id = bench.net.ask(1, 2)
    bench.net.settle()
    bench.net.rpc("anvil_reorg", 1, [])
    report = bench.why(request_id)
    assert (report.cause, report.status) == (Cause.REORGANISED, Status.OPEN)


def test_verifier_gone__no_proof_can_be_accepted(bench: Bench) -> None:
    request_id = bench.net.ask(1, 2)
    model = bench.net.node.submitter._model(1)
    bench.net.rpc("anvil_setCode", model.verifier, "0x00")
    assert bench.why_by_chain(request_id).cause is Cause.VERIFIER_LOST


def test_node_at_work__says_where_the_proof_is(bench: Bench) -> None:
    bench.net.prover.held = True
    request_id = bench.net.ask(1, 2)
    assert bench.why(request_id).cause is Cause.NODE_BEHIND
    bench.step("watcher")
    assert bench.why(request_id).cause is Cause.NODE_BEHIND
    bench.step("scheduler")
    assert "waits its turn" in bench.why(request_id).explanation
    bench.step("runner")
    report = bench.why(request_id)
    assert report.cause is Cause.PROVING
    assert "is being made" in report.explanation
    bench.net.prover.held = False
    bench.net.rpc("evm_setAutomine", False)
    bench.step("runner", "submitter")
    report = bench.why(request_id)
    assert (bench.net.state(request_id), report.cause) == ("pending", Cause.DELIVERING)
    intent = bench.net.store.live_intent(request_id)
    assert intent is not None
    assert report.steps[-1].transaction == "0x" + intent.attempts[-1].hash.hex()


def test_node_began_later__can_never_see_it(bench: Bench) -> None:
    request_id = bench.net.ask(1, 2)
    bench.net.store.start_cursor(bench.net.anvil.w3.eth.block_number, 10)
    report = bench.why(request_id)
    assert report.cause is Cause.NODE_MISSED
    assert "start_block" in report.remedy


def test_unknown_id__is_told_apart_from_everything_else(bench: Bench) -> None:
    report = bench.why(7)
    assert (report.cause, report.steps) == (Cause.UNKNOWN, ())


def test_logs_out_of_reach__says_where_to_look(bench: Bench) -> None:
    request_id = bench.net.ask(1, 2)
    with pytest.raises(ContractMismatch, match="no log since block"):
        explain(bench.rpc, bench.oracle, request_id, first_block=10**6)


def test_values__are_plain_and_name_what_scripts_match_on(bench: Bench) -> None:
    request_id = bench.net.ask(1, 2)
    plain = values(bench.why_by_chain(request_id))
    assert (plain["status"], plain["cause"]) == ("open", "no_node")
    assert plain["request_id"] == f"{request_id:#066x}"
    (asked,) = plain["steps"]  # type: ignore[misc]
    assert asked["source"] == "chain"
    assert asked["transaction"].startswith("0x")


def test_ledger_in_use__is_seen_without_taking_its_lock(bench: Bench) -> None:
    path = bench.net.node._parts.config.store
    assert is_in_use(path)
    assert not is_in_use(path.with_name("other.db"))
    bench.net.store.close()
    assert not is_in_use(path)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_why__request_that_nobody_made__is_told_and_exits_as_result_does(
    bench: Bench, options: tuple[str, ...]
) -> None:
    """contract-developers D9: a script can tell by the exit code."""
    place = ("--rpc", bench.net.anvil.url, "--oracle", bench.oracle.address)
    done = CliRunner().invoke(why_app, [f"{2**255:#x}", *place, *options])
    assert done.exit_code == RequestUnknown.exit_code
    assert "no request of this id" in " ".join(done.stdout.split())


def test_why__first_digits_or_decimal__tell_of_the_request(bench: Bench) -> None:
    """contract-developers D9: as a person copies ids."""
    request_id = bench.net.ask(1, 2)
    place = ("--rpc", bench.net.anvil.url, "--oracle", bench.oracle.address, "--json")
    for form in (request_hex(request_id)[:12], str(request_id)):
        done = CliRunner().invoke(why_app, [form, *place])
        assert json.loads(done.stdout)["request_id"] == request_hex(request_id)
